//! Whom to ask, and what counts as an answer.

use allod_state::BlockId;
use allod_state::certificate::Certificate;

use super::*;

const LIAR: Peer = Peer([1; 32]);
const TRUE: Peer = Peer([2; 32]);

fn blocks(heights: impl IntoIterator<Item = u64>) -> Vec<DecidedBlock> {
    let block = |height| DecidedBlock {
        certificate: Certificate {
            height,
            round: 0,
            block: BlockId([0; 32]),
            signatures: Vec::new(),
        },
        block: Vec::new(),
    };
    heights.into_iter().map(block).collect()
}

fn behind(claims: &[(Peer, u64)]) -> CatchUp {
    let mut catch_up = CatchUp::default();
    for (peer, height) in claims {
        catch_up.heard(*peer, *height);
    }
    catch_up
}

#[test]
fn whoever_answers_with_other_blocks_is_left_alone() {
    let others = [
        vec![],
        vec![5],
        vec![6, 7],
        vec![8],
        vec![7, 9],
        vec![7, 8, 8],
        vec![u64::MAX],
    ];
    for other in others {
        let mut catch_up = behind(&[(LIAR, u64::MAX)]);
        assert_eq!(catch_up.request(1, 7), Some(LIAR));
        catch_up.answered(LIAR, blocks(other.clone()));
        assert_eq!(catch_up.next(7), None, "{other:?}");
        catch_up.heard(LIAR, u64::MAX);
        assert_eq!(catch_up.request(399, 7), None, "{other:?}");
        catch_up.heard(TRUE, 8);
        assert_eq!(catch_up.request(400, 7), Some(TRUE), "{other:?}");
        catch_up.answered(TRUE, blocks([7]));
        assert!(catch_up.next(7).is_some());
    }
}

#[test]
fn whoever_failed_is_left_alone_for_longer_each_time() {
    let mut catch_up = behind(&[(LIAR, 100)]);
    let mut now_ms = 0;
    for wait_ms in [SYNC_BACKOFF_MS, 2 * SYNC_BACKOFF_MS, 4 * SYNC_BACKOFF_MS] {
        assert_eq!(catch_up.request(now_ms, 7), Some(LIAR));
        // Now it answers nothing, and another time something else.
        now_ms += SYNC_TIMEOUT_MS;
        assert_eq!(catch_up.request(now_ms, 7), None);
        now_ms += wait_ms;
        catch_up.heard(LIAR, 100);
        assert_eq!(catch_up.request(now_ms - 1, 7), None, "after {wait_ms} ms");
    }
}

#[test]
fn an_answer_that_comes_late_is_taken_and_its_giver_asked_again() {
    let mut catch_up = behind(&[(TRUE, 100)]);
    assert_eq!(catch_up.request(0, 7), Some(TRUE));
    let late_ms = SYNC_TIMEOUT_MS + 1;
    assert_eq!(catch_up.request(late_ms, 7), None);
    catch_up.answered(TRUE, blocks([7, 8]));
    for height in [7, 8] {
        assert!(catch_up.next(height).is_some());
        catch_up.advanced();
    }
    catch_up.heard(TRUE, 100);
    assert_eq!(catch_up.request(late_ms, 9), Some(TRUE));
}

#[test]
fn a_late_answer_is_none_to_the_next_question() {
    let mut catch_up = behind(&[(TRUE, 100)]);
    assert_eq!(catch_up.request(0, 7), Some(TRUE));
    assert_eq!(catch_up.request(SYNC_TIMEOUT_MS, 7), None);
    catch_up.heard(TRUE, 100);
    let again_ms = SYNC_TIMEOUT_MS + SYNC_BACKOFF_MS;
    assert_eq!(catch_up.request(again_ms, 9), Some(TRUE));
    catch_up.answered(TRUE, blocks([7, 8]));
    assert!(catch_up.next(9).is_none());
    // That one is still awaited.
    catch_up.answered(TRUE, blocks([9]));
    assert!(catch_up.next(9).is_some());
}

/// The first question was lost, and this is the answer to the second.
#[test]
fn the_answer_to_a_question_that_was_asked_twice_is_the_answer_to_both() {
    let mut catch_up = behind(&[(TRUE, 100)]);
    assert_eq!(catch_up.request(0, 7), Some(TRUE));
    assert_eq!(catch_up.request(SYNC_TIMEOUT_MS, 7), None);
    catch_up.heard(TRUE, 100);
    let again_ms = SYNC_TIMEOUT_MS + SYNC_BACKOFF_MS;
    assert_eq!(catch_up.request(again_ms, 7), Some(TRUE));
    catch_up.answered(TRUE, blocks([7]));
    assert!(catch_up.next(7).is_some());
    catch_up.advanced();
    assert_eq!(catch_up.request(again_ms, 8), Some(TRUE));
}

#[test]
fn what_is_late_and_not_what_was_asked_for_is_not_taken() {
    let mut catch_up = behind(&[(LIAR, 100)]);
    assert_eq!(catch_up.request(0, 7), Some(LIAR));
    assert_eq!(catch_up.request(SYNC_TIMEOUT_MS, 7), None);
    for other in [vec![], vec![6], vec![7]] {
        catch_up.answered(LIAR, blocks(other));
        assert!(catch_up.next(7).is_none());
    }
}

/// What it once gave does not excuse what it does later.
#[test]
fn a_height_that_others_decide_excuses_nobody() {
    let mut catch_up = behind(&[(LIAR, 100)]);
    assert_eq!(catch_up.request(0, 7), Some(LIAR));
    catch_up.answered(LIAR, blocks([7]));
    assert!(catch_up.next(7).is_some());
    catch_up.advanced();
    assert_eq!(catch_up.request(1, 8), Some(LIAR));
    catch_up.answered(LIAR, blocks([7]));
    catch_up.advanced();
    catch_up.heard(LIAR, 100);
    assert_eq!(catch_up.request(2, 9), None);
}

#[test]
fn those_who_have_the_block_take_turns_whatever_they_claim() {
    let third = Peer([3; 32]);
    let mut catch_up = behind(&[(LIAR, u64::MAX), (TRUE, 1_000), (third, 500)]);
    let mut asked = Vec::new();
    for height in 1..=9 {
        let peer = catch_up.request(height, height).unwrap();
        asked.push(peer);
        catch_up.heard(LIAR, u64::MAX);
        catch_up.answered(peer, blocks([height]));
        assert!(catch_up.next(height).is_some());
        catch_up.advanced();
    }
    assert_eq!(asked, [LIAR, TRUE, third].repeat(3));
    // Who does not have the block has no turn.
    assert_eq!(catch_up.request(600, 600), Some(LIAR));
}

#[test]
fn turns_are_kept_for_so_many_peers() {
    let mut catch_up = CatchUp::default();
    for at in 0..PEERS_MAX as u64 + 10 {
        let mut peer = [0; 32];
        peer[..8].copy_from_slice(&at.to_le_bytes());
        catch_up.take_turn(Peer(peer));
    }
    assert_eq!(catch_up.turns.len(), PEERS_MAX);
    assert!(catch_up.turns.values().all(|turn| *turn > 10));
}
