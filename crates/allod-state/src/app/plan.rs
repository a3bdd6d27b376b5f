//! Plans: a name for what a deployment comes to, by which it can be refused where it would come to something else.

use borsh::BorshSerialize;

use crate::app::Demand;
use crate::codec::Domain;
use crate::id::{AppId, Label, NodeId, PlanId};
use crate::money::Credits;
use crate::state::State;

static DOMAIN: Domain = Domain::new("allod plan v1");

/// A replica: its service, its number and epoch, where it is, and what it costs.
type Placed = (Label, u32, u64, NodeId, Credits);

/// The name of what an app is once an action has changed it, and before anything else happens: what is wanted of it, and
/// every replica that has a lease, with its machine and its price. Those that are replaced later, one by one, are placed
/// when their turn comes, and are part of no plan.
#[must_use]
pub fn plan_of(state: &State, id: &AppId) -> Option<PlanId> {
    #[derive(BorshSerialize)]
    struct Outcome {
        label: Label,
        wanted: Vec<(Label, Option<Demand>)>,
        placed: Vec<Placed>,
    }
    let app = state.app(id)?;
    let services = app.services.iter();
    let wanted =
        services.map(|(label, service)| (*label, state.demand(id, service.revision, label)));
    let leases = state.active_leases_of(id);
    let leases = leases.iter().filter_map(|id| state.lease_row(id));
    let mut placed: Vec<Placed> = leases
        .map(|lease| {
            let (service, replica, epoch) = (lease.service, lease.replica, lease.epoch);
            (service, replica, epoch, lease.node, lease.price_per_hour)
        })
        .collect();
    placed.sort_unstable();
    Some(PlanId(DOMAIN.hash(&Outcome {
        label: app.label,
        wanted: wanted.collect(),
        placed,
    })))
}
