//! The way in for other machines: their tunnels to workloads that run here, and to the API of this machine.
//!
//! Rules:
//! - A machine reaches the workloads of apps that it can read the manifest of, or whose owner operates it; of those, the
//!   ports that the manifest names. Whatever else is asked for is refused without a word about what there is.
//! - What is asked of the API in this way is for the API to judge: whose it is, its signature says.
//! - A workload that is being taken away is waited for until its tunnels have ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use allod_net::peer::{PeerKey, Tunnel, TunnelStream};
use allod_runtime::WorkloadId;
use allod_state::lease::Lease;
use allod_state::{LeaseId, NodeId, PublicKey, State};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::{Sight, find};
use crate::inner::Inner;
use crate::limits::{PEER_CALLS_WAITING_MAX, TUNNEL_IDLE};
use crate::manifest::Service;

/// Where a tunnel leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Target {
    /// To a workload.
    Workload(Place),
    /// To the machine's API.
    Api,
}

/// A port of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Place {
    pub(crate) lease: LeaseId,
    pub(crate) epoch: u64,
    /// The port inside the workload.
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn to_bytes(self) -> Bytes {
        allod_state::codec::encode(&self).into()
    }
}

/// A connection to this machine's API, of another machine.
#[derive(Debug)]
pub struct PeerCall {
    tunnel: Tunnel,
}

impl PeerCall {
    /// The key of the machine that calls.
    #[must_use]
    pub const fn from(&self) -> &[u8; 32] {
        &self.tunnel.from.0
    }

    /// Takes it.
    ///
    /// # Errors
    /// Where the machine has gone meanwhile.
    pub async fn accept(self) -> std::io::Result<TunnelStream> {
        self.tunnel.accept().await
    }
}

/// Where those connections wait for the API.
#[derive(Debug)]
pub(crate) struct Calls {
    sender: mpsc::Sender<PeerCall>,
    receiver: Mutex<Option<mpsc::Receiver<PeerCall>>>,
}

impl Default for Calls {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(PEER_CALLS_WAITING_MAX);
        let receiver = Mutex::new(Some(receiver));
        Self { sender, receiver }
    }
}

impl Calls {
    /// Those that come from now on, for the first who asks.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<PeerCall>> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.take()
    }
}

/// How many tunnels lead to each workload.
#[derive(Debug, Default)]
pub(crate) struct Open {
    counts: Mutex<BTreeMap<WorkloadId, usize>>,
}

/// One of them, while it is open.
struct Counted<'a> {
    open: &'a Open,
    id: WorkloadId,
}

impl Open {
    /// How many lead to that workload.
    pub(crate) fn to(&self, id: &WorkloadId) -> usize {
        self.lock().get(id).copied().unwrap_or(0)
    }

    fn count(&self, id: WorkloadId) -> Counted<'_> {
        let mut counts = self.lock();
        let count = counts.entry(id).or_insert(0);
        *count = count.saturating_add(1);
        Counted { open: self, id }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkloadId, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut counts = self.open.lock();
        if let Some(count) = counts.get_mut(&self.id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.id);
            }
        }
    }
}

/// Lets tunnels in, as long as there are any.
pub(crate) async fn admit(
    inner: &Arc<Inner>,
    seen: &watch::Receiver<Arc<Sight>>,
    tunnels: Option<mpsc::Receiver<Tunnel>>,
) {
    let Some(mut tunnels) = tunnels else {
        return;
    };
    let mut open = JoinSet::new();
    while let Some(tunnel) = tunnels.recv().await {
        while open.try_join_next().is_some() {}
        let place = match borsh::from_slice(&tunnel.target) {
            Ok(Target::Workload(place)) => Some(place),
            Ok(Target::Api) => {
                // Where too many wait, it is refused.
                let _ = inner.doors.calls.sender.try_send(PeerCall { tunnel });
                continue;
            }
            Err(_) => None,
        };
        let sight = Arc::clone(&seen.borrow());
        let led = place.and_then(|place| led_to(inner, &sight, tunnel.from, place));
        let Some((id, address)) = led else {
            tracing::debug!(peer = ?tunnel.from, "a tunnel leads nowhere");
            continue;
        };
        let inner = Arc::clone(inner);
        open.spawn(async move {
            let _counted = inner.doors.tunnels.count(id);
            if let Err(error) = tunnel.carry(address, TUNNEL_IDLE).await {
                tracing::debug!(workload = %id, %error, "a tunnel ended");
            }
        });
    }
}

/// The workload and its address that a tunnel leads to, where that peer may reach it.
fn led_to(
    inner: &Inner,
    sight: &Sight,
    from: PeerKey,
    target: Place,
) -> Option<(WorkloadId, SocketAddr)> {
    let id = WorkloadId {
        lease: target.lease.0,
        epoch: target.epoch,
    };
    let state = inner.ledger.state();
    let lease = state.lease(&target.lease)?;
    let is_it = lease.node == inner.node && lease.epoch == target.epoch;
    if !is_it || !may_reach(&state, &lease, from) {
        return None;
    }
    let manifest = inner.manifests.opened(&lease.manifest)?;
    let (_, service) = find(&manifest, &lease)?;
    if !is_named(service, target.port) {
        return None;
    }
    let address = sight.workloads.get(&id)?.address?;
    Some((id, SocketAddr::from((address, target.port))))
}

/// Whether a machine may reach a lease's workload.
fn may_reach(state: &State, lease: &Lease, from: PeerKey) -> bool {
    let key = PublicKey::Ed25519(from.0);
    let id = NodeId::of_first_key(&key);
    let Some(node) = state.node(&id).filter(|node| node.key == key) else {
        return false;
    };
    let revision = state.revision(&(lease.app, lease.revision));
    let mut wraps = revision.into_iter().flat_map(|row| row.manifest.wraps);
    node.operator == lease.payer || wraps.any(|wrap| wrap.holder == id.0)
}

fn is_named(service: &Service, port: u16) -> bool {
    let mut ports = service.ports.iter().map(|port| port.container);
    let mut ingress = service.ingress.iter().map(|ingress| ingress.port);
    ports.any(|named| named == port) || ingress.any(|named| named == port)
}
