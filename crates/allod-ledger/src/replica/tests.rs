//! Whole replicas: the law, the log and the store under crashes at every change of the disk.

pub(crate) mod world;

use std::sync::Arc;

use allod_state::account::grant::Grant;
use allod_state::account::{AddKey, RevokeKey};
use allod_state::credit::Transfer;
use allod_state::{Credits, Rejection};

use super::*;
use crate::disk::MemoryDisk;
use world::{
    CHECKPOINT_BLOCKS, START_MS, World, account, genesis, owner, settings, signed, transfer,
    validator,
};

const CLOCK: Clock = Clock {
    steady_ms: 1,
    wall_ms: START_MS + 1,
};

fn open(disk: &MemoryDisk, validators: usize) -> Result<Replica<world::Key>, ReplicaError> {
    let disk = Arc::new(disk.clone());
    Replica::open(disk, validator(0), settings(genesis(validators, 0)), CLOCK)
}

fn offer(replica: &mut Replica<world::Key>, at_ms: u64, nonce: u64) -> Output {
    let transaction = transfer(&replica.settings.genesis, 0, nonce, 5)
        .verify()
        .unwrap();
    let clock = Clock {
        steady_ms: at_ms,
        wall_ms: START_MS + at_ms,
    };
    let mut output = Output::default();
    replica
        .step(clock, Input::Offer(vec![transaction]), &mut output)
        .unwrap();
    output
}

#[test]
fn one_validator_commits_a_transfer_in_one_step_and_one_sync() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    let syncs = disk.syncs();
    let output = offer(&mut replica, 2, 0);
    assert_eq!(output.commits.len(), 1);
    assert_eq!(output.commits[0].receipts[0].outcome, Ok(()));
    assert_eq!(replica.state().tip().height, 1);
    assert_eq!(disk.syncs() - syncs, 1);
}

/// Whoever waits for an answer gets one when the key is taken away, and not when the transaction would have expired.
#[test]
fn what_a_revoked_key_had_sent_is_answered_at_once() {
    let mut replica = open(&MemoryDisk::default(), 1).unwrap();
    let (first, agent) = (owner(0), world::Key::new(9, 0));
    let key = agent.public_key();
    let mut at_ms = 1;
    let mut step = |key: &world::Key, nonce: u64, action: allod_state::Action| {
        at_ms += 10;
        let clock = Clock {
            steady_ms: at_ms,
            wall_ms: START_MS + at_ms,
        };
        let genesis = &replica.settings.genesis;
        let transaction = signed(genesis, key, account(&first), nonce, action);
        let (verified, mut output) = (transaction.verify().unwrap(), Output::default());
        let id = verified.id();
        replica
            .step(clock, Input::Offer(vec![verified]), &mut output)
            .unwrap();
        (id, output)
    };
    let grant = Grant::full();
    step(&first, 0, AddKey { key, grant }.into());
    let send = Transfer {
        to: account(&owner(1)),
        amount: Credits::from_micro(1),
        memo: String::new(),
    };
    // It waits for the one before it, which never comes.
    let (early, waits) = step(&agent, 1, send.into());
    assert_eq!(waits.offers, [Ok(Admitted::New)]);
    assert!(waits.commits.iter().all(|commit| commit.ids.is_empty()));
    let (_, revoked) = step(&first, 1, RevokeKey { key }.into());
    assert_eq!(revoked.commits.len(), 1);
    assert_eq!(revoked.dropped, [(early, Rejection::UnknownKey)]);
    assert_eq!(replica.waiting(), 0);
}

#[test]
fn offering_twice_changes_nothing() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 4).unwrap();
    assert_eq!(offer(&mut replica, 2, 0).offers, [Ok(Admitted::New)]);
    assert_eq!(offer(&mut replica, 3, 0).offers, [Ok(Admitted::Known)]);
    assert_eq!(replica.waiting(), 1);
}

