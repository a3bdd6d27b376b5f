//! Tallies against the law's own fold.

use allod_state::app::SlotKey;
use allod_state::lease::Phase;
use allod_state::node::Resources;
use allod_state::{AccountId, AppId, Credits, Digest, Label, NodeId};

use super::*;

const SLOT: SlotKey = (AppId([1; 32]), Label([2; 32]), 0);

fn lease(placed_ms: u64) -> Lease {
    Lease {
        app: SLOT.0,
        app_label: SLOT.1,
        service: SLOT.1,
        replica: 0,
        epoch: 1,
        revision: 1,
        generation: 0,
        manifest: Digest([0; 32]),
        node: NodeId([0; 32]),
        payer: AccountId([0; 32]),
        payee: AccountId([0; 32]),
        price_per_hour: Credits::from_micro(3_600_000),
        footprint: Resources::default(),
        volumes: [].into(),
        placed_ms,
        phase: Phase::Placed,
        meter: Meter::starting_at(placed_ms),
        witnesses: [].into(),
        given_up_by: [].into(),
        doubted_ms: None,
    }
}

fn measured(cpu_ms: u64, memory_mib: u64) -> Measured {
    Measured {
        cpu_ns: cpu_ms * 1_000_000,
        memory_bytes: memory_mib * MIB,
        ..Measured::default()
    }
}

fn take(lease: &mut Lease, items: &[Item]) {
    for item in items {
        assert_eq!(item.from_ms, lease.meter.until_ms);
        assert!(item.ready_ms <= item.until_ms - item.from_ms);
        lease.meter = lease.meter.fold(item, lease.price_per_hour).unwrap();
    }
}

#[test]
fn only_watched_ready_time_counts() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(1_000));
    let mut tally = Tally::new(lease.meter.clone(), 1_000);
    tally.set_ready(true, 11_000);
    let items = tally.items(id, &lease, 31_000);
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 20_000);
    tally.set_ready(false, 41_000);
    let items = tally.items(id, &lease, 61_000);
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 30_000);
    assert_eq!(lease.meter.charged, Credits::from_micro(30_000));
}

#[test]
fn a_lost_submission_is_made_good_and_none_is_repeated() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let mut tally = Tally::new(lease.meter.clone(), 0);
    tally.set_ready(true, 0);
    tally.sample(measured(500, 10), 30_000);
    let _lost = tally.items(id, &lease, 30_000);
    tally.sample(measured(900, 10), 60_000);
    let items = tally.items(id, &lease, 60_000);
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 60_000);
    assert_eq!(lease.meter.usage.cpu_ms, 900);
    assert_eq!(lease.meter.usage.memory_mib_seconds, 600);
    assert_eq!(tally.items(id, &lease, 60_000), []);
}

#[test]
fn a_new_agent_goes_on_where_the_law_is() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let mut first = Tally::new(lease.meter.clone(), 0);
    first.set_ready(true, 0);
    first.sample(measured(500, 10), 30_000);
    let items = first.items(id, &lease, 30_000);
    take(&mut lease, &items);
    let mut second = Tally::new(lease.meter.clone(), 90_000);
    second.set_ready(true, 90_000);
    second.sample(measured(800, 10), 120_000);
    let items = second.items(id, &lease, 120_000);
    take(&mut lease, &items);
    assert_eq!(
        lease.meter.ready_ms, 60_000,
        "the minute nobody watched is not billed"
    );
    assert_eq!(
        lease.meter.usage.cpu_ms, 800,
        "the kernel's counter lost nothing"
    );
}

#[test]
fn a_long_sleep_is_several_items() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let tally = Tally::new(lease.meter.clone(), 0);
    let items = tally.items(id, &lease, 3 * EVIDENCE_SPAN_MS_MAX + 1);
    assert_eq!(items.len(), 4);
    take(&mut lease, &items);
}
