//! What one machine has heard of those that it watches, what it has acknowledged, and what it has promised.
//!
//! Rules:
//! 1. Silence counts from a machine's last sign, for an exclusive lease from its last acknowledgement, from when the lease
//!    was first seen here, and from when this machine was last without company. After
//!    [`SILENCE_MS`](crate::limits::SILENCE_MS) it gives the lease up, or after
//!    [`FIRST_SIGN_MS`](crate::limits::FIRST_SIGN_MS) where it has heard nothing yet: the way from there may still have to be
//!    found, over a line that loses packets. So one that is cut off itself says nothing, and nobody is given up for what
//!    was not heard meanwhile.
//! 2. What the ledger did not take in time it never will, and silence begins anew, for twice as long each time: a ledger
//!    that stood still is not filled with deaths when it moves again. What was promised is promised all the same, so that an
//!    exclusive lease is given up again though its machine be heard.
//! 3. A machine that itself stood still, as in a debugger or for want of memory, begins anew with all of them. The clock may
//!    be one that stops while the machine sleeps.

use std::collections::{BTreeMap, BTreeSet};

use super::Watched;
use crate::id::NodeId;
use crate::limits::{
    DEATHS_PER_REPORT_MAX, FIRST_SIGN_MS, LATE_MS, SILENCE_MORE_MAX_MS, SILENCE_MS,
};

/// Who holds a lease that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The machine.
    pub node: NodeId,
    /// Whether it may run only while its witnesses confirm it.
    pub is_exclusive: bool,
}

/// What this machine has heard of those that it watches. Times are of one clock, which never goes back.
#[derive(Debug)]
pub struct Watch {
    heard: BTreeMap<NodeId, u64>,
    acknowledged: BTreeMap<Watched, u64>,
    /// Exclusive leases that were given up, and are never acknowledged again.
    promised: BTreeSet<Watched>,
    /// From when the silence of each lease's machine counts at the earliest.
    since: BTreeMap<Watched, u64>,
    /// Those that were given up just now.
    under_way: BTreeSet<Watched>,
    /// Since when this machine has company.
    company_since_ms: u64,
    looked_ms: u64,
    /// How much longer silence has to last, after what the ledger did not take.
    patience_ms: u64,
}

impl Watch {
    /// Nobody was heard yet; `promised` is what was promised in earlier lives.
    #[must_use]
    pub const fn new(promised: BTreeSet<Watched>, now_ms: u64) -> Self {
        Self {
            heard: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            promised,
            since: BTreeMap::new(),
            under_way: BTreeSet::new(),
            company_since_ms: now_ms,
            looked_ms: now_ms,
            patience_ms: 0,
        }
    }

    /// Since when this machine has company.
    #[must_use]
    pub const fn company_since_ms(&self) -> u64 {
        self.company_since_ms
    }

    /// The exclusive leases that were given up, in all lives.
    #[must_use]
    pub const fn promised(&self) -> &BTreeSet<Watched> {
        &self.promised
    }

    /// Forgets promises about leases that have ended by the ledger. One that it does not know may come yet.
    pub fn forget(&mut self, has_ended: impl Fn(&Watched) -> bool) {
        self.promised.retain(|lease| !has_ended(lease));
    }

    /// Takes a sign of life in. Of the leases that it names, those are acknowledged that its machine holds, by what this
    /// one knows, and that were not given up.
    pub fn hear(
        &mut self,
        from: NodeId,
        named: &BTreeSet<Watched>,
        watched: &BTreeMap<Watched, Holder>,
        now_ms: u64,
    ) -> BTreeSet<Watched> {
        self.heard.insert(from, now_ms);
        let is_confirmed = |lease: &&Watched| {
            let holder = watched.get(*lease);
            holder.is_some_and(|it| it.node == from && it.is_exclusive)
                && !self.promised.contains(*lease)
        };
        let confirmed: BTreeSet<Watched> = named.iter().filter(is_confirmed).copied().collect();
        for lease in &confirmed {
            self.acknowledged.insert(*lease, now_ms);
        }
        confirmed
    }

    /// The leases whose machine has been silent for too long. The exclusive ones of them are promised from now on.
    pub fn look(
        &mut self,
        watched: &BTreeMap<Watched, Holder>,
        has_company: bool,
        now_ms: u64,
    ) -> BTreeSet<Watched> {
        let was_late = now_ms.saturating_sub(self.looked_ms) > LATE_MS;
        self.looked_ms = now_ms;
        if was_late || !has_company {
            self.company_since_ms = now_ms;
        }
        self.since.retain(|lease, _| watched.contains_key(lease));
        self.under_way.retain(|lease| watched.contains_key(lease));
        self.acknowledged
            .retain(|lease, _| watched.contains_key(lease));
        let holders: BTreeSet<NodeId> = watched.values().map(|holder| holder.node).collect();
        self.heard.retain(|node, _| holders.contains(node));
        let mut gone = BTreeSet::new();
        for (lease, holder) in watched {
            let since = *self.since.entry(*lease).or_insert(now_ms);
            let last = if holder.is_exclusive {
                self.acknowledged.get(lease)
            } else {
                self.heard.get(&holder.node)
            };
            let (from, max_ms) = match last {
                Some(last) => (*last, SILENCE_MS),
                None => (since, FIRST_SIGN_MS),
            };
            let from = from.max(since).max(self.company_since_ms);
            let is_silent = now_ms.checked_sub(from).is_some_and(|ms| ms >= max_ms);
            let is_gone = is_silent && !self.under_way.contains(lease);
            if is_gone && gone.len() < DEATHS_PER_REPORT_MAX {
                gone.insert(*lease);
                if holder.is_exclusive {
                    self.promised.insert(*lease);
                }
            }
        }
        self.under_way.extend(&gone);
        gone
    }

    /// What became of those that were given up.
    pub fn told(&mut self, leases: &BTreeSet<Watched>, is_taken: bool, now_ms: u64) {
        if is_taken {
            self.patience_ms = 0;
            return;
        }
        let longer = self.patience_ms.saturating_mul(2);
        self.patience_ms = longer.clamp(SILENCE_MS, SILENCE_MORE_MAX_MS);
        for lease in leases {
            self.under_way.remove(lease);
            let since = now_ms.saturating_add(self.patience_ms);
            self.since.insert(*lease, since);
        }
    }
}
