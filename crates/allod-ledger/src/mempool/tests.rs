//! Lanes, nonces, bounds.

use allod_state::account::grant::Grant;
use allod_state::account::{AddKey, RevokeKey, RotateKey};
use allod_state::app::AddReaders;
use allod_state::credit::Transfer;
use allod_state::evidence::SubmitEvidence;
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::node::{RegisterNode, ReportGone};
use allod_state::{AppId, Executed, LeaseId, NodeId};

use super::*;
use crate::bft::Signer as _;
use crate::limits::{
    MEMPOOL_BYTES_PER_ACCOUNT_MAX, MEMPOOL_BYTES_PER_LANE_MAX, MEMPOOL_OPERATOR_RESERVE_BYTES,
    MEMPOOL_PER_ACCOUNT_MAX, MEMPOOL_PER_LANE_MAX,
};
use crate::replica::tests::world::{
    Key, START_MS, account, genesis, owner, signed, transfer, validator,
};

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

fn evidence() -> Action {
    Action::from(SubmitEvidence {
        node: NodeId([1; 32]),
        items: Vec::new(),
    })
}

#[test]
fn paying_transactions_go_before_free_ones_and_evidence_before_both() {
    let actions = tx(5, 0, 0).transaction().body.actions.clone();
    let fee_lane = lane_of(&actions, Credits::from_micro(50), false);
    let free_lane = lane_of(&actions, Credits::ZERO, false);
    let evidence_lane = lane_of(&[evidence()], Credits::ZERO, true);
    assert!(evidence_lane < fee_lane && fee_lane < free_lane);
}

#[test]
fn what_keeps_the_network_true_goes_with_the_evidence() {
    let node = NodeId([1; 32]);
    let deaths = ReportDeaths {
        witness: node,
        leases: [(LeaseId([2; 32]), 1)].into(),
    };
    let missed = ReportGone {
        witness: node,
        machines: [(NodeId([2; 32]), 0)].into(),
    };
    let readers = AddReaders {
        node,
        app: AppId([3; 32]),
        revision: 1,
        wraps: Vec::new(),
    };
    let back = ReportBack { node };
    for report in [deaths.into(), missed.into(), back.into(), readers.into()] {
        assert_eq!(lane_of(&[report], Credits::ZERO, true), Lane::Evidence);
    }
}

#[test]
fn evidence_of_whoever_has_no_machine_waits_with_the_rest() {
    assert_eq!(lane_of(&[evidence()], Credits::ZERO, false), Lane::Free);
    let fee = Credits::from_micro(1);
    assert_eq!(lane_of(&[evidence()], fee, false), Lane::Paying);
    assert_eq!(lane_of(&[], Credits::ZERO, true), Lane::Evidence);
}

/// The state in which the first owner operates a machine.
fn with_operator() -> State {
    let (state, key) = (state(0), validator(7));
    let operator = tx(0, 0, 0).transaction().body.account;
    let sealing_key = [9; 32];
    let consent = RegisterNode::consent_bytes(&operator, &sealing_key);
    let mut register = transfer(&genesis(1, 0), 0, 0, 1);
    register.body.actions = vec![Action::from(RegisterNode {
        key: key.public_key(),
        consent: key.sign(&consent),
        sealing_key,
        name: "machine".parse().unwrap(),
    })];
    register.signature = owner(0).sign(&register.body.sign_bytes());
    let executed = allod_state::execute(
        &state,
        &allod_state::Proposal {
            time_ms: NOW_MS,
            proposer: owner(0).public_key(),
            transactions: &[register.verify().unwrap()],
        },
    )
    .unwrap();
    assert_eq!(executed.state.account(&operator).unwrap().nodes, 1);
    executed.state
}

#[test]
fn a_full_lane_has_room_left_for_those_who_operate_machines() {
    let state = with_operator();
    let mut mempool = Mempool::default();
    let full = Load {
        count: MEMPOOL_PER_LANE_MAX,
        bytes: MEMPOOL_BYTES_PER_LANE_MAX,
    };
    mempool.loads.insert(Lane::Free, full);
    let refused = mempool.offer(&state, NOW_MS, tx(0, 1, 0));
    assert!(matches!(refused, Err(Refusal::Full { .. })));
    assert_eq!(
        mempool.offer(&state, NOW_MS, tx(0, 0, 1)),
        Ok(Admitted::New)
    );
}

#[test]
fn no_account_fills_a_lane_alone() {
    let state = state(0);
    let mut mempool = Mempool::default();
    mempool.offer(&state, NOW_MS, tx(0, 0, 0)).unwrap();
    let greedy = (tx(0, 0, 0).transaction().body.account, Lane::Free);
    let load = Load {
        count: MEMPOOL_PER_ACCOUNT_MAX,
        bytes: 0,
    };
    mempool.loads.insert(Lane::Free, load);
    let waiting = mempool.by_account.get_mut(&greedy).unwrap();
    assert_eq!(waiting.count, 1);
    waiting.count = MEMPOOL_PER_ACCOUNT_MAX;
    let refused = mempool.offer(&state, NOW_MS, tx(0, 0, 1));
    assert!(matches!(refused, Err(Refusal::AccountFull { .. })));
    assert_eq!(
        mempool.offer(&state, NOW_MS, tx(0, 1, 0)),
        Ok(Admitted::New)
    );
}

