//! How fast connections are taken out of the kernel's queue: as they come, but not faster than a lasting rate.
//!
//! A stranger costs a connection before anything is known about it. Whoever is refused is also hung up on, so what all
//! strangers together can cost is bounded by this rate; those beyond it wait where they cost nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::limits::{ACCEPTS_BURST, ACCEPTS_PER_SECOND_MAX};

const EACH: Duration = Duration::from_nanos(1_000_000_000 / ACCEPTS_PER_SECOND_MAX as u64);

/// A bucket of turns that fills up with time.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the bucket would be full again.
    full_at: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            full_at: Instant::now(),
        }
    }

    /// Waits for a turn and takes it.
    pub(super) async fn turn(&mut self) {
        let now = Instant::now();
        self.full_at = self.full_at.max(now) + EACH;
        let ahead = EACH * ACCEPTS_BURST;
        if let Some(due) = self.full_at.checked_sub(ahead).filter(|due| *due > now) {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_what_follows_is_spread() {
        let mut pace = Pace::new();
        let began = Instant::now();
        for _ in 0..ACCEPTS_BURST {
            pace.turn().await;
        }
        assert!(began.elapsed() < Duration::from_millis(2));
        for _ in 0..ACCEPTS_PER_SECOND_MAX {
            pace.turn().await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(950), "{took:?}");
        assert!(took <= Duration::from_millis(1_100), "{took:?}");
    }
}
