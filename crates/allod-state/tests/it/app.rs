//! Apps from deployment to deletion.

use allod_state::app::{Delete, Demand, Restart, RestartPolicy, Rollback, Scale, Waiting};
use allod_state::credit::Transfer;
use allod_state::lease::{EndCause, Phase, Report};
use allod_state::node::CordonNode;
use allod_state::place::Failing;
use allod_state::volume::{ReportVolume, Standing};
use allod_state::{Action, Digest, Label, Rejection};

use crate::world::{GIB, Person, World, credits, web, with_volume};

#[test]
fn a_stack_is_placed_whole_or_not_at_all() {
    let mut world = World::new();
    let huge = Demand {
        resources: allod_state::node::Resources {
            memory_bytes: 9 * GIB,
            ..web(1).resources
        },
        ..web(1)
    };
    let deploy = world.deploy("shop", &[("web", web(2)), ("db", huge)], 1);
    let Err(Rejection::NoPlacement { why }) = world.try_run(vec![deploy.into()]) else {
        panic!("it should not fit");
    };
    let lacking = "needs 9 GiB of memory, 7 GiB free";
    assert!(why.to_string().contains(lacking), "{why}");
    assert_eq!(world.state.counts()[2..], [0, 0]);
}

/// What is derived from the rows must be taken back with them: the room on a node, an app's label, a slot's due time.
#[test]
fn what_a_failed_transaction_did_before_it_failed_is_as_if_it_had_never_been() {
    let (mut with, mut without) = (World::new(), World::new());
    let big = Demand {
        resources: allod_state::node::Resources {
            memory_bytes: 5 * GIB,
            ..web(1).resources
        },
        ..with_volume(&with, "shop")
    };
    let deploy = with.deploy("shop", &[("web", big)], 1);
    let fails = Transfer {
        to: with.owner.account,
        amount: credits("1"),
        memo: String::new(),
    };
    assert!(
        with.try_run(vec![deploy.clone().into(), fails.clone().into()])
            .is_err()
    );
    assert!(without.try_run(vec![fails.into()]).is_err());
    for world in [&mut with, &mut without] {
        assert_eq!(world.last.as_ref().unwrap().writes.len(), 1, "the nonce");
        assert_eq!(world.state.next_due_ms(), None);
        world.run(vec![deploy.clone().into()]);
    }
    assert_eq!(with.state.root(), without.state.root());
    let used = |world: &World| world.state.used_on(&world.node);
    assert_eq!(used(&with), used(&without));
    assert_eq!(with.state.next_due_ms(), without.state.next_due_ms());
}

/// A receipt is what others act on: it tells of nothing that was taken back, wherever in the transaction it failed.
#[test]
fn a_transaction_that_fails_tells_of_nothing_that_it_did() {
    let mut world = World::new();
    let good = Transfer {
        to: Person::new(7).account,
        amount: credits("1"),
        memo: String::new(),
    };
    let bad = Transfer {
        amount: credits("999999999"),
        ..good.clone()
    };
    let deploy = world.deploy("shop", &[("web", web(2))], 1);
    let (good, bad) = (Action::from(good), Action::from(bad));
    let mixed = [
        vec![deploy.clone().into(), bad.clone()],
        vec![good.clone(), deploy.clone().into(), bad.clone()],
        vec![good.clone(), bad, deploy.clone().into()],
    ];
    for actions in mixed {
        let refused = world.try_run(actions);
        assert!(matches!(refused, Err(Rejection::InsufficientCredit { .. })));
        let last = world.last.as_ref().unwrap();
        assert_eq!(last.receipts[0].events, [], "it failed");
        assert_eq!(last.events, [], "nothing came of it");
    }
    // The very actions that failed with the bad one tell of themselves without it.
    world.run(vec![good, deploy.into()]);
    let told = &world.last.as_ref().unwrap().receipts[0].events;
    assert!(told.len() >= 3, "a payment and two replicas: {told:?}");
}

#[test]
fn every_failing_rule_is_named() {
    let mut world = World::new();
    world.run(vec![
        CordonNode {
            node: world.node,
            is_cordoned: true,
        }
        .into(),
    ]);
    let mut demand = web(1);
    demand.constraints.regions.insert("fr".parse().unwrap());
    demand.constraints.tags.insert("ssd".parse().unwrap());
    demand.resources.cpu_milli = 9_000;
    let deploy = world.deploy("shop", &[("web", demand)], 1);
    let Err(Rejection::NoPlacement { why }) = world.try_run(vec![deploy.into()]) else {
        panic!("it should not fit");
    };
    assert_eq!(why.refusals[0].failing.len(), 4, "{why}");
}