#[test]
fn a_restart_gives_the_same_state_whatever_was_flushed() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    for nonce in 0..150 {
        offer(&mut replica, 2 + nonce, nonce);
    }
    let (root, tip) = (replica.state().root(), replica.state().tip());
    drop(replica);
    disk.crash(|_| 0);
    let replica = open(&disk, 1).unwrap();
    assert_eq!((replica.state().root(), replica.state().tip()), (root, tip));
    assert_eq!(tip.height, 150);
    assert!(disk.list().unwrap().len() <= 5, "{:?}", disk.list());
}

#[test]
fn a_closed_replica_opens_without_its_log() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    offer(&mut replica, 2, 0);
    let root = replica.state().root();
    replica.close().unwrap();
    let store = Store::open(&disk, &genesis(1, 0)).unwrap();
    assert_eq!(store.load().unwrap().0.root(), root);
}

#[test]
fn the_largest_block_that_is_proposed_can_be_read_back() {
    let disk = MemoryDisk::default();
    let mut greedy = settings(genesis(1, 0));
    greedy.block_bytes_max = usize::MAX;
    let genesis = greedy.genesis.clone();
    let mut replica = Replica::open(Arc::new(disk), validator(0), greedy, CLOCK).unwrap();
    let one = transfer(&genesis, 0, 0, 5).to_bytes().len();
    let enough = u64::try_from(allod_state::limits::BLOCK_BYTES_MAX / one).unwrap() + 100;
    let count = enough.min(19_000);
    let many = (0..count).map(|nonce| transfer(&genesis, 0, nonce, 1));
    let many = Verified::batch(many.collect()).unwrap();
    let mut output = Output::default();
    replica
        .step(CLOCK, Input::Offer(many), &mut output)
        .unwrap();
    let committed: usize = output.commits.iter().map(|commit| commit.ids.len()).sum();
    assert_eq!(u64::try_from(committed).unwrap(), count);
    for commit in &output.commits {
        let stored = replica
            .store()
            .block(commit.header.height)
            .unwrap()
            .unwrap();
        assert_eq!(stored.block.header, commit.header);
    }
}

#[test]
fn two_processes_never_share_a_folder() {
    let disk = MemoryDisk::default();
    let first = open(&disk, 1).unwrap();
    assert!(matches!(open(&disk, 1), Err(ReplicaError::InUse)));
    drop(first);
    open(&disk, 1).unwrap();
}

#[test]
fn an_idle_network_of_one_ticks_slowly() {
    let mut world = World::new(1, 1);
    world.run_for_ms(40_000);
    assert_eq!(world.heights(), [2]);
}

#[test]
fn a_transaction_that_waits_for_a_missing_one_makes_no_blocks() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    offer(&mut replica, 2, 1);
    let after_first = replica.state().tip().height;
    for at_ms in 3..100 {
        let clock = Clock {
            steady_ms: at_ms,
            wall_ms: START_MS + at_ms,
        };
        replica
            .step(clock, Input::Tick, &mut Output::default())
            .unwrap();
    }
    assert_eq!(after_first, 0);
    assert_eq!(replica.state().tip().height, after_first);
    let output = offer(&mut replica, 200, 0);
    assert_eq!(output.commits.last().unwrap().ids.len(), 2);
}

#[test]
fn a_transaction_that_can_no_longer_be_applied_is_told() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 4).unwrap();
    offer(&mut replica, 2, 0);
    let late = Clock {
        steady_ms: 5,
        wall_ms: START_MS + 3_000_001,
    };
    let mut output = Output::default();
    replica.step(late, Input::Tick, &mut output).unwrap();
    assert!(matches!(
        output.dropped[..],
        [(_, Rejection::Expired { .. })]
    ));
    assert_eq!(replica.waiting(), 0);
}

