//! The core alone: one and four validators, lost and late messages, crashes, and planted bugs.

mod garbage;
mod network;

use allod_state::Signature;
use allod_state::certificate::VoteKind;

use super::{DecidedBlock, Message, SignedVote};
use crate::limits::{EMPTY_BLOCK_BYTES_MAX, VALUES_PER_HEIGHT_MAX};
use network::{Fault, Network, Plan, validator_key};

#[test]
fn one_validator_decides_what_it_proposes() {
    let mut network = Network::new(1, 1, Plan::CALM);
    network.offer(0);
    network.run_until("height 1", |network| network.heights() == [1]);
    network.offer(0);
    network.run_until("height 2", |network| network.heights() == [2]);
    network.assert_agreement();
}

#[test]
fn an_idle_network_waits_for_the_slow_tick() {
    let mut network = Network::new(4, 1, Plan::CALM);
    network.run_for_ms(network.timing.tick_ms - 1_000);
    assert_eq!(network.heights(), [0; 4]);
    network.run_for_ms(5_000);
    assert_eq!(network.heights(), [1; 4]);
}

#[test]
fn one_validator_makes_no_more_than_a_block_a_second() {
    let mut network = Network::new(4, 9, Plan::CALM);
    network.crash(3);
    while network.now_ms() < 20_000 {
        let heights = network.heights();
        for (at, height) in heights.iter().enumerate().take(3) {
            network.throw(at, network.prevote_of(3, height + 1));
        }
        network.run_for_ms(1);
    }
    let height = network.heights()[0];
    // It is a validator, and may have what nobody else has.
    assert!((5..=20).contains(&height), "{height}");
    network.assert_agreement();
}

#[test]
fn the_word_of_two_of_four_begins_a_height_at_once() {
    let mut network = Network::new(4, 9, Plan::CALM);
    network.run_for_ms(1);
    for by in [2, 3] {
        assert_eq!(network.voted(0), None);
        network.throw(0, network.prevote_of(by, 1));
    }
    assert!(network.voted(0).is_some());
}

#[test]
fn whoever_has_the_first_turn_begins_a_height_at_once() {
    // One alone knows of a transaction.
    let decided_at_once = (0..4).filter(|at| {
        let mut network = Network::new(4, 9, Plan::CALM);
        network.offer(*at);
        network.run_for_ms(500);
        network.heights()[*at] == 1
    });
    assert_eq!(decided_at_once.count(), 1);
}

#[test]
fn four_validators_agree_in_the_first_round() {
    let mut network = Network::new(4, 7, Plan::CALM);
    for height in 1..=10 {
        network.offer_all();
        network.run_until("the next height", |network| {
            network.heights() == [height; 4]
        });
    }
    network.assert_agreement();
    assert_eq!(network.highest_round, 0);
}

#[test]
fn three_of_four_go_on_without_the_fourth() {
    let mut network = Network::new(4, 3, Plan::CALM);
    network.crash(2);
    for height in 1..=8 {
        network.offer_all();
        network.run_until("three go on", |network| {
            [0, 1, 3].iter().all(|at| network.heights()[*at] >= height)
        });
    }
    network.restart(2);
    network.offer_all();
    network.run_until("the fourth catches up", |network| {
        network.heights().iter().all(|height| *height >= 9)
    });
    network.assert_agreement();
}

#[test]
fn two_of_four_decide_nothing() {
    let mut network = Network::new(4, 3, Plan::CALM);
    network.crash(0);
    network.crash(1);
    network.offer_all();
    // In the name of one that is away, and without its signature.
    let forged = SignedVote {
        kind: VoteKind::Prevote,
        height: 1,
        round: 0,
        value: None,
        validator: validator_key(0),
        signature: Signature::Ed25519([7; 64]),
    };
    network.throw(2, Message::Vote(forged));
    network.run_for_ms(60_000);
    assert_eq!(network.heights(), [0; 4]);
    // Each knows of whom a vote has come, so that it can be said who is waited for.
    let voted = network.voted(2).expect("block 1 is being decided");
    assert_eq!(voted.height, 1);
    assert!(voted.by.contains(&validator_key(3)));
    assert!(!voted.by.contains(&validator_key(0)) && !voted.by.contains(&validator_key(1)));
    network.restart(0);
    network.offer_all();
    network.run_until("three decide", |network| network.heights()[0] >= 1);
    network.run_until("it follows", |network| network.heights()[2] >= 1);
    let is_of_block_1 = network.voted(2).is_some_and(|voted| voted.height == 1);
    assert!(!is_of_block_1, "it is decided");
    network.assert_agreement();
}

#[test]
fn a_follower_follows_without_voting() {
    let mut network = Network::with_follower(4, 11, Plan::CALM);
    for _ in 0..5 {
        network.offer_all();
        let target = network.heights()[0] + 1;
        network.run_until("all follow", |network| {
            network.heights().iter().all(|height| *height >= target)
        });
    }
    network.assert_agreement();
    assert!(network.signatures_of(4).is_empty());
}

