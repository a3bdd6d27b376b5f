//! What becomes of leases whose machine is gone: most of their witnesses say so, and nobody else.

use std::collections::BTreeSet;

use allod_state::app::{Delete, Waiting};
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::lease::{EndCause, Phase, Report, ReportLease};
use allod_state::place::Failing;
use allod_state::volume::Standing;
use allod_state::{Label, LeaseId, NodeId, Rejection};

use crate::pool::{Pool, list};
use crate::world::{Person, web, with_volume};

#[test]
fn a_lease_is_watched_by_machines_of_three_other_operators() {
    for others in 0..8_u8 {
        let mut pool = Pool::of_owners(others);
        for app in ["a", "b", "c"] {
            let (_, lease) = pool.app(app);
            let witnesses: BTreeSet<usize> = pool.witnesses(&lease).into_iter().collect();
            let holder = pool.number_of(lease.node);
            if others == 0 {
                assert_eq!(witnesses, [holder].into(), "there is nobody else");
                continue;
            }
            assert_eq!(witnesses.len(), usize::from(others.min(3)));
            assert!(!witnesses.contains(&holder));
            let watched = pool.world.state.active_leases_watched_by(&lease.node);
            assert!(watched.count() < 3, "nobody watches itself");
        }
    }
}

#[test]
fn operators_are_counted_and_not_machines_and_ones_own_watch_where_there_is_nobody_else() {
    let mut pool = Pool::of_owners(0);
    let owner = pool.world.owner.clone();
    for number in 0..3 {
        let machine = Person::new(190 + number);
        list(&mut pool.world, &machine, &owner);
        pool.machines.push((machine, owner.clone()));
    }
    let (_, lease) = pool.app("a");
    assert_eq!(lease.witnesses.len(), 3);
    assert!(!lease.witnesses.contains(&lease.node));

    let mut pool = Pool::of_owners(2);
    let owner = pool.machines[1].1.clone();
    for number in 0..6 {
        let machine = Person::new(190 + number);
        list(&mut pool.world, &machine, &owner);
        pool.machines.push((machine, owner.clone()));
    }
    for app in ["a", "b", "c", "d"] {
        let (_, lease) = pool.app(app);
        let operators = lease.witnesses.iter().map(|node| {
            let row = pool.world.state.node(node).unwrap();
            row.operator
        });
        let operators: BTreeSet<_> = operators.collect();
        assert_eq!((lease.witnesses.len(), operators.len()), (2, 2));
    }
}

#[test]
fn most_witnesses_together_give_a_lease_up_and_it_goes_on_elsewhere_at_once() {
    let mut pool = Pool::of_owners(3);
    let (id, lease) = pool.app("a");
    let [first, second, third] = pool.witnesses(&lease)[..] else {
        panic!("three witnesses");
    };
    pool.world.wait(10_000);
    for _ in 0..3 {
        pool.gives_up(first, &[(id, lease.epoch)]).unwrap();
        assert_eq!(pool.world.active("a")[0].0, id, "one alone moves nothing");
        assert!(!pool.world.state.node(&lease.node).unwrap().is_unreachable);
    }
    pool.gives_up(second, &[(id, lease.epoch)]).unwrap();
    let ended = pool.world.state.lease(&id).unwrap();
    assert!(matches!(
        ended.phase,
        Phase::Ended {
            cause: EndCause::Unreachable,
            ..
        }
    ));
    let (next, row) = pool.world.active("a")[0].clone();
    assert_ne!((next, row.node), (id, lease.node));
    assert_eq!(
        row.epoch,
        lease.epoch + 1,
        "the epoch fences the one before"
    );
    assert!(
        !row.witnesses.contains(&lease.node),
        "who is gone sees nothing"
    );
    // Who is late says nothing new.
    pool.gives_up(third, &[(id, lease.epoch)]).unwrap();
    assert_eq!(pool.world.active("a")[0].0, next);
}

