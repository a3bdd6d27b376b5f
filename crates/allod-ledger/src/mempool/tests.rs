//! Lanes, nonces, bounds.

use allod_state::NodeId;
use allod_state::evidence::SubmitEvidence;

use super::*;
use crate::bft::Signer as _;
use crate::replica::tests::world::{START_MS, genesis, owner, transfer};

const NOW_MS: u64 = START_MS + 1;

fn state(fee: i128) -> State {
    genesis(1, fee).state().0
}

fn tx(fee: i128, from: usize, nonce: u64) -> Verified {
    transfer(&genesis(1, fee), from, nonce, 1).verify().unwrap()
}

fn ids(chosen: &[Verified]) -> Vec<(usize, u64)> {
    let from = |verified: &Verified| {
        let key = verified.transaction().body.key;
        (0..8).find(|at| owner(*at).public_key() == key).unwrap()
    };
    chosen
        .iter()
        .map(|one| (from(one), nonce_in(one)))
        .collect()
}

#[test]
fn a_keys_transactions_go_in_nonce_order_however_they_came() {
    let state = state(0);
    let mut mempool = Mempool::default();
    for nonce in [2, 0, 1, 4] {
        mempool.offer(&state, NOW_MS, tx(0, 0, nonce)).unwrap();
    }
    let chosen = mempool.candidates(&state, 100, usize::MAX);
    assert_eq!(ids(&chosen), [(0, 0), (0, 1), (0, 2)]);
}

#[test]
fn keys_take_turns_in_the_order_of_arrival() {
    let state = state(0);
    let mut mempool = Mempool::default();
    for (from, nonce) in [(0, 0), (1, 0), (0, 1), (2, 0)] {
        mempool.offer(&state, NOW_MS, tx(0, from, nonce)).unwrap();
    }
    let chosen = mempool.candidates(&state, 100, usize::MAX);
    assert_eq!(ids(&chosen), [(0, 0), (1, 0), (0, 1), (2, 0)]);
}

#[test]
fn the_same_transaction_twice_is_one() {
    let state = state(0);
    let mut mempool = Mempool::default();
    assert_eq!(
        mempool.offer(&state, NOW_MS, tx(0, 0, 0)),
        Ok(Admitted::New)
    );
    assert_eq!(
        mempool.offer(&state, NOW_MS, tx(0, 0, 0)),
        Ok(Admitted::Known)
    );
    assert_eq!(mempool.len(), 1);
}

#[test]
fn another_transaction_with_the_same_nonce_is_refused() {
    let state = state(0);
    let mut mempool = Mempool::default();
    mempool.offer(&state, NOW_MS, tx(0, 0, 0)).unwrap();
    let other = transfer(&genesis(1, 0), 0, 0, 2).verify().unwrap();
    let refused = mempool.offer(&state, NOW_MS, other);
    assert!(matches!(refused, Err(Refusal::NonceTaken { .. })));
}

#[test]
fn a_nonce_far_ahead_is_refused_with_the_next_one() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let refused = mempool.offer(&state, NOW_MS, tx(0, 0, NONCE_GAP_MAX + 1));
    assert_eq!(
        refused,
        Err(Refusal::Gap {
            found: NONCE_GAP_MAX + 1,
            next: 0
        })
    );
}

#[test]
fn paying_transactions_go_before_free_ones_and_evidence_before_both() {
    let fee_lane = lane_of(
        &tx(5, 0, 0).transaction().body.actions,
        Credits::from_micro(50),
    );
    let free_lane = lane_of(&tx(0, 0, 0).transaction().body.actions, Credits::ZERO);
    let evidence = Action::from(SubmitEvidence {
        node: NodeId([1; 32]),
        items: Vec::new(),
    });
    let evidence_lane = lane_of(&[evidence], Credits::ZERO);
    assert!(evidence_lane < fee_lane && fee_lane < free_lane);
}

#[test]
fn a_full_lane_says_when_to_come_again_and_leaves_the_others_alone() {
    let state = state(0);
    let mut mempool = Mempool::default();
    mempool.loads.insert(
        Lane::Free,
        Load {
            count: MEMPOOL_PER_LANE_MAX,
            bytes: 0,
        },
    );
    let refused = mempool.offer(&state, NOW_MS, tx(0, 0, 0));
    assert_eq!(
        refused,
        Err(Refusal::Full {
            retry_after_ms: RETRY_AFTER_MS
        })
    );
    let paying = genesis(1, 5).state().0;
    assert_eq!(
        mempool.offer(&paying, NOW_MS, tx(5, 0, 0)),
        Ok(Admitted::New)
    );
}

#[test]
fn expired_transactions_leave_and_are_named() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let transaction = tx(0, 0, 0);
    let (id, expires_ms) = (transaction.id(), transaction.transaction().body.expires_ms);
    mempool.offer(&state, NOW_MS, transaction).unwrap();
    assert_eq!(mempool.drop_expired(expires_ms - 1), []);
    assert_eq!(mempool.drop_expired(expires_ms), [(id, expires_ms)]);
    assert!(mempool.is_empty() && mempool.queue.is_empty() && mempool.by_signer.is_empty());
}

#[test]
fn what_the_law_would_never_take_is_refused_at_the_door() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let refused = mempool.offer(&state, START_MS + 9_000_000, tx(0, 0, 0));
    assert!(matches!(
        refused,
        Err(Refusal::Rejected(Rejection::Expired { .. }))
    ));
}

#[test]
fn room_is_bounded_by_count_and_bytes() {
    let state = state(0);
    let mut mempool = Mempool::default();
    for nonce in 0..10 {
        mempool.offer(&state, NOW_MS, tx(0, 0, nonce)).unwrap();
    }
    let one = tx(0, 0, 0).transaction().to_bytes().len();
    assert_eq!(mempool.candidates(&state, 3, usize::MAX).len(), 3);
    assert_eq!(mempool.candidates(&state, 100, one * 4).len(), 4);
    assert!(mempool.candidates(&state, 100, 0).is_empty());
}

#[test]
fn a_settled_block_takes_its_transactions_and_their_room() {
    let before = state(0);
    let mut mempool = Mempool::default();
    let settled: Vec<Verified> = (0..3).map(|nonce| tx(0, 0, nonce)).collect();
    for one in &settled {
        mempool.offer(&before, NOW_MS, one.clone()).unwrap();
    }
    mempool.offer(&before, NOW_MS, tx(0, 0, 3)).unwrap();
    let proposal = allod_state::Proposal {
        time_ms: NOW_MS,
        proposer: owner(0).public_key(),
        transactions: &settled,
    };
    let executed = allod_state::execute(&before, &proposal).unwrap();
    mempool.settle(&executed.state, &executed.ids);
    assert_eq!(
        ids(&mempool.candidates(&executed.state, 9, usize::MAX)),
        [(0, 3)]
    );
    assert_eq!(mempool.loads[&Lane::Free].count, 1);
}
