//! How many connections of strangers are let in: as they come, but not more than a lasting rate.
//!
//! A stranger costs a connection, the reading of a request and an answer before anything is known about it. Whoever is
//! refused is also hung up on, so what all strangers together can cost is bounded by this rate. Half of what has been
//! saved up is kept for sources that have not come often lately: however many come again and again, they find a turn.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{STRANGERS_BURST, STRANGERS_PER_SECOND_MAX};

/// Of all.
const ALL: Rate = Rate {
    each: Duration::from_nanos(1_000_000_000 / STRANGERS_PER_SECOND_MAX as u64),
    burst: STRANGERS_BURST,
};
/// Of those, what is left to sources that come often.
const OFTEN: Rate = Rate {
    burst: STRANGERS_BURST / 2,
    ..ALL
};
/// How many turns of one source are not often.
const SELDOM: Rate = Rate {
    each: Duration::from_nanos(ALL.each.as_nanos() as u64 * 16),
    burst: STRANGERS_BURST / 32,
};
/// After so many sources those are forgotten that have not come lately.
const SOURCES_MAX: usize = 4 * STRANGERS_BURST as usize;

struct Rate {
    each: Duration,
    burst: u32,
}

/// Buckets of turns that fill up with time; each is the moment when it would be full again.
#[derive(Debug)]
pub(super) struct Pace {
    all: Instant,
    sources: BTreeMap<IpAddr, Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            all: Instant::now(),
            sources: BTreeMap::new(),
        }
    }

    /// Takes a turn for somebody from there, where there is one now.
    pub(super) fn turn(&mut self, source: IpAddr) -> bool {
        let now = Instant::now();
        // Only who gets a turn is remembered, so those who have not used all of theirs are never many.
        if self.sources.len() >= SOURCES_MAX {
            self.sources.retain(|_, full_at| *full_at > now);
        }
        let own = self.sources.get(&source).copied().unwrap_or(now);
        let seldom = SELDOM.taken(own, now);
        let rate = if seldom.is_some() { ALL } else { OFTEN };
        let Some(all) = rate.taken(self.all, now) else {
            return false;
        };
        self.all = all;
        self.sources.insert(source, seldom.unwrap_or(own));
        true
    }
}

impl Rate {
    /// When the bucket will be full after one more turn, where it holds one.
    fn taken(&self, full_at: Instant, now: Instant) -> Option<Instant> {
        let after = full_at.max(now) + self.each;
        (after <= now + self.each * self.burst).then_some(after)
    }
}

#[cfg(test)]
mod tests;
