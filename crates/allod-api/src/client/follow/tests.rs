//! When an app is there, when it will never be, and what is told on the way.

use std::collections::BTreeSet;

use allod_node::view::{App, Replica, Service};
use allod_state::lease::Phase;
use allod_state::{AppId, Credits, LeaseId};

use super::{Goal, Progress, Standing, blame, standing};

fn replica(number: u32, epoch: u64, stage: &str, revision: u64) -> Replica {
    Replica {
        replica: number,
        lease: Some(LeaseId([u8::try_from(epoch).unwrap(); 32])),
        epoch,
        revision: Some(revision),
        node: None,
        phase: Some(Phase::Placed),
        stage: stage.to_owned(),
        detail: None,
        address: None,
        failures: 0,
    }
}

fn app(wanted: u32, replicas: Vec<Replica>) -> App {
    App {
        app: AppId([1; 32]),
        name: "shop".into(),
        revision: 2,
        revisions: vec![1, 2],
        services: vec![Service {
            name: "web".into(),
            image: String::new(),
            wanted,
            ready: 0,
            is_exclusive: false,
            is_halted: false,
            urls: Vec::new(),
            published: Vec::new(),
            replicas,
        }],
        price_per_hour: Credits::ZERO,
    }
}

fn is_there(app: &App, goal: &Goal) -> bool {
    matches!(standing(app, goal), Standing::Ready)
}

fn newest() -> Goal {
    Goal {
        revision: 2,
        ..Goal::default()
    }
}

#[test]
fn an_app_is_there_when_every_replica_of_the_newest_revision_is_ready() {
    let goal = newest();
    assert!(is_there(&app(1, vec![replica(0, 1, "ready", 2)]), &goal));
    assert!(is_there(&app(0, vec![]), &goal));
    assert!(!is_there(&app(1, vec![]), &goal));
    assert!(!is_there(&app(2, vec![replica(0, 1, "ready", 2)]), &goal));
    assert!(!is_there(&app(1, vec![replica(0, 1, "ready", 1)]), &goal));
    assert!(!is_there(
        &app(1, vec![replica(0, 1, "starting", 2)]),
        &goal
    ));
    let both = vec![replica(0, 1, "ready", 1), replica(0, 2, "ready", 2)];
    assert!(is_there(&app(1, both), &goal));
    let future = Goal {
        revision: 3,
        ..Goal::default()
    };
    assert!(!is_there(&app(0, vec![]), &future));
}

#[test]
fn replicas_that_are_to_be_replaced_do_not_count() {
    let goal = Goal {
        replaced: BTreeSet::from([LeaseId([1; 32])]),
        ..newest()
    };
    assert!(!is_there(&app(1, vec![replica(0, 1, "ready", 2)]), &goal));
    assert!(is_there(&app(1, vec![replica(0, 9, "ready", 2)]), &goal));
}

#[test]
fn a_job_that_has_done_its_work_is_there() {
    let mut done = replica(0, 1, "completed: exited with code 0", 2);
    (done.lease, done.revision) = (None, None);
    assert!(is_there(&app(1, vec![done]), &newest()));
}

#[test]
fn what_failed_too_often_is_given_up() {
    let mut failing = replica(0, 1, "backing off: exited with code 1", 2);
    failing.failures = 3;
    let patient = newest();
    let short = Goal {
        failures_max: Some(3),
        ..newest()
    };
    let mut shop = app(1, vec![failing]);
    assert!(matches!(standing(&shop, &patient), Standing::Coming));
    assert!(matches!(standing(&shop, &short), Standing::Hopeless));
    shop.services[0].is_halted = true;
    assert!(matches!(standing(&shop, &patient), Standing::Hopeless));
    assert_eq!(
        blame(&shop.services[0], &patient),
        "web keeps its old revision, because the new one failed too often (backing off: exited with code 1)"
    );
}

#[test]
fn the_cause_is_named() {
    let mut late = replica(0, 1, "nothing listened on the port in time", 2);
    late.detail = Some("port 81".into());
    let shop = app(1, vec![late]);
    let cause = blame(&shop.services[0], &newest());
    assert_eq!(
        cause,
        "web is nothing listened on the port in time: port 81"
    );
}

#[test]
fn news_are_told_once() {
    let mut progress = Progress::default();
    let starting = app(1, vec![replica(0, 1, "starting", 2)]);
    assert_eq!(progress.news(&starting), ["shop/web: starting"]);
    assert!(progress.news(&starting).is_empty());
    let ready = app(1, vec![replica(0, 1, "ready", 2)]);
    assert_eq!(progress.news(&ready), ["shop/web: ready"]);
    let two = app(
        2,
        vec![replica(0, 1, "ready", 2), replica(1, 2, "queued", 2)],
    );
    assert_eq!(progress.news(&two), ["shop/web #1: queued"]);
}
