//! Nothing is applied twice: each transaction is in one block at most, and each key's nonces only rise.

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
            let key = (body.account, body.key);
            let next = self.next.get(&key).copied().unwrap_or(0);
            if body.nonce < next || body.id() != *id {
                return Err(format!("{id} has nonce {} after {next}", body.nonce));
            }
            self.next.insert(key, body.nonce + 1);
        }
        for ((account, key), next) in &self.next {
            let after = told.state.key(account, key).map(|record| record.nonce);
            if after.is_some_and(|after| after != *next) {
                return Err(format!("{key} has nonce {after:?}; {next} is next"));
            }
        }
        Ok(())
    }
}
