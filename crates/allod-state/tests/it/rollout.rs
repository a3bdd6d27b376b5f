//! What one replica's report does to the others of its service.

use allod_state::app::{RestartPolicy, Waiting};
use allod_state::lease::{EndCause, Report};
use allod_state::node::CordonNode;

use crate::world::{World, web};

#[test]
fn a_completed_replica_stays_completed_when_another_becomes_ready() {
    let mut world = World::new();
    let mut job = web(2);
    job.restart = RestartPolicy::Never;
    world.run(vec![world.deploy("job", &[("web", job)], 1).into()]);
    let (first, second) = (world.active("job")[0].0, world.active("job")[1].0);
    let done = EndCause::Exited { code: 0 };
    world.report_lease(first, Report::Ended(done));
    world.report_lease(second, Report::Ready);
    world.wait(400_000);
    let slot = world.state.slots_of(&world.app("job"))[0];
    let slot = world.state.slot(&slot).unwrap();
    assert_eq!(slot.waiting, Some(Waiting::Completed(done)));
    assert_eq!(world.active("job").len(), 1);
}

#[test]
fn a_failed_replica_waits_out_its_time_when_another_becomes_ready() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(2))], 1).into()]);
    let (first, second) = (world.active("shop")[0].0, world.active("shop")[1].0);
    world.report_lease(first, Report::Ended(EndCause::ProbeFailed));
    world.report_lease(second, Report::Ready);
    world.wait(10);
    assert_eq!(world.active("shop").len(), 1, "it backs off for a second");
    world.wait(1_000);
    assert_eq!(world.active("shop").len(), 2);
}

#[test]
fn a_replica_is_ready_although_the_next_one_fits_nowhere() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(2))], 1).into()]);
    world.run(vec![world.deploy("shop", &[("web", web(2))], 2).into()]);
    let is_new = |lease: &allod_state::lease::Lease| lease.revision == 2;
    let active = world.active("shop");
    let (successor, _) = active.iter().find(|(_, lease)| is_new(lease)).unwrap();
    let (node, is_cordoned) = (world.node, true);
    world.run(vec![CordonNode { node, is_cordoned }.into()]);
    world.report_lease(*successor, Report::Ready);
    world.wait(1);
    let is_cordoned = false;
    world.run(vec![CordonNode { node, is_cordoned }.into()]);
    world.wait(10_000);
    let active = world.active("shop");
    assert_eq!(active.iter().filter(|(_, lease)| is_new(lease)).count(), 2);
}
