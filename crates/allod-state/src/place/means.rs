//! What a replica may cost: as much as the budget of the key that deployed it and the credits of its payer still bear.

use crate::app::{App, Demand, Slot, SlotKey};
use crate::apply::Context;
use crate::id::LeaseId;
use crate::money::Credits;
use crate::place::Found;
use crate::reject::Rejection;

/// The demand at no higher price than the budget of the key that deployed the app leaves for this replica. What its
/// lease costs, or its last one, is free for the next: a replica that is replaced runs twice for a moment only.
pub(super) fn within_budget(
    context: &Context<'_>,
    app: &App,
    key: &SlotKey,
    slot: &Slot,
    mut demand: Demand,
) -> Demand {
    let own = last_price(context, key, slot);
    let left = context.state.budget_left_per_hour(app, own, context.now_ms);
    if let Some(left) = left {
        let max = &mut demand.constraints.price_per_hour_max;
        *max = Some(max.map_or(left, |max| max.min(left)));
    }
    demand
}

/// That a replica there would cost more than the budget of the key that deployed the app, if there is one.
pub(super) fn over_budget(
    context: &Context<'_>,
    app: &App,
    key: &SlotKey,
    slot: &Slot,
    found: &Found,
) -> Option<Rejection> {
    let state = &context.state;
    let record = state.key_row(&app.owner, &app.deployed_by)?;
    let budget = record.grant.budget?;
    let own = last_price(context, key, slot);
    let reserved = state.reserved_by(&app.owner, &app.deployed_by);
    let per_hour = reserved.minus(own).ok()?.plus(found.price_per_hour).ok()?;
    Some(Rejection::BudgetExceeded {
        needed: record.needed_at(context.now_ms, per_hour).ok()?,
        allowed: budget.amount,
    })
}

/// What the slot's lease costs in an hour, or its last one did.
fn last_price(context: &Context<'_>, key: &SlotKey, slot: &Slot) -> Credits {
    let last = slot.current.unwrap_or_else(|| LeaseId::of(key, slot.epoch));
    context
        .state
        .lease_row(&last)
        .map_or(Credits::ZERO, |lease| lease.price_per_hour)
}

/// What an hour of the slot's next lease may cost on a machine of another operator, so that the payer's credits bear it
/// for a while, and everything else that strangers run for the payer. What its lease costs now goes when the next is
/// there: as much as that is promised already, and adds nothing.
pub(super) fn credit_left(context: &Context<'_>, app: &App, slot: &Slot) -> Credits {
    let current = slot.current.and_then(|id| context.state.lease_row(&id));
    let own = current.map_or(Credits::ZERO, |lease| lease.promised_to_others());
    context.state.credit_left_per_hour(&app.owner, own).max(own)
}