#[test]
fn four_replicas_commit_the_same_blocks() {
    let mut world = World::new(4, 9);
    for _ in 0..20 {
        world.offer();
        world.run_for_ms(200);
    }
    world.heal();
    world.assert_nothing_lost();
    let committed: usize = world
        .acknowledged
        .values()
        .map(|(_, _, ids)| ids.len())
        .sum();
    assert_eq!(committed, 20);
}

/// What the others decide is accepted, though it comes too early for one's own clock to vote for it.
#[test]
fn a_validator_whose_clock_is_far_off_stops_nobody_and_follows() {
    for (seed, skew_ms) in (0..8).zip([-600_000, 600_000].into_iter().cycle()) {
        let mut world = World::new(4, seed);
        world.skew_ms.insert(3, skew_ms);
        world.lost_percent = 25;
        for _ in 0..60 {
            world.offer();
            world.run_for_ms(200);
        }
        world.lost_percent = 0;
        world.run_for_ms(20_000);
        let heights = world.heights();
        assert!(heights[0] > 2, "{skew_ms} ms: {heights:?}");
        assert!(heights[3] + 2 >= heights[0], "{skew_ms} ms: {heights:?}");
        assert!(!world.replica(3).is_halted(), "{skew_ms} ms");
        world.assert_signed_once();
    }
}

fn crash_many(seeds: std::ops::Range<u64>) -> u64 {
    let mut crashes = 0;
    for seed in seeds {
        for validators in [1, 4] {
            let mut world = World::new(validators, seed);
            world.lost_percent = 5;
            world.storm(25);
            world.heal();
            world.assert_nothing_lost();
            world.assert_signed_once();
            assert_eq!(world.evidence, 0, "a validator was seen signing twice");
            crashes += world.crashes;
        }
    }
    crashes
}

#[test]
fn a_crash_at_any_change_of_the_disk_loses_nothing_acknowledged() {
    let crashes = crash_many(0..5);
    assert!(crashes > 25, "only {crashes} crashes");
}

#[test]
fn a_crash_at_any_change_of_the_disk_loses_nothing_acknowledged_slow() {
    let crashes = crash_many(5..100);
    assert!(crashes > 500, "only {crashes} crashes");
}

#[test]
fn an_idle_network_costs_next_to_nothing() {
    let mut world = World::new(4, 1);
    let before = world.steps;
    world.run_for_ms(12_000);
    let steps = world.steps - before;
    assert!(steps < 4 * 12 * 8, "{steps} steps in twelve idle seconds");
}

/// Runs to just before a checkpoint, and lets the disk die after so many more changes.
fn crash_one_after(changes: impl Iterator<Item = u64>) {
    for changes in changes {
        let mut world = World::new(1, 1);
        for _ in 0..CHECKPOINT_BLOCKS - 3 {
            world.offer();
            world.run_for_ms(5);
        }
        world.disk(0).die_after(changes);
        for _ in 0..8 {
            world.offer();
            world.run_for_ms(5);
            world.start(0);
        }
        world.assert_nothing_lost();
        world.assert_signed_once();
    }
}

#[test]
fn one_validator_survives_a_crash_after_many_a_change() {
    crash_one_after((0..70).step_by(9));
}

#[test]
fn one_validator_survives_a_crash_after_every_single_change_slow() {
    crash_one_after(0..70);
}

/// Plants a bug in many worlds; gives the first complaint of the checks.
fn complaint(plant: impl Fn(&mut World)) -> Option<String> {
    (0..30).find_map(|seed| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(if seed % 2 == 0 { 1 } else { 4 }, seed);
            plant(&mut world);
            world.storm(25);
            world.heal();
            world.assert_nothing_lost();
            world.assert_signed_once();
        }));
        let panic = caught.err()?;
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| Some(String::from("?")))
    })
}

/// The checks that a loss or a double signature can trip.
fn is_safety(complaint: &str) -> bool {
    [
        "lost height",
        "signed twice",
        "replicas disagree",
        "opening the store",
        "damaged",
    ]
    .iter()
    .any(|part| complaint.contains(part))
}

