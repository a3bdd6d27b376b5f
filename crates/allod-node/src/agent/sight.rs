//! What the agent sees: one value from which routes, names and the API's views are made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use allod_net::peer::PeerKey;
use allod_runtime::WorkloadId;
use allod_state::app::Waiting;
use allod_state::lease::Phase;
use allod_state::{AppId, LeaseId, NodeId, State};

use crate::agent::plan::{Local, Stage};
use crate::agent::{Agent, Leases, find, service_label, workload_of};
use crate::manifest::Manifest;
use crate::peers::peer_key;

/// All active leases of this node as this node sees them, and the apps whose manifests it can open.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sight {
    /// By workload.
    pub(crate) workloads: BTreeMap<WorkloadId, Seen>,
    /// Replicas of the same apps that other machines run.
    pub(crate) elsewhere: BTreeMap<WorkloadId, Elsewhere>,
    /// The newest manifest of each app, or the one its replicas still run. A route is intent: it is there whether or
    /// not anything serves it.
    pub(crate) apps: BTreeMap<AppId, Arc<Manifest>>,
    /// Those of them whose owner operates this machine: they alone have ports of it.
    pub(crate) own: BTreeSet<AppId>,
    /// Why services without any active lease have none.
    pub(crate) silent: BTreeMap<(AppId, String), Silence>,
}

/// Why a service has no active lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silence {
    pub(crate) cause: String,
    pub(crate) last: WorkloadId,
    pub(crate) since_ms: u64,
}

/// One active lease of another node, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub(crate) lease: LeaseId,
    pub(crate) epoch: u64,
    pub(crate) app: AppId,
    pub(crate) service: String,
    pub(crate) replica: u32,
    pub(crate) node: NodeId,
    pub(crate) peer: PeerKey,
    pub(crate) node_name: String,
    pub(crate) is_ready: bool,
    pub(crate) since_ms: u64,
}

/// One active lease of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lease: LeaseId,
    pub(crate) epoch: u64,
    pub(crate) app: AppId,
    pub(crate) service: String,
    pub(crate) replica: u32,
    pub(crate) image: String,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) is_running: bool,
    pub(crate) is_ready: bool,
    pub(crate) has_ended: bool,
    pub(crate) since_ms: u64,
    pub(crate) stage: String,
    pub(crate) detail: Option<String>,
}

impl Agent {
    pub(super) fn sight(&self, state: &State, leases: &Leases) -> Sight {
        let mut sight = self.intent(state);
        sight.elsewhere = self.elsewhere(state, &sight);
        for (id, (lease_id, lease, manifest)) in leases {
            let Some(manifest) = manifest else {
                continue;
            };
            let Some((name, service)) = find(manifest, lease) else {
                continue;
            };
            let entry = self.entries.get(id);
            let local = entry.map(|entry| entry.local.clone()).unwrap_or_default();
            let stage = local.stage;
            let is_ready = local.is_ready && !local.is_held;
            let digest = service.image.digest.clone().unwrap_or_default();
            let words = self.words(&local, &lease.phase, &digest);
            sight.workloads.insert(
                *id,
                Seen {
                    lease: *lease_id,
                    epoch: lease.epoch,
                    app: lease.app,
                    service: name.to_owned(),
                    replica: lease.replica,
                    image: digest,
                    address: entry.and_then(|entry| entry.address),
                    is_running: stage == Stage::Running,
                    // One that is to end is in no route any more.
                    is_ready: is_ready && stage == Stage::Running && lease.ending.is_none(),
                    has_ended: matches!(stage, Stage::Exited(_) | Stage::Failed(_)),
                    since_ms: lease.placed_ms,
                    stage: words,
                    detail: entry.and_then(|entry| entry.detail.clone()),
                },
            );
        }
        sight
    }