#[test]
fn an_update_starts_the_new_replica_before_it_ends_the_old() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(2))], 1).into()]);
    for (id, _) in world.active("shop") {
        world.report_lease(id, Report::Ready);
    }
    world.run(vec![world.deploy("shop", &[("web", web(2))], 2).into()]);
    for round in 0..2 {
        let active = world.active("shop");
        assert_eq!(active.len(), 3, "one replica at a time: round {round}");
        let ready = active
            .iter()
            .filter(|(_, lease)| matches!(lease.phase, Phase::Ready { .. }))
            .count();
        assert_eq!(ready, 2, "two always serve");
        let (next, _) = active
            .iter()
            .find(|(_, lease)| lease.phase == Phase::Placed)
            .unwrap();
        world.report_lease(*next, Report::Ready);
        world.wait(1);
    }
    let active = world.active("shop");
    assert_eq!(
        active
            .iter()
            .map(|(_, lease)| lease.revision)
            .collect::<Vec<_>>(),
        [2, 2]
    );
    assert!(active.iter().all(|(_, lease)| lease.epoch == 2));
}

#[test]
fn a_new_revision_leaves_unchanged_services_alone() {
    let mut world = World::new();
    let database = with_volume(&world, "shop");
    let mut deploy = world.deploy("shop", &[("web", web(1)), ("db", database)], 1);
    world.run(vec![deploy.clone().into()]);
    for (id, _) in world.active("shop") {
        world.report_lease(id, Report::Ready);
    }
    let web_label = Label::of(world.app_label("shop").as_bytes(), "web");
    deploy.services.get_mut(&web_label).unwrap().content = allod_state::Digest::of(b"new");
    world.run(vec![deploy.into()]);
    let active = world.active("shop");
    let placed: Vec<_> = active
        .iter()
        .filter(|(_, l)| l.phase == Phase::Placed)
        .collect();
    assert_eq!(
        (active.len(), placed.len()),
        (3, 1),
        "only the web service gets a successor"
    );
    assert_eq!(placed[0].1.service, web_label);
    world.report_lease(placed[0].0, Report::Ready);
    world.wait(1);
    let revisions: Vec<u64> = world
        .active("shop")
        .iter()
        .map(|(_, l)| l.revision)
        .collect();
    assert_eq!(revisions.len(), 2);
    assert!(
        revisions.contains(&1) && revisions.contains(&2),
        "{revisions:?}"
    );
}

#[test]
fn a_service_with_a_volume_never_runs_twice() {
    let mut world = World::new();
    let demand = with_volume(&world, "shop");
    world.run(vec![
        world.deploy("shop", &[("db", demand.clone())], 1).into(),
    ]);
    let (first, _) = world.active("shop")[0];
    world.report_lease(first, Report::Ready);
    world.run(vec![world.deploy("shop", &[("db", demand)], 2).into()]);
    let active = world.active("shop");
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].1.revision, 2);
    let ended = world.state.lease(&first).unwrap().phase;
    assert!(matches!(
        ended,
        Phase::Ended {
            cause: EndCause::Superseded,
            ..
        }
    ));
}

#[test]
fn a_revision_that_keeps_failing_leaves_the_old_one_serving() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(1))], 1).into()]);
    let (old, _) = world.active("shop")[0];
    world.report_lease(old, Report::Ready);
    world.run(vec![world.deploy("shop", &[("web", web(1))], 2).into()]);
    for _ in 0..3 {
        let (new, _) = *world
            .active("shop")
            .iter()
            .find(|(id, _)| *id != old)
            .expect("a try");
        world.report_lease(new, Report::Ended(EndCause::Exited { code: 1 }));
        world.wait(400_000);
    }
    assert_eq!(world.active("shop").len(), 1);
    assert_eq!(world.active("shop")[0].0, old);
    let app = world.state.app(&world.app("shop")).unwrap();
    assert!(app.services.values().all(|service| service.is_halted));
    world.run(vec![
        Rollback {
            app: world.app("shop"),
            to: None,
        }
        .into(),
    ]);
    let app = world.state.app(&world.app("shop")).unwrap();
    assert!(app.services.values().all(|service| !service.is_halted));
    world.wait(400_000);
    assert_eq!(world.active("shop").len(), 1);
    assert_eq!(
        world.active("shop")[0].0,
        old,
        "it runs what is wanted again: nothing is replaced"
    );
}

#[test]
fn a_failed_replica_waits_longer_each_time() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(1))], 1).into()]);
    let app = world.app("shop");
    let key = world.state.slots_of(&app)[0];
    let mut waits = Vec::new();
    for _ in 0..4 {
        let (id, _) = world.active("shop")[0];
        world.report_lease(id, Report::Ended(EndCause::OutOfMemory));
        let slot = world.state.slot(&key).unwrap();
        assert_eq!(
            slot.waiting,
            Some(Waiting::BackingOff(EndCause::OutOfMemory))
        );
        assert_eq!(world.state.next_due_ms(), slot.due_ms);
        waits.push(slot.due_ms.unwrap() - world.now_ms());
        world.wait(*waits.last().unwrap());
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000]);
}

