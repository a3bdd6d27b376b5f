//! Readers: the machines for which an app's manifest is sealed.
//!
//! Rules:
//! 1. An app is sealed for its owner, for the machines that run it, for its owner's own, by whose doors it is reached, and
//!    for each service for [`STANDBYS`] that could take it over.
//! 2. Where fewer than that could, because one of them runs it now, is gone or has no room any more, the law names others
//!    ([`lacking`]). Whoever can read the app may wrap its key for those, and for nobody else. Its owner need not be there.
//! 3. With that, those lose their wraps who have nothing to do with the app any more: they do not run it, could not, keep
//!    none of its data and are not the owner's. What they have read they have read: no later revision is sealed for them.
//! 4. Where none of its readers is reached, nobody but its owner can help ([`crate::app::Waiting::NeedsOwner`]).

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::app::{App, Slot, Waiting, Wrap};
use crate::apply::Context;
use crate::event::Event;
use crate::id::{AppId, Label, NodeId};
use crate::limits::{
    EFFORT_PER_ROW, EFFORT_PER_SLOT, STANDBYS, WRAP_BYTES_MAX, WRAPS_PER_MANIFEST_MAX,
};
use crate::place::standbys;
use crate::reject::Rejection;
use crate::state::State;
use crate::transaction::Apply;

/// The machines for which an app is to be sealed when it is deployed, in a state in which anybody may run it. The rest of
/// the network learns nothing of it.
#[must_use]
pub fn readers(state: &State, id: &AppId) -> Vec<NodeId> {
    let Some(app) = state.app(id) else {
        return Vec::new();
    };
    let holders = holders(state, id);
    let own = state.nodes().filter(|(_, node)| node.operator == app.owner);
    let mut readers: Vec<NodeId> = holders.iter().copied().collect();
    readers.extend(own.map(|(id, _)| *id));
    for label in app.services.keys() {
        let others = standbys(state, (id, &app), label, &holders, &mut 0);
        readers.extend(others.iter().map(|other| other.node).take(STANDBYS));
    }
    let mut seen = BTreeSet::new();
    readers.retain(|node| seen.insert(*node));
    // One wrap is the owner's.
    readers.truncate(WRAPS_PER_MANIFEST_MAX - 1);
    readers
}

/// The machines for which a revision of an app is to be sealed besides, so that it can go on where what runs it goes. None
/// where it was sealed for no machine. `effort` counts what was looked at.
pub fn lacking(state: &State, id: &AppId, revision: u64, effort: &mut u64) -> BTreeSet<NodeId> {
    let Some(app) = state.app(id) else {
        return BTreeSet::new();
    };
    if state.readers_of(id, revision).is_empty() {
        return BTreeSet::new();
    }
    let holders = holders(state, id);
    let mut lacking = BTreeSet::new();
    for label in services_at(&app, revision) {
        let all = standbys(state, (id, &app), label, &holders, effort);
        let ready = all.iter().filter(|standby| standby.is_reader).count();
        let others = all.iter().filter(|standby| !standby.is_reader);
        let others = others.map(|standby| standby.node);
        lacking.extend(others.take(STANDBYS.saturating_sub(ready)));
    }
    lacking
}

/// Wraps an app's key for machines that the law names. Only a machine that can read the app can.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AddReaders {
    /// The machine that has wrapped it.
    pub node: NodeId,
    /// The app.
    pub app: AppId,
    /// The revision whose manifest it is.
    pub revision: u64,
    /// The key, for each of them.
    pub wraps: Vec<Wrap>,
}

