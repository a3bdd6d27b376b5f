//! The clients' desk: what was sent and has no answer yet, and what came of the rest.
//!
//! A client sends the very same bytes again until it knows, because after a crash it cannot tell whether its
//! transaction was lost or only its answer. That it is then applied once is the law's promise, and is checked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use allod_state::transaction::Verified;
use allod_state::{AccountId, PublicKey, State, Transaction, TransactionId};

use crate::limits::{REMEMBERED_MAX, UNANSWERED_PER_KEY_MAX};

type Key = (AccountId, PublicKey);

/// What clients remember.
#[derive(Default)]
pub(crate) struct Desk {
    unanswered: BTreeMap<Key, BTreeMap<u64, Verified>>,
    committed: VecDeque<Transaction>,
    spare: usize,
}

impl Desk {
    /// The nonce of a key's next transaction; none where it should wait for its answers first.
    pub(crate) fn next_nonce(
        &self,
        state: &State,
        account: AccountId,
        key: PublicKey,
    ) -> Option<u64> {
        let known = state.key(&account, &key).map_or(0, |record| record.nonce);
        let Some(waiting) = self.unanswered.get(&(account, key)) else {
            return Some(known);
        };
        if waiting.len() >= UNANSWERED_PER_KEY_MAX {
            return None;
        }
        let after = waiting.keys().next_back().map_or(0, |last| last + 1);
        Some(known.max(after))
    }

    /// Whether something that the account sent has no answer yet.
    pub(crate) fn is_waiting(&self, account: &AccountId) -> bool {
        self.unanswered.keys().any(|(of, _)| of == account)
    }

    pub(crate) fn sent(&mut self, transaction: Verified) {
        let (key, nonce) = name_of(&transaction);
        self.unanswered
            .entry(key)
            .or_default()
            .insert(nonce, transaction);
    }

    /// A block holds these; what its keys sent with a lower nonce will never be in one.
    pub(crate) fn committed(&mut self, transactions: &[Arc<Transaction>]) {
        for transaction in transactions {
            let body = &transaction.body;
            let key = (body.account, body.key);
            if let Some(waiting) = self.unanswered.get_mut(&key) {
                waiting.retain(|nonce, _| *nonce > body.nonce);
                self.tidy(key);
            }
            self.committed.push_back(Transaction::clone(transaction));
            if self.committed.len() > REMEMBERED_MAX {
                self.committed.pop_front();
            }
        }
    }

    /// This one was refused, so those after it cannot follow.
    pub(crate) fn refused(&mut self, id: &TransactionId) {
        let found = self.unanswered.iter().find_map(|(key, waiting)| {
            let mut here = waiting.iter();
            let (nonce, _) = here.find(|(_, transaction)| transaction.id() == *id)?;
            Some((*key, *nonce))
        });
        if let Some((key, nonce)) = found {
            if let Some(waiting) = self.unanswered.get_mut(&key) {
                waiting.retain(|other, _| *other < nonce);
            }
            self.tidy(key);
        }
    }

    fn tidy(&mut self, key: Key) {
        if self.unanswered.get(&key).is_some_and(BTreeMap::is_empty) {
            self.unanswered.remove(&key);
        }
    }

    /// Everything without an answer, in the order of keys and nonces.
    pub(crate) fn unanswered(&self) -> Vec<Verified> {
        let of_keys = self.unanswered.values();
        of_keys
            .flat_map(|waiting| waiting.values().cloned())
            .collect()
    }

    /// What was committed lately.
    pub(crate) fn remembered(&self) -> Vec<&Transaction> {
        self.committed.iter().collect()
    }

    /// A number that no one was given before.
    pub(crate) fn next_spare(&mut self) -> usize {
        self.spare += 1;
        self.spare - 1
    }
}

fn name_of(transaction: &Verified) -> (Key, u64) {
    let body = &transaction.transaction().body;
    ((body.account, body.key), body.nonce)
}