/// Two of its three witnesses are gone as well. The one that is left is joined by two more, and they are enough.
#[test]
fn where_witnesses_are_gone_themselves_further_ones_are_asked() {
    let mut pool = Pool::of_owners(6);
    let (id, lease) = pool.app("a");
    let first = pool.witnesses(&lease)[0];
    pool.gives_up(first, &[(id, lease.epoch)]).unwrap();
    let doubted_ms = pool.world.now_ms();
    assert_eq!(pool.world.state.next_due_ms(), Some(doubted_ms + 10_000));
    pool.world.wait(9_999);
    assert_eq!(
        pool.world.state.lease(&id).unwrap().witnesses,
        lease.witnesses
    );
    pool.world.wait(1);
    let wider = pool.world.state.lease(&id).unwrap();
    assert!(wider.witnesses.is_superset(&lease.witnesses));
    assert_eq!(wider.witnesses.len(), 5);
    assert_eq!(pool.world.state.next_due_ms(), None, "once for an epoch");
    let operators: BTreeSet<_> = wider
        .witnesses
        .iter()
        .map(|node| pool.world.state.node(node).unwrap().operator)
        .collect();
    assert_eq!(operators.len(), 5);
    let holder = pool.world.state.node(&lease.node).unwrap().operator;
    assert!(!operators.contains(&holder));
    let more: Vec<usize> = pool
        .witnesses(&wider)
        .into_iter()
        .filter(|number| !pool.witnesses(&lease).contains(number))
        .collect();
    for witness in &more {
        let node = pool.node(*witness);
        let watched: Vec<LeaseId> = pool.world.state.active_leases_watched_by(&node).collect();
        assert_eq!(watched, [id], "it is told to watch");
    }
    pool.gives_up(more[0], &[(id, lease.epoch)]).unwrap();
    assert_eq!(pool.world.active("a")[0].0, id, "two of five");
    pool.gives_up(more[1], &[(id, lease.epoch)]).unwrap();
    let next = pool.world.active("a")[0].clone();
    assert_ne!(next.1.node, lease.node);
    assert_eq!(
        next.1.witnesses.len(),
        3,
        "the next epoch begins with its own"
    );
}

/// On the first day there is one machine, and what runs on it has no witness.
#[test]
fn what_was_placed_when_there_was_one_machine_is_watched_by_those_that_come() {
    let mut pool = Pool::of_owners(0);
    let (id, alone) = pool.app("a");
    assert_eq!(alone.witnesses, [alone.node].into());
    for number in 0..5 {
        pool.join(number);
        let lease = pool.world.state.lease(&id).unwrap();
        assert!(!lease.witnesses.contains(&lease.node));
        assert_eq!(lease.witnesses.len(), usize::from(number + 1).min(3));
    }
    let lease = pool.world.state.lease(&id).unwrap();
    assert_eq!(pool.world.state.next_due_ms(), None);
    let first = pool.witnesses(&lease)[0];
    pool.gives_up(first, &[(id, lease.epoch)]).unwrap();
    assert_eq!(pool.world.active("a")[0].0, id, "one alone moves nothing");
    pool.lose(id, &lease);
    let (_, row) = pool.world.active("a")[0].clone();
    assert_ne!(row.node, lease.node);
}

#[test]
fn where_too_few_witnesses_are_left_those_that_watch_the_machine_speak_for_them() {
    for is_last in [true, false] {
        let mut pool = Pool::of_owners(9);
        let (id, lease) = pool.app("a");
        let witnesses: Vec<NodeId> = lease.witnesses.iter().copied().collect();
        // Of three, one that is left is not enough.
        let gone = if is_last {
            [witnesses[0], witnesses[1], lease.node]
        } else {
            [lease.node, witnesses[0], witnesses[1]]
        };
        for node in gone {
            assert_eq!(pool.world.active("a")[0].0, id, "it is left to its own");
            pool.give_up(node);
        }
        let ended = pool.world.state.lease(&id).unwrap();
        let at_ms = pool.world.now_ms();
        let cause = EndCause::Unreachable;
        assert_eq!(ended.phase, Phase::Ended { cause, at_ms });
        let (_, row) = pool.world.active("a")[0].clone();
        assert!(!gone.contains(&row.node), "it runs elsewhere at once");
    }
}