impl Apply for AddReaders {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        let wraps = u64::try_from(self.wraps.len()).unwrap_or(u64::MAX);
        wraps.saturating_mul(50).saturating_add(500)
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.node)?;
        if self.wraps.is_empty()
            || self.wraps.len() > WRAPS_PER_MANIFEST_MAX
            || self
                .wraps
                .iter()
                .any(|wrap| wrap.key.len() > WRAP_BYTES_MAX)
        {
            return Err(Rejection::too_many("wrapped keys, or one is too long"));
        }
        let (id, revision) = (self.app, self.revision);
        let app = context.state.app(&id);
        let app = app.ok_or(Rejection::UnknownApp { app: id })?;
        let row = context.state.revision(&(id, revision));
        let mut row = row.ok_or(Rejection::UnknownRevision { revision })?;
        let stranger = |node| Rejection::NotAReader { node };
        let mut read_by: BTreeSet<NodeId> = context.state.readers_of(&id, revision);
        if !read_by.contains(&self.node) {
            return Err(stranger(self.node));
        }
        let mut effort = 0;
        let lacking = lacking(context.state, &id, revision, &mut effort);
        context.toil(effort);
        let before = row.manifest.wraps.len();
        for wrap in &self.wraps {
            let node = NodeId(wrap.holder);
            // Somebody else was sooner.
            if read_by.contains(&node) {
                continue;
            }
            if !lacking.contains(&node) {
                return Err(stranger(node));
            }
            read_by.insert(node);
            row.manifest.wraps.push(wrap.clone());
        }
        if row.manifest.wraps.len() == before {
            return Ok(());
        }
        let needed = needed(context, &id, &app, revision);
        let is_needed = |wrap: &Wrap| {
            let node = NodeId(wrap.holder);
            lacking.contains(&node) || !read_by.contains(&node) || needed.contains(&node)
        };
        row.manifest.wraps.retain(is_needed);
        if row.manifest.wraps.len() > WRAPS_PER_MANIFEST_MAX {
            return Err(Rejection::too_many("readers of the app"));
        }
        context.state.put_revision((id, revision), row);
        context.emit(Event::ReadersAdded { app: id, revision });
        wake(context, &id);
        Ok(())
    }
}

/// The machines that have an app's leases.
fn holders(state: &State, id: &AppId) -> BTreeSet<NodeId> {
    let leases = state.active_leases_of(id);
    let leases = leases.iter().filter_map(|id| state.lease_row(id));
    leases.map(|lease| lease.node).collect()
}

/// The services that are to run a revision.
fn services_at(app: &App, revision: u64) -> impl Iterator<Item = &Label> {
    let services = app.services.iter();
    services
        .filter(move |(_, service)| service.revision == revision)
        .map(|(label, _)| label)
}

/// The machines that have something to do with an app.
fn needed(context: &mut Context<'_>, id: &AppId, app: &App, revision: u64) -> BTreeSet<NodeId> {
    let state = &context.state;
    let holders = holders(state, id);
    let own = state.readers_of(id, revision).into_iter();
    let own = own.filter(|node| state.operator_of(node) == Some(app.owner));
    let data = state.volumes_of(&app.owner, &app.label);
    let data = data.iter().map(|(_, volume)| volume.node);
    let mut needed: BTreeSet<NodeId> = own.chain(data).collect();
    let mut effort = 0;
    for label in services_at(app, revision) {
        let all = standbys(state, (id, app), label, &holders, &mut effort);
        let ready = all.iter().filter(|standby| standby.is_reader);
        needed.extend(ready.map(|standby| standby.node));
    }
    needed.extend(holders);
    context.toil(effort);
    needed
}

/// Has the replicas that found no machine looked at again.
fn wake(context: &mut Context<'_>, id: &AppId) {
    for key in context.state.slots_of(id) {
        context.toil(EFFORT_PER_SLOT);
        let Some(slot) = context.state.slot(&key) else {
            continue;
        };
        let finds_none = matches!(
            slot.waiting,
            Some(Waiting::NoPlacement(_) | Waiting::NeedsOwner)
        );
        if slot.current.is_none() && finds_none {
            context.toil(EFFORT_PER_ROW);
            let due_ms = Some(context.now_ms);
            context.state.put_slot(key, Slot { due_ms, ..slot });
        }
    }
}
