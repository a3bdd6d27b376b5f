//! How much a peer may send, in frames and in bytes: a second's worth at once, and the rate lastingly. Whoever sends more
//! is read later. The algorithm is the generic cell rate algorithm (ITU-T I.371).

use std::time::Duration;

use tokio::time::Instant;

use super::protocol::Terms;

/// What may come at once, as a time at the lasting rate.
const BURST: Duration = Duration::from_secs(1);

/// What one peer has used up on one protocol.
#[derive(Debug)]
pub(crate) struct Pace {
    per_frame: Duration,
    bytes_per_second: u32,
    /// When all the frames so far, and all the bytes, would have come at the lasting rate.
    frames_until: Instant,
    bytes_until: Instant,
}

impl Pace {
    pub(crate) fn new(terms: &Terms) -> Self {
        let now = Instant::now();
        Self {
            per_frame: Duration::from_secs(1) / terms.frames_per_second.max(1),
            bytes_per_second: terms.bytes_per_second.max(1),
            frames_until: now,
            bytes_until: now,
        }
    }

    /// How long to wait after a frame of so many bytes before the next one is read.
    pub(crate) fn after(&mut self, frame_bytes: usize) -> Duration {
        let now = Instant::now();
        let frame_bytes = u32::try_from(frame_bytes).unwrap_or(u32::MAX);
        let for_bytes = Duration::from_secs(1) * frame_bytes / self.bytes_per_second;
        self.frames_until = self.frames_until.max(now) + self.per_frame;
        self.bytes_until = self.bytes_until.max(now) + for_bytes;
        let until = self.frames_until.max(self.bytes_until);
        until.duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Protocol;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_what_lasts_is_slowed_to_the_rate() {
        let terms = Terms {
            frames_per_second: 10,
            ..Protocol::Sync.terms()
        };
        let mut pace = Pace::new(&terms);
        let began = Instant::now();
        for _ in 0..110 {
            tokio::time::sleep(pace.after(1)).await;
        }
        let took = began.elapsed();
        assert!((9.5..=10.5).contains(&took.as_secs_f64()), "{took:?}");
    }
}
