//! Which silences say that a peer is elsewhere.

use super::*;

const PATIENCE: Duration = Duration::from_secs(6);
const BEGIN: Flow = Flow {
    by: By::Other,
    asked: 0,
    heard: 0,
    round_trip: Duration::from_millis(1),
    sent: 100,
    lost: 1,
};

/// One peer with a path of this machine's own, and one of the peer's.
struct Scene {
    watched: Watched,
    began: Instant,
    own: Flow,
    /// A further path of this machine's own to the same place.
    young: Option<Flow>,
    others: Flow,
    is_said_elsewhere: bool,
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, last], 9))
}

impl Scene {
    fn new() -> Self {
        let began = Instant::now();
        let mut scene = Self {
            watched: Watched::new(began),
            began,
            own: Flow {
                by: By::Called(at(1), true),
                ..BEGIN
            },
            young: None,
            others: BEGIN,
            is_said_elsewhere: false,
        };
        assert_eq!(scene.look(began), None);
        scene
    }

    fn look(&mut self, now: Instant) -> Option<SocketAddr> {
        let flows = [(1, Some(self.own)), (2, Some(self.others)), (3, self.young)];
        let flows = flows.into_iter().filter_map(|(connection, flow)| {
            let path = (connection, PathId::ZERO);
            flow.map(|flow| (path, flow))
        });
        let is_said_elsewhere = self.is_said_elsewhere;
        self.watched
            .look(flows.collect(), |_| is_said_elsewhere, PATIENCE, now)
    }

    /// Looks again and again, and returns when the way is given up.
    fn lost_after(&mut self, mut happens: impl FnMut(&mut Self, u32)) -> Option<Duration> {
        (1..60).find_map(|look| {
            happens(self, look);
            let now = self.began + WAY_LOOK_PERIOD * look;
            self.look(now).map(|lost| {
                assert_eq!(lost, at(1));
                now.duration_since(self.began)
            })
        })
    }
}

#[test]
fn a_peer_that_is_heard_and_does_not_answer_is_elsewhere() {
    let lost = Scene::new().lost_after(|scene, _| {
        scene.own.asked += 1;
        scene.others.heard += 1;
    });
    let lost = lost.expect("it is called there for ever");
    assert!(lost >= WAY_SILENCE_MAX && lost <= WAY_SILENCE_MAX + WAY_LOOK_PERIOD * 2);
}

#[test]
fn a_far_peer_has_more_time() {
    let mut scene = Scene::new();
    scene.own.round_trip = Duration::from_millis(600);
    let lost = scene.lost_after(|scene, _| {
        scene.own.asked += 1;
        scene.others.heard += 1;
    });
    assert!(lost.expect("it is called there for ever") >= Duration::from_millis(2_600));
}

#[test]
fn a_connection_that_began_slowly_makes_no_way_far() {
    let mut scene = Scene::new();
    scene.young = Some(Flow {
        round_trip: Duration::from_millis(600),
        ..scene.own
    });
    let lost = scene.lost_after(|scene, _| {
        scene.own.asked += 1;
        scene.others.heard += 1;
    });
    let lost = lost.expect("it is called there for ever");
    assert!(lost <= WAY_SILENCE_MAX + WAY_LOOK_PERIOD * 3, "{lost:?}");
}

#[test]
fn a_way_on_which_much_is_lost_has_more_time() {
    let mut scene = Scene::new();
    scene.own.lost = 10;
    let lost = scene.lost_after(|scene, _| {
        scene.own.asked += 1;
        scene.others.heard += 1;
    });
    assert!(lost.expect("it is called there for ever") >= PATIENCE);
}

#[test]
fn a_silent_peer_may_come_back_until_it_was_silent_for_long() {
    let lost = Scene::new().lost_after(|scene, _| scene.own.asked += 1);
    assert!(lost.expect("it is called there for ever") >= PATIENCE);
}

#[test]
fn what_was_on_its_way_when_the_silence_began_says_nothing() {
    let mut scene = Scene::new();
    scene.own.round_trip = Duration::from_millis(600);
    let lost = scene.lost_after(|scene, look| {
        scene.own.asked += 1;
        scene.others.heard += u128::from(look <= 3);
    });
    assert!(lost.expect("it is called there for ever") >= PATIENCE);
}

#[test]
fn whoever_stood_still_and_goes_on_has_the_time_to_answer() {
    let lost = Scene::new().lost_after(|scene, look| {
        scene.own.asked += 1;
        scene.others.heard += u128::from(look >= 10);
        scene.own.heard += u128::from(look >= 11);
    });
    assert_eq!(lost, None);
}

#[test]
fn whoever_says_that_it_is_elsewhere_is_called_there() {
    let mut scene = Scene::new();
    scene.is_said_elsewhere = true;
    let lost = scene.lost_after(|scene, _| scene.own.asked += 1);
    assert!(lost.expect("it is called there for ever") < Duration::from_secs(2));
}

#[test]
fn an_address_that_this_machine_has_lost_is_not_called_from() {
    let mut scene = Scene::new();
    scene.own.by = By::Called(at(1), false);
    let lost = scene.lost_after(|_, _| {});
    assert!(lost.expect("it calls from there for ever") < Duration::from_secs(2));
}

#[test]
fn whoever_answers_or_is_not_asked_is_where_it_was() {
    let mut scene = Scene::new();
    scene.is_said_elsewhere = true;
    let lost = scene.lost_after(|scene, look| {
        scene.others.heard += 1;
        scene.own.asked += u64::from(look > 30);
        scene.own.heard += u128::from(look > 30 && look % 3 == 0);
    });
    assert_eq!(lost, None);
}

#[test]
fn a_machine_that_stood_still_itself_begins_anew() {
    let mut scene = Scene::new();
    scene.is_said_elsewhere = true;
    scene.own.asked += 1;
    let began = scene.began;
    assert_eq!(scene.look(began + WAY_LOOK_PERIOD), None);
    scene.own.asked += 1;
    assert_eq!(scene.look(began + PATIENCE * 2), None);
    assert_eq!(scene.look(began + PATIENCE * 2 + WAY_LOOK_PERIOD), None);
}

#[test]
fn whoever_says_nothing_at_all_is_silent_until_it_is_heard() {
    let mut scene = Scene::new();
    let mut now = scene.began;
    let mut silent_after = |scene: &mut Scene, looks: u32, is_heard: bool, is_asked: bool| {
        for _ in 0..looks {
            now += WAY_LOOK_PERIOD;
            scene.own.asked += u64::from(is_asked);
            scene.others.heard += u128::from(is_heard);
            scene.look(now);
        }
        scene.watched.are_silent(now)
    };
    assert!(!silent_after(&mut scene, 20, false, false), "nobody asked");
    assert!(!silent_after(&mut scene, 4, false, true), "too early");
    assert!(silent_after(&mut scene, 3, false, true));
    assert!(silent_after(&mut scene, 3, false, false), "it still is");
    assert!(!silent_after(&mut scene, 1, true, true), "there it is");
    scene.own.round_trip = Duration::from_millis(600);
    assert!(!silent_after(&mut scene, 10, false, true), "it is far away");
}
