//! How many bytes of decided blocks each peer may be given, so that nobody who asks again and again takes this machine's line.
//!
//! Whoever catches up executes what it is given, and asks for less than that. One that has had enough is not answered, and asks
//! somebody else, or later.

use std::collections::BTreeMap;
use std::time::Instant;

use allod_net::peer::PeerKey;

use crate::limits::{SERVED_BYTES_AT_ONCE_MAX, SERVED_BYTES_PER_SECOND, SERVED_PEERS_MAX};

/// What each peer has been given lately.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    given: BTreeMap<PeerKey, Given>,
}

/// So many bytes, less what has been forgotten since.
#[derive(Clone, Copy, Debug)]
struct Given {
    bytes: u64,
    at: Instant,
}

impl Given {
    fn left_at(self, now: Instant) -> u64 {
        let passed_ms = now.saturating_duration_since(self.at).as_millis();
        let passed_ms = u64::try_from(passed_ms).unwrap_or(u64::MAX);
        let forgotten = passed_ms.saturating_mul(SERVED_BYTES_PER_SECOND) / 1_000;
        self.bytes.saturating_sub(forgotten)
    }
}

impl Allowances {
    /// Whether a peer may be given something now.
    pub(super) fn has_more(&self, peer: PeerKey, now: Instant) -> bool {
        let given = self.given.get(&peer).map_or(0, |given| given.left_at(now));
        given < SERVED_BYTES_AT_ONCE_MAX
    }

    /// Takes note of what a peer was given.
    pub(super) fn give(&mut self, peer: PeerKey, bytes: usize, now: Instant) {
        if self.given.len() >= SERVED_PEERS_MAX {
            self.given.retain(|_, given| given.left_at(now) > 0);
        }
        let before = self.given.get(&peer).map_or(0, |given| given.left_at(now));
        let bytes = before.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.given.insert(peer, Given { bytes, at: now });
    }
}

#[cfg(test)]
mod tests;
