//! The way in for other machines: their tunnels to workloads that run here.
//!
//! Rules:
//! - A machine reaches the workloads of apps that it can read the manifest of, or whose owner operates it; of those, the
//!   ports that the manifest names. Whatever else is asked for is refused without a word about what there is.
//! - A workload that is being taken away is waited for until its tunnels have ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use allod_net::peer::{PeerKey, Tunnel};
use allod_runtime::WorkloadId;
use allod_state::lease::Lease;
use allod_state::{LeaseId, NodeId, PublicKey, State};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::{Sight, find};
use crate::inner::Inner;
use crate::limits::TUNNEL_IDLE;
use crate::manifest::Service;

/// Where a tunnel leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Target {
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
        let sight = Arc::clone(&seen.borrow());
        let Some((id, address)) = led_to(inner, &sight, tunnel.from, &tunnel.target) else {
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
    target: &[u8],
) -> Option<(WorkloadId, SocketAddr)> {
    let target: Target = borsh::from_slice(target).ok()?;
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
