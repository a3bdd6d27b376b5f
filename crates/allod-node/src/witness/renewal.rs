//! What the runtime was told: until when exclusive replicas may run here, by the boot clock.
//!
//! It is told one thing after the other. What is confirmed meanwhile is told after that, and what it did not take is told
//! again: only what it took counts as told, and only that lets a replica run.

use std::collections::BTreeMap;

use allod_runtime::WorkloadId;

/// Until when each may run.
pub(super) type Until = BTreeMap<WorkloadId, u64>;

/// Telling the runtime.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    is_under_way: bool,
}

impl Renewal {
    /// What the runtime is to be told now; then that is under way.
    pub(super) fn next(&mut self, told: &Until, until: Until) -> Option<Until> {
        let mut each = until.iter();
        let is_later = each.any(|(id, ms)| told.get(id).is_none_or(|told| told < ms));
        let is_due = is_later && !self.is_under_way;
        self.is_under_way |= is_due;
        is_due.then_some(until)
    }

    /// It took what was said, or nothing. Says whether it lets others run than before.
    pub(super) fn ended(&mut self, told: &mut Until, taken: Option<Until>) -> bool {
        self.is_under_way = false;
        let before = told.len();
        for (id, ms) in taken.unwrap_or_default() {
            let known = told.entry(id).or_default();
            *known = (*known).max(ms);
        }
        told.len() != before
    }
}

/// Forgets what is over, and what is not held any more. Says whether there was any.
pub(super) fn forget(told: &mut Until, until: &Until, now_ms: u64) -> bool {
    let before = told.len();
    told.retain(|id, ms| *ms > now_ms && until.contains_key(id));
    told.len() != before
}

#[cfg(test)]
mod tests;