#[test]
fn nobody_else_gives_a_lease_up() {
    let mut pool = Pool::of_owners(5);
    let (id, lease) = pool.app("a");
    let witnesses = pool.witnesses(&lease);
    let holder = pool.number_of(lease.node);
    let refused = Err(Rejection::NotAWitness { lease: id });
    for number in 0..6 {
        if !witnesses.contains(&number) {
            assert_eq!(pool.gives_up(number, &[(id, lease.epoch)]), refused);
        }
    }
    // In the name of a witness that is another's.
    let (witness, leases) = (pool.node(witnesses[0]), [(id, lease.epoch)].into());
    let stolen = pool.says(holder, ReportDeaths { witness, leases });
    assert!(matches!(stolen, Err(Rejection::NotYourNode { .. })));
    // Of an epoch that is not the lease's.
    let other = pool.gives_up(witnesses[0], &[(id, lease.epoch + 1)]);
    assert_eq!(other, refused);
    // One that is wrong takes the others with it.
    let (good, _) = pool.app("b");
    let unknown = LeaseId([9; 32]);
    let row = pool.world.state.lease(&good).unwrap();
    let witness = pool.witnesses(&row)[0];
    let half = pool.gives_up(witness, &[(good, row.epoch), (unknown, 1)]);
    assert_eq!(half, Err(Rejection::UnknownLease { lease: unknown }));
    let row = pool.world.state.lease(&good).unwrap();
    assert!(row.given_up_by.is_empty());
    for count in [0, 201_u64] {
        let leases: Vec<_> = (0..count).map(|epoch| (good, epoch)).collect();
        let refused = pool.gives_up(witness, &leases);
        assert!(
            matches!(refused, Err(Rejection::TooMany { .. })),
            "{refused:?}"
        );
    }
    // Nor does a machine call itself gone.
    let report = ReportLease {
        lease: id,
        epoch: lease.epoch,
        report: Report::Ended(EndCause::Unreachable),
    };
    assert!(pool.says(holder, report).is_err());
}

#[test]
fn what_was_not_told_by_then_is_never_charged() {
    let mut pool = Pool::of_owners(3);
    let (id, lease) = pool.app("a");
    let holder = pool.number_of(lease.node);
    let node = lease.node;
    let item = |from_ms: u64, span: u64| Item {
        lease: id,
        epoch: lease.epoch,
        from_ms,
        until_ms: from_ms + span,
        ready_ms: span,
        usage: Usage::default(),
    };
    pool.world.wait(60_000);
    let items = vec![item(lease.meter.until_ms, 30_000)];
    pool.says(holder, SubmitEvidence { node, items }).unwrap();
    pool.lose(id, &lease);
    let ended = pool.world.state.lease(&id).unwrap();
    let items = vec![item(ended.meter.until_ms, 10_000)];
    let refused = pool.says(holder, SubmitEvidence { node, items });
    assert!(
        matches!(refused, Err(Rejection::BadEvidence { .. })),
        "{refused:?}"
    );
    assert_eq!(pool.world.state.lease(&id).unwrap().meter.ready_ms, 30_000);
}

#[test]
fn a_machine_that_is_given_up_gets_nothing_until_it_says_that_it_is_back() {
    let mut pool = Pool::of_owners(2);
    let (id, lease) = pool.app("a");
    pool.lose(id, &lease);
    let gone = lease.node;
    for round in 0..6 {
        let name = format!("b{round}");
        let (_, row) = pool.app(&name);
        assert_ne!(row.node, gone);
    }
    let mut large = web(1);
    large.resources.cpu_milli = 4_001;
    let deploy = pool.world.deploy("large", &[("web", large)], 1);
    let Err(Rejection::NoPlacement { why }) = pool.world.try_run(vec![deploy.into()]) else {
        panic!("nobody has room");
    };
    let of_it = why.refusals.iter().find(|refusal| refusal.node == gone);
    assert!(of_it.unwrap().failing.contains(&Failing::Unreachable));

    let number = pool.number_of(gone);
    let another = (number + 1) % 3;
    let stolen = pool.says(another, ReportBack { node: gone });
    assert!(matches!(stolen, Err(Rejection::NotYourNode { .. })));
    assert!(pool.world.state.node(&gone).unwrap().is_unreachable);
    pool.says(number, ReportBack { node: gone }).unwrap();
    assert!(!pool.world.state.node(&gone).unwrap().is_unreachable);
    assert_ne!(pool.world.active("a")[0].1.node, gone, "nothing moves back");
    let lands = (0..12).any(|round| pool.app(&format!("c{round}")).1.node == gone);
    assert!(lands);
}

