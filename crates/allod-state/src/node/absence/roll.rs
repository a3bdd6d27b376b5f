//! What one machine has heard of those that it watches whatever they hold.
//!
//! Rules:
//! 1. Silence counts from a machine's last sign, from when this one first had to watch that life of it, and from when this
//!    one was last without company or stood still itself. After [`ABSENCE_MS`] it says that the machine is gone.
//! 2. What the ledger did not take in time is said again, after twice as much silence each time.

use std::collections::{BTreeMap, BTreeSet};

use super::Life;
use crate::id::NodeId;
use crate::limits::{ABSENCE_MS, DEATHS_PER_REPORT_MAX, SILENCE_MORE_MAX_MS, SILENCE_MS};

/// Who was heard, and when. Times are of one clock, which never goes back.
#[derive(Debug, Default)]
pub struct Roll {
    heard: BTreeMap<NodeId, u64>,
    /// From when the silence of each counts at the earliest.
    since: BTreeMap<Life, u64>,
    /// Those that were given up just now.
    under_way: BTreeSet<Life>,
    /// How much longer silence has to last, after what the ledger did not take.
    patience_ms: u64,
}

impl Roll {
    /// Takes a sign of life in.
    pub fn hear(&mut self, from: NodeId, now_ms: u64) {
        self.heard.insert(from, now_ms);
    }

    /// Those that have been silent for too long.
    pub fn look(
        &mut self,
        watched: &BTreeSet<Life>,
        company_since_ms: u64,
        now_ms: u64,
    ) -> BTreeSet<Life> {
        let machines: BTreeSet<NodeId> = watched.iter().map(|(id, _)| *id).collect();
        self.heard.retain(|id, _| machines.contains(id));
        self.since.retain(|life, _| watched.contains(life));
        self.under_way.retain(|life| watched.contains(life));
        let mut gone = BTreeSet::new();
        for life in watched {
            let since = *self.since.entry(*life).or_insert(now_ms);
            let heard = self.heard.get(&life.0).copied().unwrap_or(since);
            let from = heard.max(since).max(company_since_ms);
            let is_silent = now_ms.checked_sub(from).is_some_and(|ms| ms >= ABSENCE_MS);
            if is_silent && !self.under_way.contains(life) && gone.len() < DEATHS_PER_REPORT_MAX {
                gone.insert(*life);
            }
        }
        self.under_way.extend(&gone);
        gone
    }

    /// What became of those that were given up.
    pub fn told(&mut self, machines: &BTreeSet<Life>, is_taken: bool, now_ms: u64) {
        if is_taken {
            self.patience_ms = 0;
            return;
        }
        let longer = self.patience_ms.saturating_mul(2);
        self.patience_ms = longer.clamp(SILENCE_MS, SILENCE_MORE_MAX_MS);
        for life in machines {
            self.under_way.remove(life);
            let since = now_ms.saturating_add(self.patience_ms);
            self.since.insert(*life, since);
        }
    }
}
