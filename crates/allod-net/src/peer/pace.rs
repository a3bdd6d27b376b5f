//! How much a peer may send, in frames and in bytes: a second's worth at once, and the rate lastingly. Whoever sends more
//! is read later. The algorithm is the generic cell rate algorithm (ITU-T I.371).

use std::time::Duration;

use tokio::time::Instant;

/// What may come at once, as a time at the lasting rate.
const BURST: Duration = Duration::from_secs(1);

/// What may come in a second, lastingly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) frames_per_second: u32,
    pub(crate) bytes_per_second: u32,
}

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
    pub(crate) fn new(rate: Rate) -> Self {
        let now = Instant::now();
        Self {
            per_frame: Duration::from_secs(1) / rate.frames_per_second.max(1),
            bytes_per_second: rate.bytes_per_second.max(1),
            frames_until: now,
            bytes_until: now,
        }
    }

    /// Counts a frame of so many bytes, and tells how long to wait before the next one is read.
    pub(crate) fn after(&mut self, frame_bytes: usize) -> Duration {
        self.frames_until = self.frames_until.max(Instant::now()) + self.per_frame;
        self.count_bytes(frame_bytes);
        self.pause()
    }

    /// Counts bytes that belong to a frame which is counted already.
    pub(crate) fn count_bytes(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let takes = Duration::from_secs(1) * bytes / self.bytes_per_second;
        self.bytes_until = self.bytes_until.max(Instant::now()) + takes;
    }

    /// How long to wait before the next frame is read.
    pub(crate) fn pause(&self) -> Duration {
        let until = self.frames_until.max(self.bytes_until);
        until
            .saturating_duration_since(Instant::now())
            .saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        frames_per_second: 10,
        bytes_per_second: 1_000,
    };
    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_what_lasts_is_slowed_to_the_rate() {
        let mut pace = Pace::new(RATE);
        let began = Instant::now();
        for _ in 0..110 {
            tokio::time::sleep(pace.after(1)).await;
        }
        let took = began.elapsed();
        assert!((9.5..=10.5).contains(&took.as_secs_f64()), "{took:?}");
    }
    #[tokio::test(start_paused = true)]
    async fn bytes_count_without_a_frame_of_their_own() {
        let mut pace = Pace::new(RATE);
        assert_eq!(pace.after(1), Duration::ZERO);
        pace.count_bytes(5_999);
        assert_eq!(pace.pause(), Duration::from_secs(5));
    }
}
