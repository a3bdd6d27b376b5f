//! Credits are conserved: all balances, counted one by one, make up what the founders brought, after every block.

use allod_state::Credits;
use allod_state::genesis::Genesis;

use super::{Check, Found, Fresh};

pub(super) struct Conservation {
    supply: Credits,
}

impl Conservation {
    pub(super) fn new(genesis: &Genesis) -> Self {
        let founders = genesis.founders.values();
        let micro = founders.map(|founder| founder.balance.micro()).sum();
        Self {
            supply: Credits::from_micro(micro),
        }
    }
}

impl Check for Conservation {
    fn name(&self) -> &'static str {
        "conservation"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let state = &fresh.told.state;
        let micro: i128 = state.accounts().map(|(_, row)| row.balance.micro()).sum();
        let (counted, stated) = (Credits::from_micro(micro), state.params().supply);
        if counted != self.supply || stated != self.supply {
            return Err(format!(
                "{} credits were founded; {counted} are held and {stated} are stated",
                self.supply
            ));
        }
        for (id, account) in state.accounts() {
            if account.balance.micro() < -account.line.micro() {
                return Err(format!("{id} owes {} beyond its line", account.balance));
            }
        }
        Ok(())
    }
}
