//! A key's budget, and what an account has promised to others.
//!
//! Rules:
//! 1. In one period a key spends no more than its budget: what it transfers, what the leases of the apps that it deployed
//!    are charged, and what they will be until the period's end.
//! 2. Nor do those leases cost more in a whole period than the budget: what fits into the last minute of one must fit
//!    into the next.
//! 3. A payer's credits bear one hour of everything that strangers run for it. Only what adds to that is refused: whoever
//!    has too little may always do with less.
//! 4. Nobody sends away what strangers are to get for the next five minutes.

use crate::account::KeyRecord;
use crate::account::grant::Budget;
use crate::apply::Context;
use crate::evidence::HOUR_MS;
use crate::id::AppId;
use crate::lease::Lease;
use crate::limits::{CREDIT_AHEAD_MS, EFFORT_PER_ROW};
use crate::money::{Credits, OutOfRange};
use crate::reject::Rejection;

impl KeyRecord {
    /// What it spent in the budget's period that runs at a block time.
    #[must_use]
    pub fn spent_at(&self, now_ms: u64) -> Credits {
        let is_over = self
            .grant
            .budget
            .is_some_and(|budget| self.is_over(budget, now_ms));
        if is_over { Credits::ZERO } else { self.spent }
    }

    const fn is_over(&self, budget: Budget, now_ms: u64) -> bool {
        now_ms >= self.period_start_ms.saturating_add(budget.period_ms)
    }

    /// How much of the period is left.
    const fn rest_ms(&self, budget: Budget, now_ms: u64) -> u64 {
        if self.is_over(budget, now_ms) {
            return budget.period_ms;
        }
        let end_ms = self.period_start_ms.saturating_add(budget.period_ms);
        end_ms.saturating_sub(now_ms)
    }

    /// How much the budget would have to be for what was spent, and for leases that cost so much in an hour.
    pub(crate) fn needed_at(&self, now_ms: u64, per_hour: Credits) -> Result<Credits, OutOfRange> {
        let Some(budget) = self.grant.budget else {
            return Ok(Credits::ZERO);
        };
        let rest = per_hour.mul_div_ceil(self.rest_ms(budget, now_ms), HOUR_MS)?;
        let whole = per_hour.mul_div_ceil(budget.period_ms, HOUR_MS)?;
        Ok(self.spent_at(now_ms).plus(rest)?.max(whole))
    }

    /// What the leases of its apps may cost in an hour at most.
    pub(crate) fn per_hour_max(&self, budget: Budget, now_ms: u64) -> Result<Credits, OutOfRange> {
        let left = budget.amount.minus(self.spent_at(now_ms))?;
        let left = left.max(Credits::ZERO);
        // A period has a length: see `Grant::validate`.
        let rest = left.mul_div_floor(HOUR_MS, self.rest_ms(budget, now_ms).max(1))?;
        let whole = budget
            .amount
            .mul_div_floor(HOUR_MS, budget.period_ms.max(1))?;
        Ok(rest.min(whole))
    }

    /// Begins another period where the last one is over.
    fn turn(&mut self, budget: Budget, now_ms: u64) {
        if self.is_over(budget, now_ms) {
            self.period_start_ms = now_ms;
            self.spent = Credits::ZERO;
        }
    }
}

/// What was promised before an action adds to it.
pub(crate) struct Promised {
    by_key: Credits,
    to_others: Credits,
}

impl Context<'_> {
    /// Counts `amount` against the signing key's budget.
    pub(crate) fn spend(&mut self, amount: Credits) -> Result<(), Rejection> {
        let (account, key) = (self.account(), self.key());
        let Some(budget) = self.grant().budget else {
            return Ok(());
        };
        let mut record = self
            .state
            .key(&account, &key)
            .ok_or(Rejection::UnknownKey)?;
        record.turn(budget, self.now_ms);
        record.spent = record.spent.plus(amount)?;
        let per_hour = self.state.reserved_by(&account, &key);
        let needed = record.needed_at(self.now_ms, per_hour)?;
        if needed > budget.amount {
            return Err(Rejection::BudgetExceeded {
                needed,
                allowed: budget.amount,
            });
        }
        self.state.put_key(account, key, record);
        Ok(())
    }

    /// What the actor's key and account have promised now.
    pub(crate) fn promised(&self) -> Promised {
        let (account, key) = (self.account(), self.key());
        Promised {
            by_key: self.state.reserved_by(&account, &key),
            to_others: self.state.promised_to_others(&account),
        }
    }

    /// Refuses where more is promised than before, and that is more than the key's budget or the payer's credit bears.
    pub(crate) fn check_promised(&mut self, before: &Promised) -> Result<(), Rejection> {
        let now = self.promised();
        if now.by_key > before.by_key {
            self.spend(Credits::ZERO)?;
        }
        let available = self.state.account_or_reject(&self.account())?.available();
        if now.to_others > before.to_others && now.to_others > available {
            return Err(Rejection::InsufficientCredit {
                needed: now.to_others,
                available,
            });
        }
        Ok(())
    }

    /// Refuses to send away what strangers are to be paid soon for what they run.
    pub(crate) fn check_kept(&self, amount: Credits) -> Result<(), Rejection> {
        let from = self.account();
        let per_hour = self.state.promised_to_others(&from);
        let promised = per_hour.mul_div_ceil(CREDIT_AHEAD_MS, HOUR_MS)?;
        let available = self.state.account_row(&from)?.available();
        let needed = amount.plus(promised)?;
        if promised > Credits::ZERO && needed > available {
            return Err(Rejection::InsufficientCredit { needed, available });
        }
        Ok(())
    }

    /// Counts what an active lease was charged for a stretch of its time against the budget of the key that deployed its
    /// app: of that, the part in the present period.
    pub(crate) fn count_cost(
        &mut self,
        app: &AppId,
        (from_ms, until_ms): (u64, u64),
        cost: Credits,
    ) -> Result<(), OutOfRange> {
        let Some(app) = self.state.app_row(app) else {
            return Ok(());
        };
        let (owner, key) = (app.owner, app.deployed_by);
        let record = self.state.key_row(&owner, &key);
        let Some((record, budget)) = record.and_then(|it| Some((it, it.grant.budget?))) else {
            return Ok(());
        };
        let mut record = KeyRecord::clone(record);
        record.turn(budget, self.now_ms);
        let within_ms = until_ms.saturating_sub(from_ms.max(record.period_start_ms));
        let span_ms = until_ms.saturating_sub(from_ms).max(1);
        let within = cost.mul_div_floor(within_ms, span_ms)?;
        record.spent = record.spent.plus(within)?;
        self.toil(EFFORT_PER_ROW);
        self.state.put_key(owner, key, record);
        Ok(())
    }

    /// Counts what a lease that ends now may still be charged, as if it had been ready: its app may be gone when its last
    /// evidence comes.
    pub(crate) fn count_untold(&mut self, lease: &Lease) {
        let (from_ms, until_ms) = (lease.meter.until_ms, self.now_ms);
        let untold_ms = until_ms.saturating_sub(from_ms);
        let cost = lease.price_per_hour.mul_div_floor(untold_ms, HOUR_MS);
        // Where a sum were out of range it would be refused when it is charged.
        let _ = cost.and_then(|cost| self.count_cost(&lease.app, (from_ms, until_ms), cost));
    }
}