#[test]
fn a_block_found_invalid_is_never_decided() {
    let mut network = Network::new(4, 5, Plan::CALM);
    network.poison_proposals_of(1);
    for _ in 0..6 {
        network.offer_all();
        let target = network.heights()[0] + 1;
        network.run_until("the next height", |network| {
            network.heights().iter().all(|height| *height >= target)
        });
    }
    network.assert_agreement();
    assert!(
        network
            .chain_of(0)
            .iter()
            .all(|(_, bytes)| !network::is_poisoned(bytes))
    );
}

/// Three prevote a block that comes too early for the fourth one's clock, and one of them is locked on it; another one
/// dies. Those who are left need the fourth.
#[test]
fn a_block_that_came_too_early_for_one_is_voted_for_once_a_quorum_has() {
    for seed in 1..=20 {
        let mut network = Network::new(4, seed, Plan::CALM);
        network.set_behind(2, true);
        network.offer_all();
        let locked = network.lock_one();
        let others = [0, 1, 3].into_iter().filter(|at| *at != locked);
        network.set_behind(2, seed % 2 == 0);
        network.crash(others.min().unwrap());
        network.run_until("the locked block", |network| {
            network
                .heights()
                .iter()
                .filter(|height| **height >= 1)
                .count()
                == 3
        });
        network.assert_agreement();
        network.assert_single_signatures();
    }
}

#[test]
fn failed_rounds_halve_the_block_and_end_in_an_empty_one() {
    let mut network = Network::new(4, 5, Plan::CALM);
    for at in 0..4 {
        network.poison_full_proposals_of(at);
    }
    network.offer_all();
    network.run_until("an empty block passes", |network| {
        network.heights() == [1; 4]
    });
    assert_eq!(
        network.limits_asked[&(1, 1)],
        network.limits_asked[&(1, 0)] / 2
    );
    assert!(network.highest_round >= 3);
}

/// More blocks than are held of any size, all of which failed.
const MANY_ROUNDS: u32 = 50;

#[test]
fn a_height_is_decided_after_any_number_of_blocks_that_failed() {
    for restarts in [false, true] {
        let mut network = Network::new(4, 31, Plan::CALM);
        network.poison_all(true);
        network.offer_all();
        network.fail_rounds(MANY_ROUNDS);
        if restarts {
            (0..4).for_each(|at| network.crash(at));
            (0..4).for_each(|at| network.restart(at));
        }
        network.poison_all(false);
        network.run_until("block 1", |network| network.heights() == [1; 4]);
        assert!(network.highest_round >= MANY_ROUNDS);
        network.assert_agreement();
        network.assert_single_signatures();
    }
}

#[test]
fn blocks_that_failed_take_no_more_room_than_the_largest_few() {
    let mut network = Network::new(4, 31, Plan::CALM);
    network.poison_all(true);
    network.load_all(EMPTY_BLOCK_BYTES_MAX);
    network.offer_all();
    network.fail_rounds(MANY_ROUNDS);
    for at in 0..4 {
        let judged = network.judged(at).len();
        assert!(judged <= VALUES_PER_HEIGHT_MAX, "node {at}: {judged}");
    }
    network.poison_all(false);
    network.load_all(0);
    network.run_until("block 1", |network| network.heights() == [1; 4]);
    network.assert_agreement();
}

/// One is locked on a large block, which nobody else knows, and stays away for many rounds. Then two are needed with it, of
/// whom one never had that block.
#[test]
fn a_large_block_that_one_is_locked_on_is_taken_in_any_round() {
    let mut played = 0;
    for seed in 1..=40 {
        let mut network = Network::new(4, seed, Plan::CALM);
        network.crash(3);
        network.load_all(EMPTY_BLOCK_BYTES_MAX);
        network.offer_all();
        let locked = network.lock_one();
        let others: Vec<usize> = (0..3).filter(|at| *at != locked).collect();
        let is_heard = |at: &usize| {
            let voted = network.voted(*at);
            voted.is_some_and(|voted| voted.by.contains(&validator_key(locked)))
        };
        if others.iter().any(is_heard) {
            continue;
        }
        played += 1;
        network.crash(locked);
        network.load_all(0);
        network.poison_all(true);
        network.restart(3);
        network.offer_all();
        network.fail_rounds(MANY_ROUNDS);
        network.poison_all(false);
        network.restart(locked);
        network.crash(others[0]);
        network.run_until("the locked block", |network| {
            [locked, others[1], 3]
                .iter()
                .all(|at| network.heights()[*at] >= 1)
        });
        assert!(network.chain_of(3)[0].1.len() > EMPTY_BLOCK_BYTES_MAX);
        network.assert_agreement();
        network.assert_single_signatures();
    }
    assert!(played > 2, "only {played} times");
}