#[test]
fn a_job_that_ends_well_is_complete() {
    let mut world = World::new();
    let job = Demand {
        restart: RestartPolicy::OnFailure,
        ..web(1)
    };
    world.run(vec![world.deploy("job", &[("once", job)], 1).into()]);
    let (id, _) = world.active("job")[0];
    world.report_lease(id, Report::Ended(EndCause::Exited { code: 0 }));
    world.wait(400_000);
    assert!(world.active("job").is_empty());
    let slot = world
        .state
        .slot(&world.state.slots_of(&world.app("job"))[0])
        .unwrap();
    assert!(matches!(slot.waiting, Some(Waiting::Completed(_))));
}

#[test]
fn scaling_adds_and_ends_replicas() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(1))], 1).into()]);
    let app = world.app("shop");
    let service = *world
        .state
        .app(&app)
        .unwrap()
        .services
        .keys()
        .next()
        .unwrap();
    world.run(vec![
        Scale {
            app,
            service,
            replicas: 3,
        }
        .into(),
    ]);
    assert_eq!(world.active("shop").len(), 3);
    let refused = world.try_run(vec![
        Scale {
            app,
            service,
            replicas: 50,
        }
        .into(),
    ]);
    assert!(matches!(refused, Err(Rejection::NoPlacement { .. })));
    assert_eq!(world.active("shop").len(), 3, "nothing half-applied");
    world.run(vec![
        Scale {
            app,
            service,
            replicas: 0,
        }
        .into(),
    ]);
    assert!(world.active("shop").is_empty());
    assert_eq!(
        world.state.used_on(&world.node),
        allod_state::node::Resources::default()
    );
}

#[test]
fn a_restart_replaces_every_replica() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(1))], 1).into()]);
    let (old, _) = world.active("shop")[0];
    world.report_lease(old, Report::Ready);
    world.run(vec![
        Restart {
            app: world.app("shop"),
            service: None,
        }
        .into(),
    ]);
    let (new, _) = *world
        .active("shop")
        .iter()
        .find(|(id, _)| *id != old)
        .unwrap();
    world.report_lease(new, Report::Ready);
    assert_eq!(world.active("shop").len(), 1);
}

#[test]
fn deleting_keeps_volumes_unless_told_and_they_come_back_by_name() {
    let mut world = World::new();
    let demand = with_volume(&world, "shop");
    world.run(vec![
        world.deploy("shop", &[("db", demand.clone())], 1).into(),
    ]);
    world.run(vec![
        Delete {
            app: world.app("shop"),
            drops_volumes: false,
        }
        .into(),
    ]);
    assert_eq!(
        world.state.volumes().next().unwrap().1.standing,
        Standing::Kept
    );
    world.run(vec![world.deploy("shop", &[("db", demand)], 1).into()]);
    assert_eq!(
        world.state.volumes().next().unwrap().1.standing,
        Standing::Used
    );
    world.run(vec![
        Delete {
            app: world.app("shop"),
            drops_volumes: true,
        }
        .into(),
    ]);
    assert_eq!(
        world.state.volumes().next().unwrap().1.standing,
        Standing::Dropped
    );
    assert_eq!(world.state.counts()[2], 0);
}

#[test]
fn a_volume_that_was_given_up_is_not_taken_up_again_before_it_is_gone() {
    let mut world = World::new();
    let deploy = world.deploy("shop", &[("db", with_volume(&world, "shop"))], 1);
    world.run(vec![deploy.clone().into()]);
    let (app, drops_volumes) = (world.app("shop"), true);
    world.run(vec![Delete { app, drops_volumes }.into()]);
    let node = world.node;
    let Err(Rejection::NoPlacement { why }) = world.try_run(vec![deploy.clone().into()]) else {
        panic!("it would find the data that its owner gave up");
    };
    let failing = &why.refusals[0].failing;
    assert_eq!(*failing, [Failing::VolumeLeaving { node }], "{why}");
    let ((owner, app, volume), _) = world.state.volumes().next().unwrap();
    let (owner, app, volume) = (*owner, *app, *volume);
    let report = ReportVolume { owner, app, volume };
    let machine = world.machine.clone();
    world.try_as(&machine, owner, vec![report.into()]).unwrap();
    world.run(vec![deploy.into()]);
    let volume = world.state.volumes().next().unwrap().1.clone();
    assert_eq!(volume.standing, Standing::Used);
    assert_eq!(volume.created_ms, world.now_ms());
}

#[test]
fn going_back_again_goes_further_back() {
    let mut world = World::new();
    for version in 1..=3 {
        world.run(vec![
            world.deploy("shop", &[("web", web(1))], version).into(),
        ]);
    }
    let app = world.app("shop");
    let runs = |world: &World| {
        let revision = world.state.app(&app).unwrap().revision;
        let revision = world.state.revision(&(app, revision)).unwrap();
        revision.manifest.ciphertext
    };
    world.run(vec![Rollback { app, to: None }.into()]);
    assert_eq!(runs(&world), Digest::of(&[2]));
    // The one that repeats it is named, and goes on being what it repeats.
    world.run(vec![Rollback { app, to: Some(4) }.into()]);
    assert_eq!(runs(&world), Digest::of(&[2]));
    world.run(vec![Rollback { app, to: None }.into()]);
    assert_eq!(runs(&world), Digest::of(&[1]));
}
