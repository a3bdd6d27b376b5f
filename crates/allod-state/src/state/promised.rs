//! What is promised: what runs costs so much in an hour, and budgets and credits bear so much more.

use crate::app::App;
use crate::evidence::HOUR_MS;
use crate::id::AccountId;
use crate::key::PublicKey;
use crate::limits::CREDIT_AHEAD_MS;
use crate::money::Credits;
use crate::state::State;

impl State {
    /// What everything that a key deployed costs in one hour.
    pub(crate) fn reserved_by(&self, owner: &AccountId, key: &PublicKey) -> Credits {
        let sum = self.derived.reserved_by_key.get(&(*owner, *key));
        Credits::from_micro(sum.copied().unwrap_or(0))
    }

    /// What an hour of one more replica of an app may cost, where the key that deployed it has a budget; `own` is what
    /// is reserved for that replica already.
    pub(crate) fn budget_left_per_hour(
        &self,
        app: &App,
        own: Credits,
        now_ms: u64,
    ) -> Option<Credits> {
        let record = self.key_row(&app.owner, &app.deployed_by)?;
        let budget = record.grant.budget?;
        let left = || {
            let others = self
                .reserved_by(&app.owner, &app.deployed_by)
                .minus(own)
                .ok()?;
            record.per_hour_max(budget, now_ms).ok()?.minus(others).ok()
        };
        Some(left().unwrap_or(Credits::ZERO).max(Credits::ZERO))
    }

    /// What an account's leases on nodes of other operators cost in one hour.
    pub(crate) fn promised_to_others(&self, payer: &AccountId) -> Credits {
        let sum = self.derived.promised_to_others.get(payer);
        Credits::from_micro(sum.copied().unwrap_or(0))
    }

    /// What an hour of one more lease on a node of another operator may cost, so that the payer's credits bear all of
    /// them for [`CREDIT_AHEAD_MS`]; `own` is what goes instead.
    #[must_use]
    pub fn credit_left_per_hour(&self, payer: &AccountId, own: Credits) -> Credits {
        let left = || {
            let available = self.account_row(payer).ok()?.available();
            let borne = available.mul_div_floor(HOUR_MS, CREDIT_AHEAD_MS).ok()?;
            let others = self.promised_to_others(payer).minus(own).ok()?;
            borne.minus(others).ok()
        };
        left().unwrap_or(Credits::ZERO).max(Credits::ZERO)
    }
}
