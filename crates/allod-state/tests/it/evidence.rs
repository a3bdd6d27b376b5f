//! Evidence, bills, proofs and restoring.

use allod_state::app::Delete;
use allod_state::block::Header;
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, Meter, SubmitEvidence, Usage};
use allod_state::lease::{EndCause, Report};
use allod_state::money::Credits;
use allod_state::node::CordonNode;
use allod_state::{AccountId, LeaseId, Rejection, State, bill};

use crate::pool::Pool;
use crate::world::{World, credits, web};

fn item(world: &World, lease: LeaseId, span_ms: u64, ready_ms: u64) -> Item {
    let lease_row = world.state.lease(&lease).unwrap();
    let from_ms = lease_row.meter.until_ms;
    Item {
        lease,
        epoch: lease_row.epoch,
        from_ms,
        until_ms: from_ms + span_ms,
        ready_ms,
        usage: Usage::default(),
    }
}

fn submit(world: &mut World, items: Vec<Item>) -> Result<(), Rejection> {
    let node = world.node;
    world.report(SubmitEvidence { node, items })
}

fn running() -> (World, LeaseId) {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(1))], 1).into()]);
    let (id, _) = world.active("shop")[0];
    world.report_lease(id, Report::Ready);
    (world, id)
}

#[test]
fn the_bill_is_ready_time_times_price() {
    let (mut world, lease) = running();
    let price = world.state.lease(&lease).unwrap().price_per_hour;
    assert_eq!(price, credits("0.0076"), "0.5 core, 0.5 GiB, 1 GiB");
    for _ in 0..3 {
        world.wait(30_000);
        let item = item(&world, lease, 30_000, 20_000);
        submit(&mut world, vec![item]).unwrap();
    }
    let meter = world.state.lease(&lease).unwrap().meter;
    assert_eq!((meter.ready_ms, meter.items), (60_000, 3));
    assert_eq!(
        meter.charged,
        price.mul_div_floor(60_000, 3_600_000).unwrap()
    );
    let month = bill::month_of(world.now_ms());
    let owner = world.owner.account;
    let lines: Vec<_> = world.state.bill_of(&owner, month).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].1.ready_ms, lines[0].1.amount),
        (60_000, meter.charged)
    );
    assert_eq!(
        world.state.account(&owner).unwrap().balance,
        credits("0"),
        "one's own node nets to zero"
    );
}

#[test]
fn the_bill_is_rounded_down_once() {
    let (mut world, lease) = running();
    for _ in 0..5 {
        world.wait(30_000);
        let item = item(&world, lease, 30_000, 20_000);
        submit(&mut world, vec![item]).unwrap();
    }
    // 7,600 an hour for 100 seconds are 211.1; each item alone is 42.2.
    let charged = world.state.lease(&lease).unwrap().meter.charged;
    assert_eq!(charged.micro(), 211);
}

#[test]
fn anyone_folds_the_same_meter_from_the_items() {
    let (mut world, lease) = running();
    let row = world.state.lease(&lease).unwrap();
    let mut own = Meter::starting_at(row.placed_ms);
    for ready_ms in [1, 999, 29_999] {
        world.wait(30_000);
        let item = item(&world, lease, 30_000, ready_ms);
        submit(&mut world, vec![item]).unwrap();
        own = own.fold(&item, row.price_per_hour).unwrap();
    }
    assert_eq!(world.state.lease(&lease).unwrap().meter, own);
}

#[test]
fn false_evidence_is_refused() {
    let (mut world, lease) = running();
    world.wait(30_000);
    let good = item(&world, lease, 30_000, 30_000);
    let wrong = [
        Item {
            ready_ms: 30_001,
            ..good
        },
        Item {
            from_ms: good.from_ms + 1,
            ..good
        },
        Item {
            until_ms: good.from_ms,
            ready_ms: 0,
            ..good
        },
        Item {
            until_ms: world.now_ms() + 60_000,
            ..good
        },
    ];
    for item in wrong {
        let refused = submit(&mut world, vec![item]);
        assert!(
            matches!(refused, Err(Rejection::BadEvidence { .. })),
            "{item:?}: {refused:?}"
        );
    }
    submit(&mut world, vec![good]).unwrap();
    assert!(
        matches!(
            submit(&mut world, vec![good]),
            Err(Rejection::BadEvidence { .. })
        ),
        "not twice"
    );
    assert!(matches!(
        submit(&mut world, vec![Item { epoch: 2, ..good }]),
        Err(Rejection::StaleLease { .. })
    ));
}

#[test]
fn nothing_after_the_end_is_billed() {
    let (mut world, lease) = running();
    world.wait(10_000);
    world.report_lease(lease, Report::Ended(EndCause::OutOfMemory));
    let ended = world.state.lease(&lease).unwrap().ended_ms().unwrap();
    world.wait(50_000);
    let past = item(&world, lease, 20_000, 20_000);
    assert!(matches!(
        submit(&mut world, vec![past]),
        Err(Rejection::BadEvidence { .. })
    ));
    let from = past.from_ms;
    let upto = Item {
        until_ms: ended,
        ready_ms: ended - from,
        ..past
    };
    submit(&mut world, vec![upto]).unwrap();
}