#[test]
fn seeded_loss_and_reordering_never_split_four_validators() {
    for seed in 0..25 {
        let mut network = Network::new(4, seed, Plan::ROUGH);
        network.storm(40);
        network.heal_and_progress();
        network.assert_agreement();
    }
}

#[test]
fn crashes_anywhere_never_sign_twice_nor_lose_a_decision() {
    for seed in 0..25 {
        let mut network = Network::new(4, 1_000 + seed, Plan::CRASHING);
        network.storm(40);
        network.heal_and_progress();
        network.assert_agreement();
        network.assert_single_signatures();
    }
}

#[test]
fn a_lone_validator_survives_crashes_anywhere() {
    for seed in 0..25 {
        let mut network = Network::new(1, 2_000 + seed, Plan::CRASHING);
        network.storm(40);
        network.heal_and_progress();
        network.assert_single_signatures();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut network = Network::new(4, seed, Plan::CRASHING);
        network.storm(25);
        network.trace
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// Runs storms with a planted bug until the checks notice it.
fn is_caught(fault: Fault, validators: usize) -> bool {
    (0..200).any(|seed| {
        let caught = std::panic::catch_unwind(|| {
            let mut network = Network::new(validators, seed, Plan::CRASHING);
            network.plant(fault);
            network.storm(40);
            network.assert_agreement();
            network.assert_single_signatures();
        });
        caught.is_err()
    })
}

#[test]
fn planted_a_skipped_sync_is_caught() {
    assert!(is_caught(Fault::SkipSync, 4));
    assert!(is_caught(Fault::SkipSync, 1));
}

#[test]
fn planted_a_forgotten_sign_state_is_caught() {
    assert!(is_caught(Fault::ForgetLog, 4));
}

#[test]
fn a_lost_log_under_quarantine_never_signs_twice() {
    for seed in 0..15 {
        let mut network = Network::new(4, 3_000 + seed, Plan::CRASHING);
        network.plant(Fault::LoseLogQuarantined(3));
        network.storm(40);
        network.assert_agreement();
        network.assert_single_signatures();
    }
}

#[test]
fn a_validator_that_runs_twice_splits_nobody_and_is_found_out() {
    let mut evidence = 0;
    for seed in 0..25 {
        let mut network = Network::with_twin(seed, Plan::ROUGH);
        network.storm(25);
        network.heal_and_progress();
        network.assert_agreement();
        evidence += network.evidence;
    }
    assert!(evidence > 0, "nobody noticed the twin");
}

#[test]
fn a_flood_of_forged_messages_changes_nothing() {
    let mut network = Network::new(4, 12, Plan::CALM);
    let mut forge = garbage::Forge::new(99);
    for _ in 0..20 {
        network.offer_all();
        for at in 0..4 {
            for _ in 0..50 {
                let height = network.heights()[at];
                network.throw(at, forge.message(height));
            }
        }
        network.run_for_ms(50);
    }
    network.heal_and_progress();
    network.assert_agreement();
    network.assert_single_signatures();
}

/// A follower that is thirty blocks behind, while somebody who claims the most says something again and again.
fn catch_up_beside_a_liar(mut lie: impl FnMut(&mut Network)) {
    let mut network = Network::with_follower(4, 21, Plan::CALM);
    network.crash(4);
    for height in 1..=30 {
        network.offer_all();
        network.run_until("the next height", |network| network.heights()[0] >= height);
    }
    network.restart(4);
    let start_ms = network.now_ms();
    while network.heights()[4] < 30 {
        network.throw(4, Message::Status(u64::MAX));
        lie(&mut network);
        network.run_for_ms(100);
        assert!(
            network.now_ms() < start_ms + 30_000,
            "still at {:?}",
            network.heights()
        );
    }
    network.assert_agreement();
}

/// The block behind so many, with its certificate.
fn decided(network: &Network, behind: u64) -> Message {
    let (certificate, block) = network.chain_of(0)[usize::try_from(behind).unwrap()].clone();
    let block = block.to_vec();
    Message::SyncResponse(vec![DecidedBlock { certificate, block }])
}

#[test]
fn a_liar_about_its_height_does_not_keep_a_follower_from_catching_up() {
    catch_up_beside_a_liar(|_| {});
}

#[test]
fn a_liar_that_answers_with_another_block_does_not_keep_a_follower_from_catching_up() {
    catch_up_beside_a_liar(|network| network.throw(4, decided(network, 29)));
    catch_up_beside_a_liar(|network| network.throw(4, decided(network, 0)));
}

#[test]
fn a_liar_that_gives_as_little_as_it_can_does_not_keep_a_follower_from_catching_up() {
    let mut gave_ms = 0;
    catch_up_beside_a_liar(|network| {
        if network.now_ms() >= gave_ms + 3_000 {
            gave_ms = network.now_ms();
            network.throw(4, decided(network, network.heights()[4]));
        }
    });
}
