//! What one machine knows of its right to let its exclusive leases run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Named, Watched};
use crate::id::NodeId;
use crate::limits::BEATS_KEPT;

/// The signs of life of one life of a machine, and who has acknowledged which lease. Times are the holder's boot time.
#[derive(Debug)]
pub struct Rights {
    life: u64,
    number: u64,
    /// When the newest signs were sent.
    sent: BTreeMap<u64, u64>,
    /// For each lease and witness, when the newest sign was sent that it has acknowledged.
    confirmed: BTreeMap<Watched, BTreeMap<NodeId, u64>>,
}

impl Rights {
    /// Nothing was said yet. No two lives have the same number but by chance.
    #[must_use]
    pub const fn new(life: u64) -> Self {
        Self {
            life,
            number: 0,
            sent: BTreeMap::new(),
            confirmed: BTreeMap::new(),
        }
    }

    /// A sign of life for one witness, about to be sent: call [`Self::begin`] once before all of them.
    #[must_use]
    pub const fn beat(&self, leases: BTreeSet<Watched>) -> Named {
        Named {
            life: self.life,
            number: self.number,
            leases,
        }
    }

    /// Signs of life are about to be sent.
    pub fn begin(&mut self, now_ms: u64) {
        self.number = self.number.saturating_add(1);
        self.sent.insert(self.number, now_ms);
        while self.sent.len() > BEATS_KEPT {
            self.sent.pop_first();
        }
    }

    /// A witness has acknowledged. Whether it is one of a lease's is asked where it counts. What is heard of an earlier
    /// life, or of a sign so old that it gives no right, is nothing.
    pub fn hear(&mut self, from: NodeId, said: &Named, held: &BTreeSet<Watched>) {
        let Some(sent_ms) = self
            .sent
            .get(&said.number)
            .filter(|_| said.life == self.life)
        else {
            return;
        };
        for lease in said.leases.intersection(held) {
            let by = self.confirmed.entry(*lease).or_default();
            let known = by.entry(from).or_default();
            *known = (*known).max(*sent_ms);
        }
    }

    /// When the newest sign was sent that more than half of these witnesses have acknowledged for the lease, each that
    /// one or a later one.
    #[must_use]
    pub fn confirmed_ms(&self, lease: &Watched, witnesses: &BTreeSet<NodeId>) -> Option<u64> {
        let by = self.confirmed.get(lease)?;
        let times = witnesses.iter().filter_map(|witness| by.get(witness));
        let mut times: Vec<u64> = times.copied().collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(witnesses.len() / 2).copied()
    }

    /// Forgets leases that are held no more.
    pub fn keep(&mut self, held: &BTreeSet<Watched>) {
        self.confirmed.retain(|lease, _| held.contains(lease));
    }
}
