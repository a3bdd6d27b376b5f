//! No attacker gets what attackers must not get.

use std::collections::BTreeMap;

use allod_state::Action;
use allod_state::TransactionId;

use crate::attack::Never;

use super::{Check, Found, Fresh};

#[derive(Default)]
pub(super) struct Attacks {
    never: BTreeMap<TransactionId, Never>,
}

impl Check for Attacks {
    fn name(&self) -> &'static str {
        "attacks"
    }

    fn attacked(&mut self, id: TransactionId, never: Never) {
        // A replay has the id of the honest transaction that it repeats: the nonces watch over that one.
        if never != Never::Twice {
            self.never.insert(id, never);
        }
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        for (transaction, receipt) in fresh.told.transactions.iter().zip(&fresh.told.receipts) {
            let id = receipt.transaction;
            match self.never.get(&id) {
                Some(Never::InBlock | Never::Verifies) => {
                    return Err(format!("the false transaction {id} is in a block"));
                }
                Some(Never::Succeeds) if receipt.outcome.is_ok() => {
                    let actions = transaction.body.actions.iter().map(Action::name);
                    let actions: Vec<_> = actions.collect();
                    return Err(format!(
                        "the attacker's {} succeeded, in {id}",
                        actions.join(", ")
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
