//! For whom an app is to be sealed: those that run it, and those that could run it next.

use std::collections::BTreeSet;

use allod_state::app::{App, SlotKey};
use allod_state::limits::WRAPS_PER_MANIFEST_MAX;
use allod_state::place::{Failing, Verdict, Wanted, verdicts};
use allod_state::{AccountId, AppId, Credits, NodeId, State};

use crate::limits::{STANDBYS, VERDICT_NODES_MAX};

/// The nodes for which an app is to be sealed, in a state in which anybody may run it: those that have its leases, its
/// owner's own, by whose doors it is reached, and for each service standbys, those of operators of their own first, and
/// the cheapest of them. The rest of the network learns nothing of it.
pub(super) fn readers(state: &State, id: &AppId) -> Vec<NodeId> {
    let Some(app) = state.app(id) else {
        return Vec::new();
    };
    let leases = state.active_leases_of(id);
    let runs_on = leases.iter().filter_map(|id| Some(state.lease(id)?.node));
    let own = state.nodes().filter(|(_, node)| node.operator == app.owner);
    let mut readers: Vec<NodeId> = runs_on.collect();
    readers.extend(own.map(|(id, _)| *id));
    for label in app.services.keys() {
        readers.extend(standbys(state, &app, (*id, *label, 0)));
    }
    let mut seen = BTreeSet::new();
    readers.retain(|node| seen.insert(*node));
    // One wrap is the owner's.
    readers.truncate(WRAPS_PER_MANIFEST_MAX - 1);
    readers
}

/// Nodes that could take over a service.
fn standbys(state: &State, app: &App, key: SlotKey) -> Vec<NodeId> {
    let (id, label, _) = key;
    let Some(service) = app.services.get(&label) else {
        return Vec::new();
    };
    let Some(demand) = state.demand(&id, service.revision, &label) else {
        return Vec::new();
    };
    let leases = state.active_leases_of(&id);
    let leases = leases.iter().filter_map(|id| state.lease(id));
    let holders: Vec<NodeId> = leases.map(|lease| lease.node).collect();
    let mut demand = demand;
    // Where it would go if all of it had to.
    demand.constraints.is_together = false;
    let wanted = Wanted {
        slot: &key,
        epoch: 1,
        app,
        revision: service.revision,
        demand: &demand,
        freed: None,
    };
    let said = verdicts(state, &wanted, None, VERDICT_NODES_MAX);
    let could = |verdict: &Verdict| {
        let mut failing = verdict.failing.iter();
        failing.all(|failing| matches!(failing, Failing::NotSealed))
    };
    let operator = |node: &NodeId| state.node(node).map(|node| node.operator);
    let held_by: BTreeSet<Option<AccountId>> = holders.iter().map(operator).collect();
    let mut fit: Vec<(bool, Option<Credits>, NodeId)> = said
        .iter()
        .filter(|verdict| could(verdict) && !holders.contains(&verdict.node))
        .map(|verdict| {
            let is_of_a_holder = held_by.contains(&operator(&verdict.node));
            (is_of_a_holder, verdict.price_per_hour, verdict.node)
        })
        .collect();
    fit.sort_unstable();
    let nodes = fit.into_iter().map(|(_, _, node)| node);
    nodes.take(STANDBYS).collect()
}
