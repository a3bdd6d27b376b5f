//! Readers: this machine wraps the keys of apps that it can read for machines that could take them over.
//!
//! Rules:
//! 1. The law names those machines ([`allod_state::app::reader`]), and the owner need not be there.
//! 2. Of the machines that can read an app, those that run it are the first to do it. The others give one another time, in
//!    an order that is the same for all, so that it is done once.
//! 3. What runs on one machine alone, because its image was handed over there, is sealed for no other.
//! 4. What the ledger does not take is tried again after a pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use allod_state::app::reader::{AddReaders, lacking};
use allod_state::app::{SealedManifest, Wrap};
use allod_state::{AppId, NodeId, State};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::agent::chain;
use crate::inner::Inner;
use crate::limits::{READERS_PAUSE, READERS_PERIOD, READERS_TURN};
use crate::manifest::{ImageSource, Manifest};
use crate::seal::{Holder, Opener, Scope, rewrap};

/// An app and its revision.
type Sealed = (AppId, u64);

/// Sees to it that others can take over what this machine can read, for ever.
pub(crate) async fn keep(inner: &Arc<Inner>) {
    let mut look = interval(READERS_PERIOD);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turns = Turns::default();
    let mut height = None;
    loop {
        look.tick().await;
        let state = inner.ledger.state();
        let is_new = height.replace(state.tip().height) != Some(state.tip().height);
        if !is_new && turns.0.is_empty() {
            continue;
        }
        let all = wanting(&state, inner);
        for sealed in turns.due(&state, inner.node, &all, Instant::now()) {
            if let Some(others) = all.get(&sealed) {
                add(inner, &state, sealed, others).await;
            }
        }
    }
}

/// What this machine can read, and others are to.
fn wanting(state: &State, inner: &Inner) -> BTreeMap<Sealed, BTreeSet<NodeId>> {
    let mut wanting = BTreeMap::new();
    for (id, app) in state.apps() {
        let revisions: BTreeSet<u64> = app.services.values().map(|one| one.revision).collect();
        for revision in revisions {
            let row = state.revision(&(*id, revision));
            let manifest = row.and_then(|row| {
                let manifests = &inner.manifests;
                manifests.manifest(&row.manifest, &app.label, &inner.identity)
            });
            if !manifest.is_some_and(|manifest| can_go_elsewhere(&manifest)) {
                continue;
            }
            let others = lacking(state, id, revision, &mut 0);
            if !others.is_empty() {
                wanting.insert((*id, revision), others);
            }
        }
    }
    wanting
}

/// Whether another machine can have its images.
fn can_go_elsewhere(manifest: &Manifest) -> bool {
    let mut services = manifest.services.values();
    services.all(|service| service.image.source != ImageSource::Archive)
}

/// When this machine wraps what is wanting.
#[derive(Debug, Default)]
struct Turns(BTreeMap<Sealed, Instant>);

impl Turns {
    /// What is to be wrapped now; it will be again after a pause, should it still be wanting.
    fn due(
        &mut self,
        state: &State,
        own: NodeId,
        wanting: &BTreeMap<Sealed, BTreeSet<NodeId>>,
        now: Instant,
    ) -> Vec<Sealed> {
        self.0.retain(|sealed, _| wanting.contains_key(sealed));
        let mut due = Vec::new();
        for sealed in wanting.keys() {
            let at = self.0.entry(*sealed).or_insert_with(|| {
                let before = order(state, sealed)
                    .iter()
                    .take_while(|node| **node != own)
                    .count();
                now + READERS_TURN * u32::try_from(before).unwrap_or(u32::MAX)
            });
            if *at <= now {
                *at = now + READERS_PAUSE;
                due.push(*sealed);
            }
        }
        due
    }
}

/// The machines that can read an app and are reached, as far as is known; those that run it first.
fn order(state: &State, (id, revision): &Sealed) -> Vec<NodeId> {
    let leases = state.active_leases_of(id);
    let leases = leases.iter().filter_map(|id| state.lease(id));
    let holders: BTreeSet<NodeId> = leases.map(|lease| lease.node).collect();
    let row = state.revision(&(*id, *revision));
    let wraps = row.into_iter().flat_map(|row| row.manifest.wraps);
    let is_reached = |node: &NodeId| state.node(node).is_some_and(|node| !node.is_unreachable);
    let mut readers: Vec<NodeId> = wraps
        .map(|wrap| NodeId(wrap.holder))
        .filter(is_reached)
        .collect();
    readers.sort_unstable_by_key(|node| (!holders.contains(node), *node));
    readers
}

async fn add(inner: &Inner, state: &State, (id, revision): Sealed, others: &BTreeSet<NodeId>) {
    let row = state.app(&id).zip(state.revision(&(id, revision)));
    let Some((app, row)) = row else {
        return;
    };
    let scope = Scope {
        network: state.network(),
        app: app.label,
    };
    let wraps = wrapped(inner, state, &row.manifest, &scope, others);
    if wraps.is_empty() {
        return;
    }
    let node = inner.node;
    let action = AddReaders {
        node,
        app: id,
        revision,
        wraps,
    };
    match inner.signer.submit(vec![action.into()]).await {
        Ok(_) => tracing::info!(app = %id, "sealed for machines that could take it over"),
        Err(error) => {
            tracing::warn!(app = %id, error = %chain(&error), "not sealed for machines that could take it over");
        }
    }
}

/// The app's key for each of `others`. One whose own key is bad is left out.
fn wrapped(
    inner: &Inner,
    state: &State,
    manifest: &SealedManifest,
    scope: &Scope,
    others: &BTreeSet<NodeId>,
) -> Vec<Wrap> {
    let key = inner.identity.sealing_key();
    let wrap = |node: &NodeId| {
        let holder = Holder {
            id: node.0,
            sealing_key: state.node(node)?.sealing_key,
        };
        let opener = Opener {
            id: *inner.node.as_bytes(),
            key: &key,
        };
        match rewrap(manifest, scope, opener, &[holder]) {
            Ok(mut wraps) => wraps.pop(),
            Err(error) => {
                tracing::warn!(%node, %error, "an app's key cannot be wrapped for it");
                None
            }
        }
    };
    others.iter().filter_map(wrap).collect()
}
