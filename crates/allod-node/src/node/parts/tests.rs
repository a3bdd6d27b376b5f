//! A part that panics is missed, with its tasks.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_part_panics_with_its_tasks() {
    let mut parts = JoinSet::new();
    parts.spawn(async {
        let mut tasks: JoinSet<()> = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(async { panic!("this is the mistake") });
        while let Some(ended) = tasks.join_next().await {
            outcome_of(ended);
        }
    });
    let parts = Parts::watched(parts);
    let hour = Duration::from_secs(3_600);
    timeout(hour, parts.broken()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_part_that_panics_is_missed_and_one_that_is_done_is_not() {
    let (go_on, waits) = oneshot::channel::<()>();
    let mut parts = JoinSet::new();
    parts.spawn(async {});
    parts.spawn(async { waits.await.expect("nobody drops it: this is the mistake") });
    let parts = Parts::watched(parts);
    let hour = Duration::from_secs(3_600);
    assert!(timeout(hour, parts.broken()).await.is_err());
    drop(go_on);
    timeout(hour, parts.broken()).await.unwrap();
    // Whoever asks later hears it as well.
    timeout(hour, parts.broken()).await.unwrap();
}
