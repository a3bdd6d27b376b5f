//! A service of which two never run at once: the next lease is placed when nothing of the one before can run.

use allod_state::app::{Demand, Rollback, Scale, Update};
use allod_state::lease::{EndCause, Lease, Phase, Report, ReportLease};
use allod_state::node::DrainNode;
use allod_state::{Label, LeaseId, Rejection};

use crate::pool::Pool;
use crate::world::web;

fn writer() -> Demand {
    Demand {
        update: Update::Exclusive,
        ..web(1)
    }
}

/// A pool with an exclusive app, which is ready.
fn placed(others: u8) -> (Pool, LeaseId, Lease) {
    let mut pool = Pool::of_owners(others);
    let deploy = pool.world.deploy("a", &[("web", writer())], 1);
    pool.world.run(vec![deploy.into()]);
    let (id, lease) = pool.world.active("a")[0].clone();
    assert!(lease.is_exclusive);
    says(&mut pool, id, &lease, Report::Ready).unwrap();
    (pool, id, lease)
}

fn says(pool: &mut Pool, lease: LeaseId, row: &Lease, report: Report) -> Result<(), Rejection> {
    let report = ReportLease {
        lease,
        epoch: row.epoch,
        report,
    };
    pool.says(pool.number_of(row.node), report)
}

fn cause_of(pool: &Pool, id: &LeaseId) -> Option<EndCause> {
    match pool.world.state.lease(id).unwrap().phase {
        Phase::Ended { cause, .. } => Some(cause),
        _ => None,
    }
}

fn scale(pool: &Pool, replicas: u32) -> Scale {
    let app = pool.world.app("a");
    let service = Label::of(pool.world.app_label("a").as_bytes(), "web");
    Scale {
        app,
        service,
        replicas,
    }
}

/// Only this lease of the app is active, and it is to end.
fn waits_for(pool: &Pool, id: LeaseId) {
    let active = pool.world.active("a");
    assert_eq!(active.len(), 1, "two at once");
    assert_eq!(active[0].0, id, "it was replaced before it was gone");
    assert!(active[0].1.ending.is_some());
}

#[test]
fn an_update_asks_the_old_one_to_end_and_places_the_new_one_once_it_is_gone() {
    let (mut pool, id, lease) = placed(3);
    let early = says(&mut pool, id, &lease, Report::Gone);
    assert!(early.is_err(), "nobody has asked it to end");
    let deploy = pool.world.deploy("a", &[("web", writer())], 2);
    pool.world.run(vec![deploy.into()]);
    for _ in 0..3 {
        pool.world.wait(60_000);
        waits_for(&pool, id);
    }
    says(&mut pool, id, &lease, Report::Gone).unwrap();
    assert_eq!(cause_of(&pool, &id), Some(EndCause::Superseded));
    let (next, row) = pool.world.active("a")[0].clone();
    assert_ne!(next, id);
    assert_eq!((row.epoch, row.revision), (lease.epoch + 1, 2));
    assert_eq!(row.ending, None);
}

/// The only other machine that there was is its witness for ever, and is not most of those that watch its machine since.
#[test]
fn an_old_witness_alone_ends_a_lease_and_gives_no_machine_up() {
    let (mut pool, id, lease) = placed(1);
    for number in 1..5 {
        pool.join(number);
    }
    assert_eq!(pool.world.state.lease(&id).unwrap().witnesses.len(), 1);
    let watchers = pool.world.state.watchers_of(&lease.node);
    assert_eq!(watchers.len(), 3);
    pool.lose(id, &lease);
    assert_eq!(cause_of(&pool, &id), Some(EndCause::Unreachable));
    assert!(!pool.is_gone(lease.node));
}

#[test]
fn going_back_to_an_exclusive_revision_leaves_one_replica() {
    let (mut pool, id, lease) = placed(3);
    let deploy = pool.world.deploy("a", &[("web", web(3))], 2);
    pool.world.run(vec![deploy.into()]);
    says(&mut pool, id, &lease, Report::Gone).unwrap();
    assert_eq!(pool.world.active("a").len(), 3);
    let app = pool.world.app("a");
    pool.world.run(vec![Rollback { app, to: Some(1) }.into()]);
    for _ in 0..3 {
        pool.world.wait(60_000);
        for (id, lease) in pool.world.active("a") {
            let _ = says(&mut pool, id, &lease, Report::Gone);
        }
    }
    let active = pool.world.active("a");
    let exclusive = active.iter().filter(|(_, lease)| lease.is_exclusive);
    assert_eq!((active.len(), exclusive.count()), (1, 1));
}

