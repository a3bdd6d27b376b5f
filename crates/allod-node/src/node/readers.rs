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
    let leases = leases.iter().filter_map(|id| state.lease(id));
    let holders: BTreeSet<NodeId> = leases.map(|lease| lease.node).collect();
    let own = state.nodes().filter(|(_, node)| node.operator == app.owner);
    let mut readers: Vec<NodeId> = holders.iter().copied().collect();
    readers.extend(own.map(|(id, _)| *id));
    for label in app.services.keys() {
        readers.extend(standbys(state, &app, &(*id, *label, 0), &holders));
    }
    let mut seen = BTreeSet::new();
    readers.retain(|node| seen.insert(*node));
    // One wrap is the owner's.
    readers.truncate(WRAPS_PER_MANIFEST_MAX - 1);
    readers
}

/// Nodes that could take a service over from the holders of the app's leases.
fn standbys(state: &State, app: &App, slot: &SlotKey, holders: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let (id, label, _) = slot;
    let service = app.services.get(label);
    let demand = service.and_then(|service| state.demand(id, service.revision, label));
    let Some((service, mut demand)) = service.zip(demand) else {
        return Vec::new();
    };
    // Where it would go if all of it had to.
    demand.constraints.is_together = false;
    let wanted = Wanted {
        slot,
        epoch: 1,
        app,
        revision: service.revision,
        demand: &demand,
        freed: None,
    };
    let could = |verdict: &&Verdict| {
        let mut failing = verdict.failing.iter();
        failing.all(|failing| matches!(failing, Failing::NotSealed))
    };
    let operator = |node: &NodeId| state.node(node).map(|node| node.operator);
    let held_by: BTreeSet<Option<AccountId>> = holders.iter().map(operator).collect();
    let said = verdicts(state, &wanted, None, VERDICT_NODES_MAX);
    let others = said
        .iter()
        .filter(could)
        .filter(|verdict| !holders.contains(&verdict.node));
    let mut ranked: Vec<(bool, Option<Credits>, NodeId)> = others
        .map(|verdict| {
            let is_of_a_holder = held_by.contains(&operator(&verdict.node));
            (is_of_a_holder, verdict.price_per_hour, verdict.node)
        })
        .collect();
    ranked.sort_unstable();
    let nodes = ranked.into_iter().map(|(_, _, node)| node);
    nodes.take(STANDBYS).collect()
}
