//! Every balance is what it was at first, plus and minus what receipts say was paid, and nothing else.

use std::collections::BTreeMap;

use allod_state::AccountId;
use allod_state::event::Event;
use allod_state::genesis::Genesis;

use super::{Check, Found, Fresh};

pub(super) struct Accounting {
    balances: BTreeMap<AccountId, i128>,
}

impl Accounting {
    pub(super) fn new(genesis: &Genesis) -> Self {
        let founders = genesis.founders.iter();
        let of = |key| AccountId::of_first_key(key);
        Self {
            balances: founders
                .map(|(key, founder)| (of(key), founder.balance.micro()))
                .collect(),
        }
    }

    fn pay(&mut self, from: AccountId, to: AccountId, micro: i128) {
        *self.balances.entry(from).or_default() -= micro;
        *self.balances.entry(to).or_default() += micro;
    }
}

impl Check for Accounting {
    fn name(&self) -> &'static str {
        "accounting"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let told = fresh.told;
        for (receipt, transaction) in told.receipts.iter().zip(&told.transactions) {
            let payer = transaction.body.account;
            self.pay(payer, AccountId::COMMONS, receipt.fee.micro());
            if receipt.outcome.is_err() && !receipt.events.is_empty() {
                return Err(format!("{} failed and has events", receipt.transaction));
            }
        }
        for event in told.all_events() {
            match event {
                Event::Transferred {
                    from, to, amount, ..
                } => self.pay(*from, *to, amount.micro()),
                Event::LeaseCharged {
                    payer,
                    payee,
                    amount,
                    ..
                } => self.pay(*payer, *payee, amount.micro()),
                _ => {}
            }
        }
        for (id, account) in told.state.accounts() {
            let expected = self.balances.get(id).copied().unwrap_or(0);
            if account.balance.micro() != expected {
                return Err(format!(
                    "{id} holds {} micro-credits; its receipts add up to {expected}",
                    account.balance.micro()
                ));
            }
        }
        Ok(())
    }
}