#[test]
fn one_that_is_to_end_and_is_not_reached_ends_by_its_witnesses() {
    let (mut pool, id, lease) = placed(3);
    let deploy = pool.world.deploy("a", &[("web", writer())], 2);
    pool.world.run(vec![deploy.into()]);
    waits_for(&pool, id);
    pool.lose(id, &lease);
    assert_eq!(cause_of(&pool, &id), Some(EndCause::Unreachable));
    let (next, row) = pool.world.active("a")[0].clone();
    assert_ne!((next, row.node), (id, lease.node));
}

#[test]
fn what_ends_by_itself_while_it_is_to_end_was_wanted() {
    let (mut pool, id, lease) = placed(3);
    let deploy = pool.world.deploy("a", &[("web", writer())], 2);
    pool.world.run(vec![deploy.into()]);
    let exited = EndCause::Exited { code: 1 };
    says(&mut pool, id, &lease, Report::Ended(exited)).unwrap();
    assert_eq!(cause_of(&pool, &id), Some(EndCause::Superseded));
    assert_eq!(
        pool.world.active("a").len(),
        1,
        "and the next one is placed"
    );
}

#[test]
fn a_machine_that_is_emptied_keeps_it_until_it_is_gone() {
    let (mut pool, id, lease) = placed(3);
    let node = lease.node;
    let owner = pool.machines[pool.number_of(node)].1.clone();
    pool.world
        .try_as(&owner, owner.account, vec![DrainNode { node }.into()])
        .unwrap();
    pool.world.wait(60_000);
    waits_for(&pool, id);
    says(&mut pool, id, &lease, Report::Gone).unwrap();
    assert_ne!(pool.world.active("a")[0].1.node, node);
}

#[test]
fn scaled_to_nothing_and_back_it_still_waits_for_the_old_one() {
    let (mut pool, id, lease) = placed(3);
    pool.world.run(vec![scale(&pool, 0).into()]);
    waits_for(&pool, id);
    pool.world.run(vec![scale(&pool, 1).into()]);
    pool.world.wait(60_000);
    waits_for(&pool, id);
    says(&mut pool, id, &lease, Report::Gone).unwrap();
    let (next, row) = pool.world.active("a")[0].clone();
    assert_eq!(row.epoch, lease.epoch + 1);
    pool.world.run(vec![scale(&pool, 0).into()]);
    says(&mut pool, next, &row, Report::Gone).unwrap();
    pool.world.wait(60_000);
    assert!(pool.world.active("a").is_empty());
    let app = pool.world.app("a");
    assert!(pool.world.state.slots_of(&app).is_empty(), "a slot is left");
    pool.world.run(vec![scale(&pool, 1).into()]);
    assert!(pool.world.active("a")[0].1.epoch > row.epoch, "fenced");
}

#[test]
fn a_service_that_is_exclusive_no_more_waits_as_well_and_one_that_becomes_so() {
    let (mut pool, id, lease) = placed(3);
    let deploy = pool.world.deploy("a", &[("web", web(1))], 2);
    pool.world.run(vec![deploy.into()]);
    pool.world.wait(60_000);
    waits_for(&pool, id);
    says(&mut pool, id, &lease, Report::Gone).unwrap();
    let (id, lease) = pool.world.active("a")[0].clone();
    assert!(!lease.is_exclusive);
    let deploy = pool.world.deploy("a", &[("web", writer())], 3);
    pool.world.run(vec![deploy.into()]);
    pool.world.wait(60_000);
    waits_for(&pool, id);
    says(&mut pool, id, &lease, Report::Gone).unwrap();
    assert!(pool.world.active("a")[0].1.is_exclusive);
}

#[test]
fn an_exclusive_service_has_one_replica() {
    let mut pool = Pool::of_owners(3);
    let two = Demand {
        replicas: 2,
        ..writer()
    };
    let deploy = pool.world.deploy("a", &[("web", two)], 1);
    let refused = pool.world.try_run(vec![deploy.into()]).unwrap_err();
    assert!(refused.to_string().contains("exclusive"), "{refused}");
    let (mut pool, ..) = placed(3);
    let refused = pool.world.try_run(vec![scale(&pool, 2).into()]);
    assert!(refused.unwrap_err().to_string().contains("exclusive"));
}

/// Two of its three witnesses are gone, and those that confirm it would be of another set than those that end it.
#[test]
fn its_witnesses_stay_the_same_whatever_becomes_of_them() {
    let (mut pool, id, lease) = placed(6);
    let first = pool.witnesses(&lease)[0];
    pool.gives_up(first, &[(id, lease.epoch)]).unwrap();
    pool.world.wait(60_000);
    let row = pool.world.state.lease(&id).unwrap();
    assert_eq!(row.witnesses, lease.witnesses);
    assert!(row.is_active());
}
