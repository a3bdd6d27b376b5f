//! Fetching the sealed manifests that this machine is to read: they were handed to the machine by which their owner
//! deployed, and every machine that has one gives it to members who ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use allod_net::peer::PeerKey;
use allod_state::app::SealedManifest;
use allod_state::{Digest, NodeId, State};
use tokio::time::{Instant, sleep};

use crate::agent::{Agent, Event};
use crate::inner::Inner;
use crate::limits::{MANIFEST_PAUSE, MANIFEST_SOURCES_MAX, MANIFEST_WAIT};
use crate::peers::{self, peer_key};

/// The manifests that are not here yet.
#[derive(Debug, Default)]
pub(super) struct Awaited(BTreeMap<Digest, Wait>);

#[derive(Debug)]
struct Wait {
    since: Instant,
    is_asked: bool,
}

impl Awaited {
    /// Whether it may still come.
    pub(super) fn may_come(&self, digest: &Digest) -> bool {
        let wait = self.0.get(digest);
        wait.is_some_and(|wait| wait.since.elapsed() < MANIFEST_WAIT)
    }

    /// It was asked for; it may be asked for again.
    pub(super) fn asked(&mut self, digest: &Digest) {
        if let Some(wait) = self.0.get_mut(digest) {
            wait.is_asked = false;
        }
    }
}

impl Agent {
    /// Asks for what this machine is to read and does not have.
    pub(super) fn fetch(&mut self, state: &State) {
        let absent = self.absent(state);
        let digests: BTreeSet<Digest> = absent.iter().map(|sealed| sealed.ciphertext).collect();
        self.awaited.0.retain(|digest, _| digests.contains(digest));
        for sealed in absent {
            let digest = sealed.ciphertext;
            let wait = self.awaited.0.entry(digest).or_insert_with(|| Wait {
                since: Instant::now(),
                is_asked: false,
            });
            if wait.is_asked {
                continue;
            }
            wait.is_asked = true;
            let (inner, events) = (Arc::clone(&self.inner), self.events.clone());
            let sources = sources(state, &inner.node, &sealed);
            self.tasks.spawn(async move {
                if !fetch(&inner, digest, &sources).await {
                    sleep(MANIFEST_PAUSE).await;
                }
                // The loop has ended when nobody listens any more.
                let _ = events.send(Event::ManifestAsked(digest)).await;
            });
        }
    }

    /// What is sealed for this machine, of the newest revisions and of those that run here, and is not here.
    fn absent(&self, state: &State) -> Vec<SealedManifest> {
        let newest = state.apps().map(|(id, app)| (*id, app.revision));
        let leases = state.active_leases_on(&self.inner.node);
        let leases = leases.iter().filter_map(|id| state.lease(id));
        let mut wanted: BTreeSet<_> = leases.map(|lease| (lease.app, lease.revision)).collect();
        wanted.extend(newest);
        let revisions = wanted.iter().filter_map(|key| state.revision(key));
        let sealed = revisions.map(|revision| revision.manifest);
        let manifests = &self.inner.manifests;
        let is_absent = |sealed: &SealedManifest| {
            manifests.is_for_this(sealed) && !manifests.has(&sealed.ciphertext)
        };
        sealed.filter(is_absent).collect()
    }
}

/// Whom to ask: those who can read it, then others.
fn sources(state: &State, own: &NodeId, sealed: &SealedManifest) -> Vec<PeerKey> {
    let readers = sealed.wraps.iter().map(|wrap| NodeId(wrap.holder));
    let others = state.nodes().map(|(id, _)| *id);
    let mut seen = BTreeSet::from([*own]);
    let all = readers.chain(others).filter(|id| seen.insert(*id));
    let keys = all.filter_map(|id| Some(peer_key(&state.node(&id)?.key)));
    keys.take(MANIFEST_SOURCES_MAX).collect()
}

/// Asks one after the other; whether it is here now.
async fn fetch(inner: &Inner, digest: Digest, sources: &[PeerKey]) -> bool {
    let Some(peers) = inner.peers.borrow().clone() else {
        return false;
    };
    for source in sources {
        let Some(ciphertext) = peers::manifest(&peers, *source, digest).await else {
            continue;
        };
        match inner.manifests.keep(&ciphertext) {
            Ok(_) => return true,
            Err(error) => {
                tracing::warn!(%error, "a sealed manifest that was fetched is not kept");
                return false;
            }
        }
    }
    tracing::debug!(%digest, "nobody who was asked has the sealed manifest");
    false
}