#[test]
fn what_has_a_volume_waits_for_its_machine() {
    let mut pool = Pool::of_owners(3);
    let mut data = web(1);
    data.volumes = [(Label([1; 32]), 1)].into();
    let deploy = pool.world.deploy("data", &[("db", data)], 1);
    pool.world.run(vec![deploy.into()]);
    let (id, lease) = pool.world.active("data")[0].clone();
    pool.lose(id, &lease);
    for _ in 0..4 {
        pool.world.wait(600_000);
        assert_eq!(pool.world.active("data"), [], "started beside its data");
    }
    let node = lease.node;
    let slot = pool.world.state.slot(&lease.slot()).unwrap();
    assert_eq!(slot.waiting, Some(Waiting::ForVolume { node }));
    pool.says(pool.number_of(node), ReportBack { node })
        .unwrap();
    pool.world.wait(600_000);
    let (_, row) = pool.world.active("data")[0].clone();
    assert_eq!((row.node, row.epoch), (node, lease.epoch + 1));
}

#[test]
fn data_that_were_given_up_bind_nobody_once_their_machine_is_gone() {
    let mut pool = Pool::of_owners(3);
    let deploy = pool
        .world
        .deploy("a", &[("db", with_volume(&pool.world, "a"))], 1);
    pool.world.run(vec![deploy.clone().into()]);
    let (_, lease) = pool.world.active("a")[0].clone();
    pool.give_up(lease.node);
    let (app, drops_volumes) = (pool.world.app("a"), true);
    pool.world.run(vec![Delete { app, drops_volumes }.into()]);
    pool.world.run(vec![deploy.into()]);
    let (_, row) = pool.world.active("a")[0].clone();
    assert_ne!(row.node, lease.node);
    let volume = pool.world.state.volumes().next().unwrap().1.clone();
    assert_eq!((volume.node, volume.standing), (row.node, Standing::Used));
}

#[test]
fn being_given_up_is_no_failure_of_the_replicas() {
    let mut pool = Pool::of_owners(5);
    let (mut id, mut lease) = pool.app("a");
    for _ in 0..4 {
        pool.lose(id, &lease);
        let slot = pool.world.state.slot(&lease.slot()).unwrap();
        assert_eq!(slot.failures, 0);
        let node = lease.node;
        pool.says(pool.number_of(node), ReportBack { node })
            .unwrap();
        (id, lease) = pool.world.active("a")[0].clone();
    }
}

#[test]
fn services_that_are_together_wait_for_the_data_of_one_of_them() {
    let mut pool = Pool::of_owners(3);
    let mut small = web(1);
    small.constraints.is_together = true;
    let mut data = small.clone();
    data.volumes = [(Label([1; 32]), 1)].into();
    let services = [("web", small), ("data", data)];
    let deploy = pool.world.deploy("both", &services, 1);
    pool.world.run(vec![deploy.into()]);
    let leases = pool.world.active("both");
    let node = leases[0].1.node;
    for (id, lease) in &leases {
        pool.lose(*id, lease);
    }
    for _ in 0..4 {
        pool.world.wait(600_000);
        assert_eq!(pool.world.active("both"), [], "apart from the data");
    }
    pool.says(pool.number_of(node), ReportBack { node })
        .unwrap();
    pool.world.wait(600_000);
    let nodes = pool.world.active("both").into_iter();
    let nodes: Vec<NodeId> = nodes.map(|(_, lease)| lease.node).collect();
    assert_eq!(nodes, [node, node]);
}
