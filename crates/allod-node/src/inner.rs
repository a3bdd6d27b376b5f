//! What every part of a running node shares.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use allod_net::peer::Peers;
use allod_runtime::{Client, WorkloadId};
use allod_state::NodeId;
use tokio::sync::watch;

use crate::agent::Target;
use crate::archive::Archive;
use crate::details::Details;
use crate::doors::Doors;
use crate::identity::Identity;
use crate::images::Images;
use crate::ledger::Ledger;
use crate::lines::Lines;
use crate::manifests::Manifests;
use crate::peers::Unopened;
use crate::registries::Registries;
use crate::signer::Signer;
use crate::snapshots::Snapshots;

/// What every part of a running node shares.
pub(crate) struct Inner {
    /// What the node owns.
    pub(crate) dir: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) identity: Arc<Identity>,
    pub(crate) ledger: Ledger,
    pub(crate) signer: Signer,
    pub(crate) runtime: Client,
    pub(crate) images: Arc<Images>,
    /// What images may take before those that nobody needs go.
    pub(crate) images_bytes_max: u64,
    pub(crate) registries: Arc<Registries>,
    pub(crate) manifests: Manifests,
    pub(crate) archive: Archive,
    pub(crate) snapshots: Snapshots,
    pub(crate) details: Details,
    pub(crate) lines: Arc<Lines>,
    pub(crate) doors: Arc<Doors>,
    /// Until when exclusive replicas that others watch may run here, in boot time, as far as that is to come and the runtime
    /// was told so. Whoever waits for a change hears which they are, and not each time that they may run on.
    pub(crate) until: watch::Sender<BTreeMap<WorkloadId, u64>>,
    /// The other machines, once there are any to speak with.
    pub(crate) peers: watch::Receiver<Option<Peers>>,
    /// What others are to reach here and cannot yet.
    pub(crate) unopened: Unopened,
    /// What the ledger's file was found to have lost, once it was.
    pub(crate) damage: OnceLock<String>,
    /// Whether no member gave the snapshot that this start needed.
    pub(crate) lacks_snapshot: bool,
}

impl Inner {
    /// Whom to probe for a workload.
    pub(crate) fn target(&self, id: WorkloadId, address: Ipv4Addr) -> Target {
        Target {
            id,
            address,
            runtime: self.runtime.clone(),
        }
    }
}