#[test]
fn planted_syncs_that_do_nothing_are_caught() {
    let complaint = complaint(|world| {
        for at in 0..world.heights().len() {
            world.disk(at).ignore_syncs();
        }
    });
    assert!(complaint.as_deref().is_some_and(is_safety), "{complaint:?}");
}

#[test]
fn planted_a_log_removed_behind_an_old_key_is_caught_without_quarantine() {
    // The test's settings say that the key is new, which is the lie that lifts the quarantine.
    let complaint = complaint(|world| world.loses_log = true);
    assert!(complaint.as_deref().is_some_and(is_safety), "{complaint:?}");
}

#[test]
fn a_failed_sync_ends_the_replica() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    disk.fail_sync_after(0);
    let transaction = transfer(&genesis(1, 0), 0, 0, 5).verify().unwrap();
    let mut output = Output::default();
    let failed = replica.step(CLOCK, Input::Offer(vec![transaction]), &mut output);
    assert!(matches!(failed, Err(ReplicaError::Wal(_))));
    let is_signed = |message: &Message| matches!(message, Message::Vote(_) | Message::Proposal(..));
    assert!(output.commits.is_empty());
    assert!(
        !output
            .messages
            .iter()
            .any(|(_, message)| is_signed(message))
    );
}

#[test]
fn a_missing_log_stops_a_validator_from_voting_until_a_block_holds_its_challenge() {
    let mut world = World::new(4, 3);
    for _ in 0..5 {
        world.offer();
        world.run_for_ms(500);
    }
    world.heal();
    for name in world.disk(3).list().unwrap() {
        if name.starts_with("wal-") {
            world.crash(3);
            world.disk(3).remove(&name).unwrap();
        }
    }
    world.start(3);
    assert!(!world.replica(3).is_voting());
    let challenge = world.replica(3).quarantine().unwrap();
    // Blocks go by, and one holds what was drawn after an earlier loss.
    world.report_loss([1; 32]);
    world.offer();
    world.run_for_ms(120_000);
    assert!(!world.replica(3).is_voting());
    let before = world.replica(3).state().tip().height;
    world.report_loss(challenge);
    world.run_for_ms(10_000);
    assert!(world.replica(3).is_voting());
    assert_eq!(world.replica(3).quarantine(), None);
    assert!(world.replica(3).sign_state.floor > before + 1);
    world.heal();
    world.assert_nothing_lost();
    world.assert_signed_once();
}

/// Lets the first start after a loss die after each of its changes of the disk, until it comes to its end; gives what is
/// on the disk each time.
fn first_starts(lost: &MemoryDisk, settings: &Settings) -> Vec<MemoryDisk> {
    let mut left = Vec::new();
    for changes in 0.. {
        let mut has_ended = false;
        for seed in 0..3 {
            let disk = lost.fork();
            disk.die_after(changes);
            let first = Arc::new(disk.clone());
            has_ended |= Replica::open(first, validator(0), settings.clone(), CLOCK).is_ok();
            crash(&disk, seed);
            left.push(disk);
        }
        if has_ended {
            assert!(changes > 5, "only {changes} changes");
            break;
        }
    }
    left
}

