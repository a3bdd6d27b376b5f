//! Apps whose services stay together, and move from one machine to another: mostly since theirs is drained, and to the end
//! also where that is taken back.
//!
//! The name of a service leads to replicas of the same machine only. So on either machine, whatever answers has to find all
//! the others beside it:
//! 1. Nothing of such an app is ready for others before each of its services has a replica here that is. What is ready on
//!    neither machine is waited for by nobody.
//! 2. What the world asks takes over first. What only the app itself asks stays current where it was until nothing that the
//!    world asks is left there, and is removed there last.

use std::collections::BTreeSet;

use allod_runtime::WorkloadId;
use allod_state::lease::{EndCause, Lease, Phase};
use allod_state::{Label, LeaseId, NodeId, State};

use super::{Agent, Leases, find};
use crate::manifest::Service;
use crate::time::steady_ms;

impl Agent {
    /// Holds back what others shall not be sent to yet, and lets go of the rest.
    pub(super) fn hold(&mut self, state: &State, leases: &Leases) {
        let held = leases
            .iter()
            .filter(|(_, (id, lease, _))| self.is_held(state, id, lease, leases));
        let held: BTreeSet<WorkloadId> = held.map(|(id, _)| *id).collect();
        for (id, (_, lease, manifest)) in leases {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            let found = manifest.as_ref().and_then(|manifest| find(manifest, lease));
            entry.local.is_asked = found.is_some_and(|(_, service)| is_asked(service));
            let was_held = std::mem::replace(&mut entry.local.is_held, held.contains(id));
            let is_ready = entry.local.is_ready && !entry.local.is_held;
            if let Some(tally) = &mut entry.tally
                && (was_held || entry.local.is_held)
            {
                tally.set_ready(is_ready, steady_ms());
            }
        }
    }

    fn is_held(&self, state: &State, id: &LeaseId, lease: &Lease, leases: &Leases) -> bool {
        let Some(left) = left_by(state, id, lease) else {
            return false;
        };
        let of_the_app = state.active_leases_of(&lease.app).into_iter();
        let others = of_the_app.filter_map(|id| state.lease(&id));
        let others = others.filter(|other| {
            let is_there = other.node == left && matches!(other.phase, Phase::Ready { .. });
            is_there && other.service != lease.service && is_together(state, other)
        });
        let others: BTreeSet<Label> = others.map(|other| other.service).collect();
        let app = lease.app;
        let here = |service: Label| {
            let here = leases.iter();
            here.filter(move |(_, (_, other, _))| other.app == app && other.service == service)
        };
        let is_there = |service: &Label| {
            let mut entries = here(*service).filter_map(|(id, _)| self.entries.get(id));
            entries.any(|entry| entry.local.is_ready)
        };
        let is_asked = |service: &Label| {
            let mut found = here(*service).filter_map(|(_, (_, lease, manifest))| {
                manifest.as_ref().and_then(|manifest| find(manifest, lease))
            });
            found.any(|(_, service)| is_asked(service))
        };
        let is_alone = others.iter().any(|service| !is_there(service));
        is_alone || !is_asked(&lease.service) && others.iter().any(is_asked)
    }

    /// Of what is to be removed, what waits until that of its app which the world asks is gone from here.
    pub(super) fn needed_to_the_end(
        &self,
        state: &State,
        ended: &BTreeSet<WorkloadId>,
    ) -> BTreeSet<WorkloadId> {
        let app_of = |id: &WorkloadId| self.entries.get(id)?.local.slot.map(|slot| slot.0);
        let asked = ended.iter().filter(|id| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| entry.local.is_asked && entry.local.stage.is_on_host())
        });
        let leaving: BTreeSet<_> = asked.filter_map(app_of).collect();
        let waits = |id: &&WorkloadId| {
            let is_asked = self.entries.get(id).is_some_and(|it| it.local.is_asked);
            let lease = state.lease(&LeaseId(id.lease));
            let was_replaced = lease.is_some_and(|lease| {
                let cause = EndCause::Superseded;
                matches!(lease.phase, Phase::Ended { cause: of, .. } if of == cause)
            });
            !is_asked && was_replaced && app_of(id).is_some_and(|app| leaving.contains(&app))
        };
        ended.iter().filter(waits).copied().collect()
    }
}

/// The machine that this lease takes its replica from.
fn left_by(state: &State, id: &LeaseId, lease: &Lease) -> Option<NodeId> {
    let slot = state.slot(&lease.slot())?;
    let current = state.lease(&slot.current?)?;
    let moves = slot.successor == Some(*id) && current.node != lease.node;
    (moves && is_together(state, lease)).then_some(current.node)
}

/// Whether it stays with the other services of its app.
pub(super) fn is_together(state: &State, lease: &Lease) -> bool {
    let demand = state.demand(&lease.app, lease.revision, &lease.service);
    demand.is_some_and(|demand| demand.constraints.is_together)
}

/// Whether others than its app ask it.
fn is_asked(service: &Service) -> bool {
    let is_published = service.ports.iter().any(|port| port.published.is_some());
    is_published || !service.ingress.is_empty()
}

#[cfg(test)]
mod tests;
