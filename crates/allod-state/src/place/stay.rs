//! What becomes of moves that are under way when a drain is called off.

use std::collections::BTreeSet;

use crate::app::SlotKey;
use crate::apply::Context;
use crate::id::{AppId, NodeId};
use crate::lease::{self, EndCause, Lease};
use crate::limits::EFFORT_PER_SLOT;
use crate::place;
use crate::reject::Rejection;
use crate::state::State;

/// What has not left a machine yet stays there: those that were to take over elsewhere, and run the same, end. An app
/// that stays together and of which a part has left goes on leaving. What else was to be replaced has its turn.
pub(crate) fn stay(context: &mut Context<'_>, node: &NodeId) -> Result<(), Rejection> {
    let leases = context.state.active_leases_on(node);
    let mut services = BTreeSet::new();
    for id in &leases {
        context.toil(EFFORT_PER_SLOT);
        let lease = context.state.lease_row(id);
        services.extend(lease.map(|lease| (lease.app, lease.service)));
    }
    let apps: BTreeSet<AppId> = services.iter().map(|(app, _)| *app).collect();
    let mut parted = BTreeSet::new();
    for app in apps {
        context.check_effort()?;
        if is_parted(context, &app, node) {
            parted.insert(app);
        }
    }
    for id in leases {
        context.check_effort()?;
        let Some(lease) = context.state.lease(&id) else {
            continue;
        };
        let slot = context.state.slot(&lease.slot()).unwrap_or_default();
        let successor = slot.successor.filter(|_| slot.current == Some(id));
        let next = successor.and_then(|next| context.state.lease_row(&next));
        let is_move = next.is_some_and(|next| runs_the_same(context.state, &lease, next));
        if let Some(successor) = successor.filter(|_| is_move && !parted.contains(&lease.app)) {
            lease::end(context, &successor, EndCause::Superseded);
        }
    }
    for (app, service) in services {
        context.check_effort()?;
        place::roll_on(context, &app, &service);
    }
    Ok(())
}

fn runs_the_same(state: &State, lease: &Lease, next: &Lease) -> bool {
    let demand = |lease: &Lease| state.demand_row(&lease.app, lease.revision, &lease.service);
    let is_same = demand(lease)
        .zip(demand(next))
        .is_some_and(|(runs, wanted)| runs.runs_the_same_as(wanted));
    lease.generation == next.generation && (lease.revision == next.revision || is_same)
}

/// Whether a service that is to be together with the rest of the app serves somewhere else already.
fn is_parted(context: &mut Context<'_>, app: &AppId, node: &NodeId) -> bool {
    let leases = context.state.active_leases_of(app);
    let count = u64::try_from(leases.len()).unwrap_or(u64::MAX);
    context.toil(count.saturating_mul(EFFORT_PER_SLOT));
    let state = &context.state;
    let serves = |slot: &SlotKey, id| {
        state
            .slot_row(slot)
            .is_some_and(|it| it.current == Some(id))
    };
    let rows = leases
        .iter()
        .filter_map(|id| Some((*id, state.lease_row(id)?)));
    let mut elsewhere =
        rows.filter(|(id, lease)| lease.node != *node && serves(&lease.slot(), *id));
    elsewhere.any(|(_, lease)| {
        let demand = state.demand_row(&lease.app, lease.revision, &lease.service);
        demand.is_some_and(|demand| demand.constraints.is_together)
    })
}