/// A crash in the start that notices the loss must not make the next one forget it.
#[test]
fn a_lost_log_is_not_forgotten_in_a_crash_of_the_next_start() {
    let without = |disk: &MemoryDisk, parts: &[&str]| {
        let lost = disk.fork();
        for name in lost.list().unwrap() {
            if parts.iter().any(|part| name.starts_with(part)) {
                lost.remove(&name).unwrap();
            }
        }
        lost
    };
    let known = |validators| Settings {
        is_new_key: false,
        wal_prepared_bytes: 1 << 17,
        ..settings(genesis(validators, 0))
    };
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 4).unwrap();
    offer(&mut replica, 2, 0);
    replica.close().unwrap();
    for parts in [&["wal-"][..], &["sign-state"], &["wal-", "sign-state"]] {
        for (at, left) in (0..).zip(first_starts(&without(&disk, parts), &known(4))) {
            let second = Replica::open(Arc::new(left), validator(0), known(4), CLOCK);
            let second = second.unwrap_or_else(|error| panic!("{parts:?}, {at}: {error}"));
            assert!(!second.is_voting(), "{parts:?}, {at}");
            assert!(second.quarantine().is_some(), "{parts:?}, {at}");
        }
    }

    // Who decides alone goes on where nothing but its log is gone, and waits where all it has may be of others.
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    assert_eq!(offer(&mut replica, 2, 0).commits.len(), 1);
    replica.close().unwrap();
    for (parts, is_voting) in [(&["wal-"][..], true), (&["wal-", "sign-state"], false)] {
        for (at, left) in (0..).zip(first_starts(&without(&disk, parts), &known(1))) {
            let second = Replica::open(Arc::new(left), validator(0), known(1), CLOCK);
            let second = second.unwrap_or_else(|error| panic!("{parts:?}, {at}: {error}"));
            assert_eq!(second.is_voting(), is_voting, "{parts:?}, {at}");
        }
    }
}

/// What was decided after genesis is not known to it, nor by whom, and its key may have voted on any of it.
#[test]
fn whoever_lost_its_ledger_does_not_begin_the_network_again() {
    let known = || Settings {
        is_new_key: false,
        ..settings(genesis(1, 0))
    };
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    assert_eq!(offer(&mut replica, 2, 0).commits.len(), 1);
    drop(replica);

    let other = Arc::new(MemoryDisk::default());
    let mut lost = Replica::open(other, validator(0), known(), CLOCK).unwrap();
    assert!(!lost.is_voting());
    let output = offer(&mut lost, 3, 0);
    assert!(output.commits.is_empty(), "it decided block 1 again");

    // Where only its sign-state is gone, it goes on alone: there is nobody who could know more.
    disk.remove("sign-state").unwrap();
    let alone = Replica::open(Arc::new(disk.clone()), validator(0), known(), CLOCK).unwrap();
    assert!(alone.is_voting());
    drop(alone);

    // What a start after a loss has made says no more than nothing, whichever part of it the next one finds.
    for part in ["wal-", "sign-state"] {
        let other = MemoryDisk::default();
        let start = || Replica::open(Arc::new(other.clone()), validator(0), known(), CLOCK);
        drop(start().unwrap());
        for name in other.list().unwrap() {
            if name.starts_with(part) {
                other.remove(&name).unwrap();
            }
        }
        assert!(!start().unwrap().is_voting(), "without {part}");
    }

    // A store alone may be an old snapshot of others.
    let forget = |parts: &[&str]| {
        for name in disk.list().unwrap() {
            if parts.iter().any(|part| name.starts_with(part)) {
                disk.remove(&name).unwrap();
            }
        }
    };
    let start = |at| Replica::open(Arc::new(disk.clone()), validator(at), known(), CLOCK);
    forget(&["wal-", "sign-state"]);
    assert!(!start(0).unwrap().is_voting());

    // Another one that has only what was decided before it was a validator does not know what it signed as one.
    forget(&["wal-", "sign-state"]);
    drop(start(1).unwrap());
    forget(&["sign-state"]);
    let other = start(1).unwrap();
    assert!(other.sign_state.quarantined_since_ms.is_some());
}

