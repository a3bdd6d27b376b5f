//! What waits of one key, in the order of its nonces, and up to where none is missing.

use std::collections::BTreeMap;

use allod_state::TransactionId;

/// The transactions of one key.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<u64, TransactionId>,
    /// The first nonce that is missing: whatever waits with a smaller one is ready.
    missing: u64,
}

impl Line {
    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn get(&self, nonce: u64) -> Option<&TransactionId> {
        self.waiting.get(&nonce)
    }

    pub(super) fn first(&self) -> Option<u64> {
        let (nonce, _) = self.waiting.first_key_value()?;
        Some(*nonce)
    }

    /// All, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = &TransactionId> {
        self.waiting.values()
    }

    /// Those with a smaller nonce, in order.
    pub(super) fn before(&self, nonce: u64) -> impl Iterator<Item = (u64, &TransactionId)> {
        let before = self.waiting.range(..nonce);
        before.map(|(nonce, id)| (*nonce, id))
    }

    /// Whether one with this nonce would have nothing missing before it, where the key's next nonce is `next`.
    pub(super) fn is_ready(&self, nonce: u64, next: u64) -> bool {
        nonce <= self.missing.max(next)
    }

    pub(super) fn insert(&mut self, nonce: u64, id: TransactionId) {
        self.waiting.insert(nonce, id);
    }

    /// Learns the key's next nonce, and says which have become ready since.
    pub(super) fn advance(&mut self, next: u64) -> Vec<TransactionId> {
        self.missing = self.missing.max(next);
        let mut ready = Vec::new();
        while let Some(id) = self.waiting.get(&self.missing) {
            ready.push(*id);
            self.missing = self.missing.saturating_add(1);
        }
        ready
    }

    /// Takes one out. Where it is not settled, it says which wait for a gap now.
    pub(super) fn remove(&mut self, nonce: u64, is_settled: bool) -> Vec<TransactionId> {
        self.waiting.remove(&nonce);
        if is_settled || nonce >= self.missing {
            return Vec::new();
        }
        let behind = self.waiting.range(nonce..self.missing);
        let behind = behind.map(|(_, id)| *id).collect();
        self.missing = nonce;
        behind
    }
}
