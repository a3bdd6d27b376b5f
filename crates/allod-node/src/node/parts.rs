//! The parts of a node that run for as long as it does, and whether one of them has stopped at a mistake of its own.

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// The running parts. Dropping them ends them all.
pub(crate) struct Parts {
    _guard: JoinSet<()>,
    is_broken: watch::Receiver<bool>,
}

impl Parts {
    /// Watches parts that run already.
    pub(crate) fn watched(parts: JoinSet<()>) -> Self {
        let (tells, is_broken) = watch::channel(false);
        let mut guard = JoinSet::new();
        guard.spawn(watch_over(parts, tells));
        Self {
            _guard: guard,
            is_broken,
        }
    }

    /// Waits until one of them has panicked, which may be never.
    pub(crate) async fn broken(&self) {
        let mut is_broken = self.is_broken.clone();
        if is_broken.wait_for(|is_broken| *is_broken).await.is_err() {
            std::future::pending().await
        }
    }
}

/// What a task of a part has come to. Where it has panicked, so does the part: what waited for it would wait for ever.
pub(crate) fn outcome_of<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(outcome) => Some(outcome),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

async fn watch_over(mut parts: JoinSet<()>, tells: watch::Sender<bool>) {
    while let Some(ended) = parts.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            tells.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
