//! A node's own transactions, with a ledger of one.

use std::sync::Arc;

use allod_state::lease::witness::ReportBack;
use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::agent::Scene;
use crate::limits::VOTE_LIFETIME;

#[tokio::test]
async fn a_vote_goes_before_everything_that_waits() {
    let scene = Scene::listed().await;
    let inner = Arc::clone(&scene.node.inner);
    let back = ReportBack { node: inner.node };
    let held = inner.signer.hold().await;
    let mut tasks = JoinSet::new();
    for number in 1..=3 {
        let (inner, back) = (Arc::clone(&inner), back.clone());
        tasks.spawn(async move {
            let _ = inner.signer.submit(vec![back.into()]).await;
            number
        });
        yield_now().await;
    }
    let signer = Arc::clone(&inner);
    tasks.spawn(async move {
        let vote = vec![back.into()];
        let _ = signer.signer.submit_first(vote, VOTE_LIFETIME).await;
        0
    });
    yield_now().await;
    drop(held);
    assert_eq!(tasks.join_all().await, [0, 1, 2, 3]);
    scene.node.stop().await;
}

#[tokio::test]
async fn what_has_waited_for_long_has_all_its_time_when_its_turn_comes() {
    let scene = Scene::listed().await;
    let inner = Arc::clone(&scene.node.inner);
    let held = inner.signer.hold().await;
    let back = ReportBack { node: inner.node };
    let mut submitted = std::pin::pin!(inner.signer.submit(vec![back.into()]));
    assert!(futures_util::poll!(&mut submitted).is_pending());
    tokio::time::pause();
    tokio::time::advance(COMMIT_TIMEOUT).await;
    tokio::time::resume();
    drop(held);
    let submitted = submitted.await;
    assert!(submitted.is_ok(), "{submitted:?}");
    scene.node.stop().await;
}

#[tokio::test]
async fn a_vote_that_waits_for_its_turn_for_too_long_is_decided_anew() {
    let scene = Scene::listed().await;
    let inner = Arc::clone(&scene.node.inner);
    let _held = inner.signer.hold().await;
    let back = ReportBack { node: inner.node };
    let vote = inner.signer.submit_first(vec![back.into()], VOTE_LIFETIME);
    let mut vote = std::pin::pin!(vote);
    assert!(futures_util::poll!(&mut vote).is_pending());
    tokio::time::pause();
    tokio::time::advance(VOTE_LIFETIME).await;
    tokio::time::resume();
    assert!(matches!(vote.await, Err(SignerError::NoTurn(_))));
    scene.node.stop().await;
}
