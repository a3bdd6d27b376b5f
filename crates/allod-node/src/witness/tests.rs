//! The watch of one machine over another, with a clock of its own.

use super::*;

const HOLDER: PeerKey = PeerKey([1; 32]);
const LOOK: Duration = Duration::from_millis(250);

/// A machine's watch over one lease, and its clock.
struct Stage {
    watch: Watch,
    watched: BTreeMap<Watched, PeerKey>,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            watch: Watch::new(now),
            watched: [(lease(1), HOLDER)].into(),
            now,
        }
    }

    fn look(&mut self, has_company: bool) -> BTreeSet<Watched> {
        self.watch.look(&self.watched, has_company, self.now)
    }

    /// Looks for so long; whether anything was given up meanwhile.
    fn waits(&mut self, time: Duration, has_company: bool, hears: bool) -> BTreeSet<Watched> {
        let until = self.now + time;
        let mut gone = BTreeSet::new();
        while self.now < until {
            self.now += LOOK;
            if hears {
                self.watch.hear(HOLDER, self.now);
            }
            gone.extend(self.look(has_company));
        }
        gone
    }

    fn silent(&mut self, seconds: u64) -> BTreeSet<Watched> {
        self.waits(Duration::from_secs(seconds), true, false)
    }

    fn hears(&mut self, seconds: u64) -> BTreeSet<Watched> {
        self.waits(Duration::from_secs(seconds), true, true)
    }
}

const fn lease(number: u8) -> Watched {
    (LeaseId([number; 32]), 1)
}

#[test]
fn whoever_is_silent_for_five_seconds_is_given_up_once() {
    let mut stage = Stage::new();
    assert_eq!(stage.hears(60), [].into());
    assert_eq!(stage.silent(4), [].into());
    assert_eq!(stage.silent(2), [lease(1)].into());
    assert_eq!(stage.silent(60), [].into(), "it was said already");
}

#[test]
fn a_silence_of_three_seconds_moves_nothing_however_often() {
    let mut stage = Stage::new();
    for _ in 0..20 {
        assert_eq!(stage.silent(3), [].into());
        assert_eq!(stage.hears(1), [].into());
    }
}

#[test]
fn a_lease_that_is_new_has_its_time() {
    let mut stage = Stage::new();
    stage.hears(60);
    stage.watched = [(lease(2), PeerKey([2; 32]))].into();
    assert_eq!(stage.silent(4), [].into());
    assert_eq!(stage.silent(2), [lease(2)].into());
}

#[test]
fn whoever_has_no_company_gives_nobody_up_and_begins_anew_with_it() {
    let mut stage = Stage::new();
    stage.hears(10);
    assert_eq!(
        stage.waits(Duration::from_secs(600), false, false),
        [].into()
    );
    assert_eq!(stage.silent(4), [].into());
    assert_eq!(stage.silent(2), [lease(1)].into());
}

#[test]
fn whoever_stood_still_itself_begins_anew() {
    let mut stage = Stage::new();
    stage.hears(10);
    stage.now += Duration::from_secs(600);
    assert_eq!(stage.look(true), [].into());
    assert_eq!(stage.silent(4), [].into());
    assert_eq!(stage.silent(2), [lease(1)].into());
}

#[test]
fn what_the_ledger_did_not_take_is_said_again_later_each_time() {
    let mut stage = Stage::new();
    let gone = stage.silent(6);
    assert_eq!(gone, [lease(1)].into());
    let mut pauses = Vec::new();
    for _ in 0..5 {
        stage.watch.told(&gone, false, stage.now);
        let began = stage.now;
        while stage.waits(LOOK, true, false).is_empty() {}
        pauses.push((stage.now - began).as_secs());
    }
    assert_eq!(pauses, [10, 15, 25, 45, 65], "five more than the patience");
    // It is back meanwhile.
    stage.watch.told(&gone, false, stage.now);
    assert_eq!(stage.hears(120), [].into());
}

#[test]
fn whoever_was_given_up_says_that_it_is_back_and_seldom() {
    let mut comeback = Comeback::default();
    let start = Instant::now();
    let mut said = Vec::new();
    for quarter in 0..4 * 700 {
        let now = start + LOOK * quarter;
        if comeback.is_due(start, now) {
            assert!(!comeback.is_due(start, now), "it is under way");
            comeback.said(now);
            said.push(now.duration_since(start).as_secs());
        }
    }
    assert_eq!(said, [2, 12, 32, 72, 152, 312, 612]);
}
