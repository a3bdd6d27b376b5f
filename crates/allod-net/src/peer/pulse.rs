//! Whether anybody is left at the other end of a connection.
//!
//! QUIC is slow to say no. It waits for three times as long as it takes an answer to need two or three tries (RFC 9000,
//! section 10.1), and an answer that comes after an outage makes it believe that answers take that long (RFC 9002, section
//! 5.3): connections were seen to hold on to a dead way for half a minute after the network was whole again. Here only
//! what came back counts. As something is said at least as often as `keep_alive` says, somebody who is there is heard.

use std::time::Duration;

use iroh::endpoint::{Connection, FrameStats, PathStats};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How many looks are in the longest silence.
const LOOKS: u32 = 6;
/// A look that comes so late says more about this machine than about the other.
const AWAY_MIN: Duration = Duration::from_secs(3);
/// What is said of a way that seems dead from here, to the other side too.
pub(crate) const NOTHING_COMES: &str = "nothing comes back on this way";

/// What was asked on a connection or one of its paths, and what was answered.
///
/// What comes in is no answer by itself: a peer that has another address sends from there on all connections, and learns
/// nothing of what is sent to the old one. An answer is whatever shows how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Packets {
    /// Grows with whatever wants an answer.
    pub(crate) asked: u64,
    /// Changes with every answer.
    pub(crate) answered: u128,
}

impl Packets {
    pub(crate) const fn of(stats: &PathStats) -> Self {
        Self {
            asked: asked(&stats.frame_tx),
            answered: stats.rtt.as_nanos(),
        }
    }

    /// All of a connection's. It may have no path for a while, and asks nevertheless.
    fn of_all(connection: &Connection) -> Self {
        let paths = connection.paths();
        let answered = paths.iter().map(|path| path.rtt().as_nanos());
        Self {
            asked: asked(&connection.stats().frame_tx),
            answered: answered.sum(),
        }
    }
}

/// What is asked anew has a demand for an answer in its place (draft-ietf-quic-ack-frequency, section 5).
const fn asked(sent: &FrameStats) -> u64 {
    sent.ping + sent.immediate_ack + sent.stream + sent.crypto + sent.path_challenge
}

/// Returns once what was sent has had no answer for `silence_max`.
pub(crate) async fn lost(connection: &Connection, silence_max: Duration) {
    let packets = || Packets::of_all(connection);
    let mut look = interval(silence_max / LOOKS);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Silence::new(packets(), Instant::now());
    loop {
        look.tick().await;
        if silence.lasts(packets(), Instant::now()) >= silence_max {
            return;
        }
    }
}

/// Since when nothing has come back.
struct Silence {
    /// When something came last.
    answered: Packets,
    /// Since when something that was sent waits for an answer.
    unanswered: Option<Instant>,
    looked: Instant,
}

impl Silence {
    const fn new(packets: Packets, now: Instant) -> Self {
        Self {
            answered: packets,
            unanswered: None,
            looked: now,
        }
    }

    /// How long it has lasted. Where this machine stood still itself, it begins anew.
    fn lasts(&mut self, packets: Packets, now: Instant) -> Duration {
        let was_away = now.duration_since(self.looked) > AWAY_MIN;
        self.looked = now;
        if packets.answered != self.answered.answered || was_away {
            self.answered = packets;
            self.unanswered = None;
        } else if packets.asked != self.answered.asked {
            self.unanswered.get_or_insert(now);
        }
        let since = self.unanswered.unwrap_or(now);
        now.duration_since(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(asked: u64, answered: u128) -> Packets {
        Packets { asked, answered }
    }

    #[test]
    fn silence_counts_from_what_was_sent_after_the_last_answer() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut silence = Silence::new(packets(5, 5), began);
        assert_eq!(
            silence.lasts(packets(5, 5), at(2)),
            Duration::ZERO,
            "nobody asked"
        );
        assert_eq!(silence.lasts(packets(6, 5), at(4)), Duration::ZERO);
        assert_eq!(silence.lasts(packets(9, 5), at(6)), Duration::from_secs(2));
        assert_eq!(
            silence.lasts(packets(9, 6), at(8)),
            Duration::ZERO,
            "there it is"
        );
        assert_eq!(silence.lasts(packets(9, 6), at(10)), Duration::ZERO);
    }

    #[test]
    fn whoever_stood_still_itself_begins_anew() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut silence = Silence::new(packets(5, 5), began);
        silence.lasts(packets(6, 5), at(1));
        assert_eq!(silence.lasts(packets(6, 5), at(60)), Duration::ZERO);
        assert_eq!(silence.lasts(packets(7, 5), at(61)), Duration::ZERO);
        assert_eq!(silence.lasts(packets(7, 5), at(63)), Duration::from_secs(2));
    }
}
