//! Who could take a service over from the machines that run its app.

use std::collections::BTreeSet;

use crate::app::{App, SlotKey};
use crate::codec::Domain;
use crate::id::{AccountId, AppId, Label, NodeId};
use crate::limits::{EFFORT_PER_NODE, STANDBY_SEARCH_MAX};
use crate::money::Credits;
use crate::place::Wanted;
use crate::place::rule::Failing;
use crate::place::search::Search;
use crate::state::State;

static RING: Domain = Domain::new("allod standby v1");

/// A machine that could take a service over. The first in their order is the first to be asked: those of operators who
/// run nothing of the app, then the cheapest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standby {
    is_of_a_holder: bool,
    price_per_hour: Option<Credits>,
    /// The machine.
    pub(crate) node: NodeId,
    /// Whether the manifest is sealed for it, or for nobody.
    pub(crate) is_reader: bool,
}

/// The machines that could take a service over from `holders`: of the readers of its revision and of the first machines
/// round its ring. `effort` counts what was looked at.
pub(crate) fn standbys(
    state: &State,
    (id, app): (&AppId, &App),
    label: &Label,
    holders: &BTreeSet<NodeId>,
    effort: &mut u64,
) -> Vec<Standby> {
    let slot: SlotKey = (*id, *label, 0);
    let service = app.services.get(label);
    let demand = service.and_then(|service| state.demand(id, service.revision, label));
    let Some((service, mut demand)) = service.zip(demand) else {
        return Vec::new();
    };
    // Where it would go if all of the app had to.
    demand.constraints.is_together = false;
    let wanted = Wanted {
        slot: &slot,
        epoch: 1,
        app,
        revision: service.revision,
        demand: &demand,
        freed: None,
        strangers_max: None,
    };
    let search = Search::new(state, &wanted);
    let operators: BTreeSet<Option<AccountId>> =
        holders.iter().map(|id| state.operator_of(id)).collect();
    let readers = state.readers_of(id, service.revision);
    let around = state.nodes_from(NodeId(RING.hash(&slot)));
    let around = around.take(STANDBY_SEARCH_MAX).map(|(id, _)| *id);
    let mut seen = holders.clone();
    let mut found = Vec::new();
    for node in readers.iter().copied().chain(around) {
        let Some(row) = state.node_row(&node).filter(|_| seen.insert(node)) else {
            continue;
        };
        *effort = effort
            .saturating_add(EFFORT_PER_NODE)
            .saturating_add(demand.effort_per_node());
        let candidate = search.candidate(node, row);
        let mut is_reader = true;
        let could = candidate.failing().all(|failing| {
            is_reader = false;
            failing == Failing::NotSealed
        });
        if could {
            found.push(Standby {
                is_of_a_holder: operators.contains(&Some(row.operator)),
                price_per_hour: candidate.price_per_hour(),
                node,
                is_reader,
            });
        }
    }
    found.sort_unstable();
    found
}
