//! Tallies against the law's own fold.

use allod_state::app::SlotKey;
use allod_state::lease::Phase;
use allod_state::node::Resources;
use allod_state::{AccountId, AppId, Credits, Digest, Label, NodeId};

use super::*;

const SLOT: SlotKey = (AppId([1; 32]), Label([2; 32]), 0);

pub(in crate::agent) fn lease(placed_ms: u64) -> Lease {
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
        is_exclusive: false,
        ending: None,
    }
}

fn measured(cpu_ms: u64, memory_mib: u64) -> Measured {
    Measured {
        cpu_ns: cpu_ms * 1_000_000,
        memory_bytes: memory_mib * MIB,
        ..Measured::default()
    }
}

/// The wall clock says what the steady one does.
fn right(at_ms: u64) -> Moment {
    Moment {
        wall_ms: at_ms,
        steady_ms: at_ms,
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
    let items = tally.items(id, &lease, right(31_000));
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 20_000);
    tally.set_ready(false, 41_000);
    let items = tally.items(id, &lease, right(61_000));
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
    let _lost = tally.items(id, &lease, right(30_000));
    tally.sample(measured(900, 10), 60_000);
    let items = tally.items(id, &lease, right(60_000));
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 60_000);
    assert_eq!(lease.meter.usage.cpu_ms, 900);
    assert_eq!(lease.meter.usage.memory_mib_seconds, 600);
    assert_eq!(tally.items(id, &lease, right(60_000)), []);
}

#[test]
fn a_new_agent_goes_on_where_the_law_is() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let mut first = Tally::new(lease.meter.clone(), 0);
    first.set_ready(true, 0);
    first.sample(measured(500, 10), 30_000);
    let items = first.items(id, &lease, right(30_000));
    take(&mut lease, &items);
    let mut second = Tally::new(lease.meter.clone(), 90_000);
    second.set_ready(true, 90_000);
    second.sample(measured(800, 10), 120_000);
    let items = second.items(id, &lease, right(120_000));
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
    let items = tally.items(id, &lease, right(3 * EVIDENCE_SPAN_MS_MAX + 1));
    assert_eq!(items.len(), 4);
    take(&mut lease, &items);
}

/// As after hours without a quorum, through which it served.
#[test]
fn ready_time_of_hours_is_told_whole() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let mut tally = Tally::new(lease.meter.clone(), 0);
    tally.set_ready(true, 0);
    let hours = 8 * EVIDENCE_SPAN_MS_MAX + 600_000;
    tally.set_ready(false, hours - 60_000);
    let items = tally.items(id, &lease, right(hours));
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, hours - 60_000);
}

#[test]
fn every_lease_has_its_turn_where_there_are_more_than_one_submission_holds() {
    let of = |from_ms| {
        let lease = lease(from_ms);
        let items =
            Tally::new(lease.meter.clone(), 0).items(LeaseId([0; 32]), &lease, right(90_000));
        items[0]
    };
    let newer = vec![of(60_000); EVIDENCE_ITEMS_MAX];
    let all = newer.into_iter().chain([of(30_000)]).collect();
    let sent = oldest(all);
    assert_eq!((sent.len(), sent[0].from_ms), (EVIDENCE_ITEMS_MAX, 30_000));
}

#[test]
fn a_wall_clock_that_jumps_makes_no_ready_time() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let mut tally = Tally::new(lease.meter.clone(), 0);
    tally.set_ready(true, 0);
    // Ten minutes ahead: it is not ready any more after ten seconds, and the clock is put right before the next item.
    tally.set_ready(false, 10_000);
    let items = tally.items(id, &lease, right(60_000));
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 10_000);
    // Ready again while the clock is behind.
    tally.set_ready(true, 70_000);
    let wrong = Moment {
        wall_ms: 0,
        steady_ms: 80_000,
    };
    assert_eq!(tally.items(id, &lease, wrong), []);
    let items = tally.items(id, &lease, right(100_000));
    take(&mut lease, &items);
    assert_eq!(lease.meter.ready_ms, 40_000);
    // Ahead for good: more time has passed by the wall clock than it was ready.
    let ahead = Moment {
        wall_ms: 700_000,
        steady_ms: 110_000,
    };
    let items = tally.items(id, &lease, ahead);
    take(&mut lease, &items);
    assert_eq!(lease.meter.until_ms, 700_000);
    assert_eq!(lease.meter.ready_ms, 50_000);
}

#[test]
fn what_was_ready_after_the_lease_had_ended_does_not_count() {
    let (id, mut lease) = (LeaseId([0; 32]), lease(0));
    let mut tally = Tally::new(lease.meter.clone(), 0);
    tally.set_ready(true, 20_000);
    let items = tally.items(id, &lease, right(50_000).back_at(30_000));
    take(&mut lease, &items);
    assert_eq!(lease.meter.until_ms, 30_000);
    assert_eq!(lease.meter.ready_ms, 10_000);
}

#[test]
fn whoever_has_another_clock_than_the_ledger_is_paid_for_what_passed() {
    const AHEAD_MS: u64 = 60_000;
    let block = |wall_ms, steady_ms| Moment { wall_ms, steady_ms };
    for (wall_ms, until_ms) in [
        (31_000 + AHEAD_MS, 31_000),
        (31_000, 31_000),
        (30_600, 30_600),
        (200, 1_000),
    ] {
        let now = Moment {
            wall_ms,
            steady_ms: 530_000,
        };
        let until = now.since(block(1_000, 500_000));
        assert_eq!((until.wall_ms, until.steady_ms), (until_ms, 530_000));
    }

    // Of what does not fit into an item now, nothing is lost.
    let (id, mut lease) = (LeaseId([0; 32]), lease(1_000));
    let mut tally = Tally::new(lease.meter.clone(), 500_000);
    tally.set_ready(true, 500_000);
    let mut seen = block(1_000, 501_000);
    for steady_ms in [530_000, 560_000, 590_000] {
        let now = Moment {
            wall_ms: steady_ms + AHEAD_MS,
            steady_ms,
        };
        let items = tally.items(id, &lease, now.since(seen));
        take(&mut lease, &items);
        assert!(lease.meter.until_ms <= steady_ms - 499_000, "the future");
        // The block that takes it, which comes a second later.
        seen = block(steady_ms - 499_000, steady_ms + 1_000);
    }
    assert_eq!(lease.meter.ready_ms, 89_000);
}
