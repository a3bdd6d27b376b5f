//! What a node has given is gone until it comes back: within one action, within one block and over blocks.

use allod_state::app::{Delete, Demand, Update};
use allod_state::credit::Transfer;
use allod_state::node::Resources;
use allod_state::place::Failing;
use allod_state::{Action, Rejection, Transaction};

use crate::world::{GIB, World, credits, web};

fn taking(cpu_milli: u64, memory_bytes: u64, storage_bytes: u64) -> Demand {
    Demand {
        resources: Resources {
            cpu_milli,
            memory_bytes,
            storage_bytes,
        },
        ..web(1)
    }
}

/// Demands of a little more than half of the machine, one for each thing that it gives, and what a second one is told.
fn halves() -> [(Demand, Failing); 3] {
    let (memory, storage) = (4 * GIB, 50 * GIB);
    let cpu = Failing::Cpu {
        needed: 2_001,
        free: 1_999,
    };
    let of_memory = Failing::Memory {
        needed: memory + 1,
        free: memory - 1,
    };
    let of_storage = Failing::Storage {
        needed: storage + 1,
        free: storage - 1,
    };
    [
        (taking(2_001, GIB, GIB), cpu),
        (taking(500, memory + 1, GIB), of_memory),
        (taking(500, GIB, storage + 1), of_storage),
    ]
}

fn assert_refused(outcome: &Result<(), Rejection>, expected: &Failing) {
    let Err(Rejection::NoPlacement { why }) = outcome else {
        panic!("two of more than half each on one machine: {outcome:?}");
    };
    assert_eq!(why.refusals[0].failing, std::slice::from_ref(expected));
}

fn deploy(world: &World, name: &str, demand: &Demand) -> Action {
    world.deploy(name, &[("web", demand.clone())], 1).into()
}

#[test]
fn two_replicas_that_exceed_a_node_are_not_both_placed() {
    for (half, expected) in halves() {
        let mut world = World::new();
        let twice = Demand {
            replicas: 2,
            ..half
        };
        let both = deploy(&world, "shop", &twice);
        assert_refused(&world.try_run(vec![both]), &expected);
        assert_eq!(world.state.used_on(&world.node), Resources::default());
    }
}

#[test]
fn two_transactions_of_a_block_that_exceed_a_node_do_not_both_pass() {
    for (half, expected) in halves() {
        let mut world = World::new();
        let owner = world.owner.clone();
        let in_turn = |world: &World, name: &str, turn: u64| -> Transaction {
            let mut tx = world.signed(&owner, owner.account, vec![deploy(world, name, &half)]);
            tx.body.nonce += turn;
            tx.signature = owner.sign(&tx.body.sign_bytes());
            tx
        };
        let both = vec![in_turn(&world, "one", 0), in_turn(&world, "two", 1)];
        let receipts = world.block(both, 1).unwrap();
        assert_eq!(receipts[0].outcome, Ok(()));
        assert_refused(&receipts[1].outcome, &expected);
        assert_eq!(world.state.used_on(&world.node), half.resources);
    }
}

#[test]
fn what_a_node_has_given_comes_back_with_the_app_that_had_it() {
    for (half, expected) in halves() {
        let mut world = World::new();
        let (one, two) = (deploy(&world, "one", &half), deploy(&world, "two", &half));
        world.run(vec![one]);
        assert_refused(&world.try_run(vec![two.clone()]), &expected);
        let app = world.app("one");
        let delete = Delete {
            app,
            drops_volumes: true,
        };
        world.run(vec![delete.into()]);
        world.run(vec![two]);
        assert_eq!(world.state.used_on(&world.node), half.resources);
    }
}

#[test]
fn what_is_lacking_is_told_in_sizes_that_people_read() {
    let (needed, free) = (900 * GIB, 4 * GIB - 1);
    let memory = Failing::Memory { needed, free };
    let storage = Failing::Storage { needed, free };
    assert_eq!(memory.to_string(), "needs 900 GiB of memory, 3.9 GiB free");
    assert_eq!(storage.to_string(), "needs 900 GiB of disk, 3.9 GiB free");
    // Even where they differ by a byte, what is needed looks larger.
    let needed = 4 * GIB;
    let memory = Failing::Memory { needed, free };
    assert_eq!(memory.to_string(), "needs 4 GiB of memory, 3.9 GiB free");
}

#[test]
fn two_that_fill_a_node_to_the_last_byte_fit() {
    let mut world = World::new();
    let half = taking(2_000, 4 * GIB, 50 * GIB);
    for name in ["one", "two"] {
        world.run(vec![deploy(&world, name, &half)]);
    }
    let third = deploy(&world, "three", &taking(1, 1, 0));
    let Err(Rejection::NoPlacement { why }) = world.try_run(vec![third]) else {
        panic!("the machine is full");
    };
    let expected = [
        Failing::Cpu { needed: 1, free: 0 },
        Failing::Memory { needed: 1, free: 0 },
    ];
    assert_eq!(why.refusals[0].failing, expected);
}

#[test]
fn a_replica_that_stops_first_leaves_its_room_to_its_successor() {
    for (half, expected) in halves() {
        let mut world = World::new();
        let half = Demand {
            update: Update::StopFirst,
            ..half
        };
        let first = deploy(&world, "shop", &half);
        world.run(vec![first]);
        let next = world.deploy("shop", &[("web", half.clone())], 2);
        world.run(vec![next.into()]);
        world.wait(1);
        let active = world.active("shop");
        assert_eq!(active.len(), 1, "{active:?}");
        assert_eq!(active[0].1.revision, 2);
        assert_eq!(world.state.used_on(&world.node), half.resources);
        // It is its own room alone: another app of the same size has none.
        let other = deploy(&world, "other", &half);
        assert_refused(&world.try_run(vec![other]), &expected);
    }
}

/// What an action took is given back when a later one of the same transaction fails.
#[test]
fn what_a_failed_transaction_took_is_free_again() {
    let mut world = World::new();
    let whole = || {
        let mut whole = web(1);
        whole.resources.cpu_milli = 4_000;
        whole
    };
    let nobody = Transfer {
        to: world.owner.account,
        amount: credits("1"),
        memo: String::new(),
    };
    let deploy = world.deploy("first", &[("web", whole())], 1);
    let failed = world.try_run(vec![deploy.into(), nobody.into()]);
    assert!(
        matches!(failed, Err(Rejection::BadField { .. })),
        "{failed:?}"
    );
    assert_eq!(world.state.used_on(&world.node), Resources::default());
    world.run(vec![world.deploy("second", &[("web", whole())], 1).into()]);
}