#[test]
fn a_nearly_full_disk_only_reads_and_comes_back() {
    let disk = MemoryDisk::default();
    let mut low = settings(genesis(1, 0));
    low.space_low_bytes = 1_000_000;
    let mut replica = Replica::open(Arc::new(disk.clone()), validator(0), low, CLOCK).unwrap();
    assert_eq!(offer(&mut replica, 2, 0).commits.len(), 1);
    let used = (1u64 << 40) - disk_free_of(&disk);
    disk.set_capacity(used + 500_000);
    let refused = offer(&mut replica, 2_000, 1);
    assert_eq!(refused.offers, [Err(Refusal::ReadOnly)]);
    assert!(replica.is_read_only());
    disk.set_capacity(used + 100_000_000);
    let output = offer(&mut replica, 4_000, 1);
    assert_eq!(output.commits.len(), 1);
}

#[test]
fn a_disk_that_is_full_all_at_once_finishes_what_is_under_way_and_comes_back() {
    let disk = MemoryDisk::default();
    let mut low = settings(genesis(1, 0));
    low.space_low_bytes = 1_000_000;
    // The log has its room already: it is the store that finds none, at its checkpoint.
    low.wal_prepared_bytes = 1 << 20;
    let mut replica = Replica::open(Arc::new(disk.clone()), validator(0), low, CLOCK).unwrap();
    assert_eq!(offer(&mut replica, 2, 0).commits.len(), 1);
    disk.set_capacity((1u64 << 40) - disk_free_of(&disk));
    let mut nonce = 1;
    while !replica.is_read_only() {
        let output = offer(&mut replica, 3, nonce);
        let is_taken = output.offers == [Ok(Admitted::New)];
        assert_eq!(output.commits.len(), usize::from(is_taken));
        nonce += u64::from(is_taken);
        assert!(nonce < 1_000, "a full disk was not noticed");
    }
    assert!(nonce > CHECKPOINT_BLOCKS / 2, "only {nonce} blocks");
    disk.set_capacity(u64::MAX);
    assert_eq!(offer(&mut replica, 2_000, nonce).commits.len(), 1);
    drop(replica);
    disk.crash(|_| 0);
    let replica = open(&disk, 1).unwrap();
    assert_eq!(replica.state().tip().height, nonce + 1);
}

#[test]
fn a_crash_while_founding_leaves_what_can_be_founded_again() {
    for changes in 0..40 {
        for seed in 0..3 {
            let disk = MemoryDisk::default();
            disk.die_after(changes);
            let prepared = || {
                let mut prepared = settings(genesis(1, 0));
                prepared.wal_prepared_bytes = 1 << 17;
                prepared
            };
            let first = Arc::new(disk.clone());
            drop(Replica::open(first, validator(0), prepared(), CLOCK));
            crash(&disk, seed);
            let second = Arc::new(disk.clone());
            let opened = Replica::open(second, validator(0), prepared(), CLOCK);
            let mut replica = opened
                .unwrap_or_else(|error| panic!("seed {seed} after {changes} changes: {error}"));
            assert_eq!(offer(&mut replica, 2, 0).commits.len(), 1);
        }
    }
}

fn crash(disk: &MemoryDisk, seed: u64) {
    let mut state = seed;
    disk.crash(|below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    });
}

fn disk_free_of(disk: &MemoryDisk) -> u64 {
    disk.set_capacity(1 << 40);
    disk.free_bytes().unwrap()
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_step_finishes_it_later() {
    let disk = MemoryDisk::default();
    let mut replica = open(&disk, 1).unwrap();
    assert_eq!(offer(&mut replica, 2, 0).commits.len(), 1);
    let used = (1u64 << 40) - disk_free_of(&disk);
    disk.set_capacity(used);
    let stalled = offer(&mut replica, 3, 1);
    assert!(stalled.commits.is_empty() && replica.is_read_only());
    assert_eq!(offer(&mut replica, 4, 2).offers, [Err(Refusal::ReadOnly)]);
    disk.set_capacity(u64::MAX);
    let mut output = Output::default();
    let later = Clock {
        steady_ms: 2_000,
        wall_ms: START_MS + 2_000,
    };
    replica.step(later, Input::Tick, &mut output).unwrap();
    assert_eq!(output.commits.len(), 1);
}
