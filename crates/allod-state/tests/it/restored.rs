//! A state built again from its stored rows goes on as the one that wrote them: what waits there, waits here.

use std::collections::BTreeSet;

use allod_state::State;
use allod_state::app::Waiting;
use allod_state::lease::{EndCause, Report};
use allod_state::node::PublishReach;
use allod_state::validator::Stand;

use crate::audit::Audit;
use crate::pool::Pool;
use crate::samples::reach;
use crate::world::{World, web};

/// The same network after a new start: its state from the rows that were written, in this order or the other.
fn restarted(world: &World, is_reversed: bool) -> World {
    let header = &world.last.as_ref().unwrap().block.header;
    let mut rows = Audit::of(world.writes.clone()).rows();
    if is_reversed {
        rows.reverse();
    }
    World {
        state: State::restore(header, rows).unwrap(),
        ..world.clone()
    }
}

/// Whoever holds a header is shown any row: also of tables that came later than proofs.
#[test]
fn every_row_there_is_is_proved() {
    let mut pool = Pool::of_owners(3);
    pool.app("shop");
    let node = pool.world.node;
    pool.says(0, PublishReach { node, ..reach() }).unwrap();
    pool.world.run(vec![Stand { node }.into()]);
    let state = &pool.world.state;
    let rows = Audit::of(pool.world.writes.clone()).rows();
    let tags: BTreeSet<u8> = rows.iter().map(|(key, _)| key[0]).collect();
    // There is no volume in this one.
    let expected: BTreeSet<u8> = (1..=15).filter(|tag| ![8, 9].contains(tag)).collect();
    assert_eq!(tags, expected, "a kind of row is missing here");
    for (key, value) in rows {
        let (shown, proof) = state.prove(&key);
        assert_eq!(shown.as_ref(), Some(&value), "a row of table {}", key[0]);
        proof.verify_value(&state.root(), &key, &value).unwrap();
    }
}

/// A slot that is due is found by its time alone; a restored state that has forgotten it never fills it again.
#[test]
fn a_replica_that_waits_is_placed_when_due_after_a_restart() {
    for is_reversed in [false, true] {
        let mut world = World::new();
        world.run(vec![world.deploy("shop", &[("web", web(2))], 1).into()]);
        for (id, _) in world.active("shop") {
            world.wait(10);
            world.report_lease(id, Report::Ended(EndCause::OutOfMemory));
        }
        let mut again = restarted(&world, is_reversed);
        let slots = world.state.slots_of(&world.app("shop"));
        let due = slots.iter().map(|key| world.state.slot(key).unwrap());
        let mut due: Vec<u64> = due
            .map(|slot| {
                let cause = EndCause::OutOfMemory;
                assert_eq!(slot.waiting, Some(Waiting::BackingOff(cause)));
                slot.due_ms.unwrap()
            })
            .collect();
        due.sort_unstable();
        assert!(due[0] < due[1], "each ended at a time of its own");
        for one in [&mut world, &mut again] {
            assert_eq!(one.state.next_due_ms(), Some(due[0]));
            for (placed, due_ms) in due.iter().enumerate() {
                one.wait(due_ms - 1 - one.now_ms());
                assert_eq!(one.active("shop").len(), placed, "not before its time");
                one.wait(1);
                assert_eq!(one.active("shop").len(), placed + 1, "due at {due_ms}");
            }
            assert_eq!(one.state.next_due_ms(), None);
        }
        let header = |world: &World| world.last.as_ref().unwrap().block.header.clone();
        assert_eq!(header(&again), header(&world));
    }
}
