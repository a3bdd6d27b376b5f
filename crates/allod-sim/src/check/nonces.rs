//! Nothing is applied twice: each transaction is in one block at most, and each key's nonces follow one another.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::{AccountId, PublicKey, TransactionId};

use super::{Check, Found, Fresh};

#[derive(Default)]
pub(super) struct Nonces {
    applied: BTreeSet<TransactionId>,
    next: BTreeMap<(AccountId, PublicKey), u64>,
}

impl Check for Nonces {
    fn name(&self) -> &'static str {
        "nonces"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let told = fresh.told;
        for (id, transaction) in told.ids.iter().zip(&told.transactions) {
            if !self.applied.insert(*id) {
                return Err(format!("{id} was applied twice"));
            }
            let body = &transaction.body;
            let next = self.next.entry((body.account, body.key)).or_default();
            if body.nonce != *next || body.id() != *id {
                return Err(format!("{id} has nonce {}; {next} was next", body.nonce));
            }
            *next += 1;
        }
        for ((account, key), next) in &self.next {
            let record = told.state.key(account, key);
            if let Some(record) = record.filter(|record| record.nonce != *next) {
                return Err(format!(
                    "{key} has nonce {} after {next} transactions",
                    record.nonce
                ));
            }
        }
        Ok(())
    }
}