#[test]
fn a_balance_is_proved_and_a_lie_is_not() {
    let (world, lease) = running();
    let root = world.state.root();
    let owner = State::account_key(&world.owner.account);
    let (value, proof) = world.state.prove(&owner);
    proof
        .verify_value(&root, &owner, value.as_ref().unwrap())
        .unwrap();
    let other_root = allod_state::Root([1; 32]);
    let honest = value.as_ref().unwrap();
    assert!(proof.verify_value(&other_root, &owner, honest).is_err());
    let mut lie = value.unwrap();
    lie[0] ^= 1;
    assert!(proof.verify_value(&root, &owner, &lie).is_err());
    let key = State::lease_key(&lease);
    assert!(proof.verify_value(&root, &key, &lie).is_err());
    let nobody = State::account_key(&AccountId([5; 32]));
    let (none, absence) = world.state.prove(&nobody);
    assert_eq!((none, absence.lookup(&root, &nobody)), (None, Ok(None)));
}

#[test]
fn a_row_that_comes_twice_restores_nothing() {
    let (mut world, _) = running();
    world.wait(1);
    let mut rows: std::collections::BTreeMap<Vec<u8>, Vec<u8>> = Default::default();
    for (key, value) in world.writes {
        match value {
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
    let header = world.last.unwrap().block.header;
    let rows: Vec<_> = rows.into_iter().collect();
    assert!(State::restore(&header, rows.clone()).is_ok());
    for row in &rows {
        let twice = rows.iter().chain([row]).cloned();
        assert!(State::restore(&header, twice).is_err());
    }
}

#[test]
fn a_state_restored_from_its_rows_is_the_same_state() {
    let mut world = World::new();
    let mut rows = std::collections::BTreeMap::new();
    let mut keep = |world: &World| {
        for (key, value) in &world.last.as_ref().unwrap().writes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
    };
    let genesis = allod_state::genesis::Genesis::of_one(
        world.owner.key,
        world.machine.key,
        1_000_000,
        [9; 32],
    );
    let (_, first) = genesis.state();
    keep(&world);
    world.run(vec![world.deploy("shop", &[("web", web(2))], 1).into()]);
    keep(&world);
    let header: Header = world.last.as_ref().unwrap().block.header.clone();
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = first
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .filter(|(key, _)| !rows.contains_key(key))
        .collect();
    all.extend(rows.clone());
    let restored = State::restore(&header, all.clone()).unwrap();
    let owner = &world.owner;
    assert_eq!(restored.accounts_of_key(&owner.key, 2), [owner.account]);
    assert_eq!(restored.root(), world.state.root());
    assert_eq!(restored.tip(), world.state.tip());
    assert_eq!(
        restored.used_on(&world.node),
        world.state.used_on(&world.node)
    );
    assert_eq!(restored.recount(), world.state.recount());
    all.pop();
    assert!(State::restore(&header, all).is_err());
}

/// Its bill is right all the same, and says why it is short.
#[test]
fn what_cannot_be_paid_any_more_is_explained_though_its_lease_had_ended() {
    let mut pool = Pool::of_owners(1);
    let (node, is_cordoned) = (pool.world.node, true);
    pool.world
        .run(vec![CordonNode { node, is_cordoned }.into()]);
    let (id, lease) = pool.app("a");
    let (founder, other) = (pool.world.owner.account, pool.machines[1].1.account);
    let available = pool.world.state.account(&founder).unwrap().available();
    let (to, memo) = (other, String::new());
    let send = |amount| Transfer {
        to,
        amount,
        memo: memo.clone(),
    };
    // What it is to be paid for five minutes stays until it has ended.
    let kept = credits("0.01");
    let amount = available.minus(kept).unwrap();
    pool.world.run(vec![send(amount).into()]);
    pool.world.wait(60_000);
    let (app, drops_volumes) = (pool.world.app("a"), false);
    let all = vec![Delete { app, drops_volumes }.into(), send(kept).into()];
    pool.world.run(all);
    let (from_ms, node) = (lease.meter.until_ms, lease.node);
    let item = Item {
        lease: id,
        epoch: lease.epoch,
        from_ms,
        until_ms: from_ms + 30_000,
        ready_ms: 30_000,
        usage: Usage::default(),
    };
    let items = vec![item];
    pool.says(1, SubmitEvidence { node, items }).unwrap();
    let ended = pool.world.state.lease(&id).unwrap();
    assert_eq!(ended.meter.charged, Credits::ZERO);
    assert_eq!(ended.ending, Some(EndCause::CreditExhausted));
}
