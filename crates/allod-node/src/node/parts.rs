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
mod tests;