/// One of nearly the largest size that there is.
fn large(from: usize, nonce: u64) -> Verified {
    let key = owner(from);
    let send = Transfer {
        memo: "a".repeat(60 * 1024),
        ..send()
    };
    let transaction = signed(&genesis(1, 0), &key, account(&key), nonce, send);
    transaction.verify().unwrap()
}

#[test]
fn no_account_fills_a_lane_alone_with_large_transactions() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let mut nonces = 0..;
    let refused = loop {
        let offer = mempool.offer(&state, NOW_MS, large(0, nonces.next().unwrap()));
        if let Err(refused) = offer {
            break refused;
        }
    };
    let waiting = mempool.len();
    assert_eq!(refused, Refusal::AccountFull { waiting });
    let bytes = mempool.loads[&Lane::Free].bytes;
    assert!(bytes <= MEMPOOL_BYTES_PER_ACCOUNT_MAX);
    assert!(bytes > MEMPOOL_BYTES_PER_ACCOUNT_MAX - 64 * 1024);
    assert_eq!(
        mempool.offer(&state, NOW_MS, large(1, 0)),
        Ok(Admitted::New)
    );
}

#[test]
fn no_operator_takes_all_the_room_that_is_left_to_them() {
    let state = with_operator();
    let mut mempool = Mempool::default();
    let full = Load {
        count: 0,
        bytes: MEMPOOL_BYTES_PER_LANE_MAX,
    };
    mempool.loads.insert(Lane::Free, full);
    let mut nonces = 1..;
    while mempool
        .offer(&state, NOW_MS, large(0, nonces.next().unwrap()))
        .is_ok()
    {}
    let taken = mempool.loads[&Lane::Free].bytes - MEMPOOL_BYTES_PER_LANE_MAX;
    assert!(taken <= MEMPOOL_OPERATOR_RESERVE_BYTES / 2);
    assert!(taken > MEMPOOL_OPERATOR_RESERVE_BYTES / 2 - 64 * 1024);
}

#[test]
fn in_a_lane_that_is_half_full_nothing_waits_for_a_gap() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let half = Load {
        count: MEMPOOL_PER_LANE_MAX / 2,
        bytes: 0,
    };
    mempool.offer(&state, NOW_MS, tx(0, 0, 1)).unwrap();
    mempool.loads.insert(Lane::Free, half);
    let gap = mempool.offer(&state, NOW_MS, tx(0, 0, 3));
    assert!(matches!(gap, Err(Refusal::Full { .. })));
    // The first that is missing makes the one behind it ready, and so may the next be.
    for nonce in [0, 2] {
        mempool.offer(&state, NOW_MS, tx(0, 0, nonce)).unwrap();
    }
    assert!(mempool.gapped.is_empty());
    // What leaves leaves a gap.
    mempool.forget(&tx(0, 0, 1).id());
    let behind = mempool.offer(&state, NOW_MS, tx(0, 0, 3));
    assert!(matches!(behind, Err(Refusal::Full { .. })));
    assert_eq!(mempool.gapped.len(), 1);
}

#[test]
fn what_is_ready_pushes_out_what_has_waited_longest_for_a_gap() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let waiting = [tx(0, 0, 2), tx(0, 1, 1), tx(0, 2, 0)];
    for one in &waiting {
        mempool.offer(&state, NOW_MS, one.clone()).unwrap();
    }
    mempool.loads.get_mut(&Lane::Free).unwrap().count = MEMPOOL_PER_LANE_MAX;
    for (from, pushed_out) in [(3, &waiting[0]), (4, &waiting[1])] {
        assert_eq!(
            mempool.offer(&state, NOW_MS, tx(0, from, 0)),
            Ok(Admitted::New)
        );
        assert_eq!(mempool.take_pushed_out(), [pushed_out.id()]);
        assert!(!mempool.contains(&pushed_out.id()));
    }
    // What is ready itself pushes nobody out who is.
    let refused = mempool.offer(&state, NOW_MS, tx(0, 5, 0));
    assert!(matches!(refused, Err(Refusal::Full { .. })));
    assert!(mempool.contains(&waiting[2].id()));
    assert_eq!(mempool.take_pushed_out(), []);
}