    /// Every app this node can read, and what is known of services that have no lease.
    fn intent(&self, state: &State) -> Sight {
        let mut sight = Sight::default();
        let operator = state.node(&self.inner.node).map(|node| node.operator);
        for (id, app) in state.apps() {
            let manifest = state.revision(&(*id, app.revision)).and_then(|revision| {
                self.inner
                    .manifests
                    .manifest(&revision.manifest, &app.label, &self.inner.identity)
            });
            let Some(manifest) = manifest else {
                continue;
            };
            for name in manifest.services.keys() {
                let key = (*id, service_label(&app.label, name), 0);
                let Some(slot) = state.slot(&key).filter(|slot| slot.current.is_none()) else {
                    continue;
                };
                let cause = slot
                    .waiting
                    .as_ref()
                    .map_or_else(String::new, waiting_words);
                let last = LeaseId::of(&key, slot.epoch);
                let since_ms = state.lease(&last).and_then(|lease| lease.ended_ms());
                let silence = Silence {
                    cause,
                    last: WorkloadId {
                        lease: last.0,
                        epoch: slot.epoch,
                    },
                    since_ms: since_ms.unwrap_or(app.created_ms),
                };
                sight.silent.insert((*id, name.clone()), silence);
            }
            sight.apps.insert(*id, manifest);
            if operator == Some(app.owner) {
                sight.own.insert(*id);
            }
        }
        sight
    }

    /// What other machines run of the apps that this node can read.
    fn elsewhere(&self, state: &State, sight: &Sight) -> BTreeMap<WorkloadId, Elsewhere> {
        let mut elsewhere = BTreeMap::new();
        for (app, manifest) in &sight.apps {
            let leases = state.active_leases_of(app);
            let leases = leases
                .iter()
                .filter_map(|id| Some((*id, state.lease(id)?)))
                .filter(|(_, lease)| lease.node != self.inner.node);
            for (id, lease) in leases {
                let Some((service, _)) = find(manifest, &lease) else {
                    continue;
                };
                let Some(node) = state.node(&lease.node) else {
                    continue;
                };
                let seen = Elsewhere {
                    lease: id,
                    epoch: lease.epoch,
                    app: *app,
                    service: service.to_owned(),
                    replica: lease.replica,
                    node: lease.node,
                    peer: peer_key(&node.key),
                    node_name: node.name.to_string(),
                    is_ready: matches!(lease.phase, Phase::Ready { .. }),
                    since_ms: lease.placed_ms,
                };
                elsewhere.insert(workload_of(&id, &lease), seen);
            }
        }
        elsewhere
    }

    fn words(&self, local: &Local, phase: &Phase, digest: &str) -> String {
        match (local.stage, local.is_busy) {
            (Stage::Unprepared, true) => match self.inner.images.progress(digest) {
                Some((got, all)) => {
                    format!("pulling {} of {} MB", got / 1_000_000, all / 1_000_000)
                }
                None => "preparing the image".to_owned(),
            },
            (Stage::Unprepared, false) => "queued".to_owned(),
            (Stage::Prepared, true) => "starting".to_owned(),
            (Stage::Prepared, false) if local.is_unconfirmed => {
                "about to start, once most of its witnesses confirm it".to_owned()
            }
            (Stage::Prepared, false) => {
                "about to start, once what it depends on is ready".to_owned()
            }
            (Stage::Running, true) => "stopping".to_owned(),
            (Stage::Running, false) if local.is_unconfirmed => {
                "standing still, until most of its witnesses confirm it again".to_owned()
            }
            (Stage::Running, false) if local.is_ready && !local.is_held => "ready".to_owned(),
            (Stage::Running, false) if matches!(phase, Phase::Ready { .. }) => "unready".to_owned(),
            (Stage::Running, false) => "running, not ready yet".to_owned(),
            (Stage::Exited(cause) | Stage::Failed(cause), _) => cause.to_string(),
        }
    }
}

/// Why a replica has no lease, for people.
pub(crate) fn waiting_words(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Queued => "waiting for a node".to_owned(),
        Waiting::NoPlacement(why) => format!("no node can run it: {why}"),
        Waiting::NeedsOwner => "needs its owner: no machine that can read it is reached; `allod deploy` it again, or wait \
             until one is back"
            .to_owned(),
        Waiting::ForVolume { node } => {
            format!("waiting for its volume: the data are on {node}, which is not reached")
        }
        Waiting::BackingOff(cause) => format!("backing off: {cause}"),
        Waiting::Completed(cause) => format!("completed: {cause}"),
    }
}