#[test]
fn nothing_is_pushed_out_in_vain() {
    let state = state(0);
    let mut mempool = Mempool::default();
    for one in [tx(0, 0, 2), tx(0, 1, 1)] {
        mempool.offer(&state, NOW_MS, one).unwrap();
    }
    // Operators have used what is theirs, and more than what waits for a gap would have to go.
    mempool.loads.get_mut(&Lane::Free).unwrap().count = MEMPOOL_PER_LANE_MAX + 2;
    let refused = mempool.offer(&state, NOW_MS, tx(0, 3, 0));
    assert!(matches!(refused, Err(Refusal::Full { .. })));
    assert_eq!(mempool.take_pushed_out(), []);
    assert_eq!(mempool.gapped.len(), 2);
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
    let rejection = Rejection::Expired { expires_ms };
    assert_eq!(mempool.drop_expired(expires_ms), [(id, rejection)]);
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
    assert_eq!(mempool.settle(&executed), []);
    assert_eq!(
        ids(&mempool.candidates(&executed.state, 9, usize::MAX)),
        [(0, 3)]
    );
    assert_eq!(mempool.loads[&Lane::Free].count, 1);
    assert!(mempool.by_account.values().map(|load| load.count).eq([1]));
    assert!(mempool.gapped.is_empty());
    mempool.forget(&tx(0, 0, 3).id());
    assert!(mempool.by_account.is_empty() && mempool.by_signer.is_empty());
    assert!(mempool.by_expiry.is_empty() && mempool.queue.is_empty());
}

/// A second key of the first owner's, until then.
fn with_agent(expires_ms: Option<u64>) -> (State, Key) {
    let agent = Key::new(9, 0);
    let add = AddKey {
        key: agent.public_key(),
        grant: Grant {
            expires_ms,
            ..Grant::full()
        },
    };
    let executed = block(&state(0), &[by(&owner(0), 0, add)]);
    (executed.state, agent)
}

fn by(key: &Key, nonce: u64, action: impl Into<Action>) -> Verified {
    let transaction = signed(&genesis(1, 0), key, account(&owner(0)), nonce, action);
    transaction.verify().unwrap()
}

fn send() -> Transfer {
    Transfer {
        to: account(&owner(1)),
        amount: Credits::from_micro(1),
        memo: String::new(),
    }
}

fn block(state: &State, transactions: &[Verified]) -> Executed {
    let proposal = allod_state::Proposal {
        time_ms: state.tip().time_ms + 1,
        proposer: owner(0).public_key(),
        transactions,
    };
    let executed = allod_state::execute(state, &proposal).unwrap();
    let outcomes = executed.receipts.iter().map(|receipt| &receipt.outcome);
    assert!(outcomes.into_iter().all(Result::is_ok));
    executed
}

#[test]
fn what_a_key_sent_before_it_was_revoked_leaves_and_is_named() {
    let (state, agent) = with_agent(None);
    let key = agent.public_key();
    let revoke = by(&owner(0), 1, RevokeKey { key });
    let rotate = by(
        &agent,
        0,
        RotateKey {
            new: owner(7).public_key(),
        },
    );
    for gone in [revoke, rotate] {
        let mut mempool = Mempool::default();
        // One whose turn has come, and two that wait for others. The owner's own stay.
        let early = [by(&agent, 2, send()), by(&agent, 4, send())];
        let own = by(&owner(0), 2, send());
        for one in early.iter().chain([&own]) {
            mempool.offer(&state, NOW_MS, one.clone()).unwrap();
        }
        let dropped = mempool.settle(&block(&state, std::slice::from_ref(&gone)));
        let named = early.map(|one| (one.id(), Rejection::UnknownKey));
        assert_eq!(dropped, named);
        assert_eq!(mempool.len(), 1);
        assert!(mempool.contains(&own.id()));
        assert_eq!(mempool.loads[&Lane::Free].count, 1);
    }
}

#[test]
fn what_a_key_sent_leaves_when_its_grant_expires() {
    let expired_ms = NOW_MS + 1_000;
    let (state, agent) = with_agent(Some(expired_ms));
    let mut mempool = Mempool::default();
    let early = by(&agent, 3, send());
    mempool.offer(&state, NOW_MS, early.clone()).unwrap();
    assert_eq!(mempool.drop_expired(expired_ms - 1), []);
    let rejection = Rejection::ExpiredKey { expired_ms };
    assert_eq!(mempool.drop_expired(expired_ms), [(early.id(), rejection)]);
    assert!(mempool.is_empty() && mempool.by_expiry.is_empty());
}

#[test]
fn whose_nonce_another_transaction_has_used_is_told() {
    let state = state(0);
    let mut mempool = Mempool::default();
    let late = by(
        &owner(0),
        0,
        RevokeKey {
            key: owner(5).public_key(),
        },
    );
    mempool.offer(&state, NOW_MS, late.clone()).unwrap();
    let dropped = mempool.settle(&block(&state, &[tx(0, 0, 0)]));
    let rejection = Rejection::WrongNonce {
        expected: 1,
        found: 0,
    };
    assert_eq!(dropped, [(late.id(), rejection)]);
}
