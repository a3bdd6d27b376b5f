//! Upgraded connections: after both sides agreed to change the protocol, bytes pass unread.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tracing::debug;

use crate::ingress::counters::Meter;
use crate::ingress::upstream::Lease;
use crate::limits::UPGRADE_TIMEOUT;
use crate::places::Busy;
use crate::pump::{self, Moved};

/// A connection about to change its protocol.
pub(crate) struct Tunnel {
    pub(crate) of_client: OnUpgrade,
    pub(crate) of_backend: OnUpgrade,
    pub(crate) idle: Duration,
    pub(crate) meter: Arc<Meter>,
    /// The client's connection keeps its place, though HTTP has ended on it; free again before the lease is.
    pub(crate) _busy: Busy,
    /// The tunnel counts as an open request of its backend while it lasts.
    pub(crate) lease: Lease,
}

impl Tunnel {
    /// Carries bytes until both sides have ended or both were silent for too long.
    pub(crate) async fn carry(self) {
        let both = async { tokio::try_join!(self.of_client, self.of_backend) };
        let (client, backend) = match timeout(UPGRADE_TIMEOUT, both).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return debug!(%error, "an upgrade was not completed"),
            Err(_) => return debug!("an upgrade was not completed in time"),
        };
        let moved = Moved::to(&self.meter.bytes_in, &self.meter.bytes_out);
        let joined = pump::join(
            TokioIo::new(client),
            TokioIo::new(backend),
            self.idle,
            &moved,
        )
        .await;
        debug!(replica = %self.lease.backend().replica, error = ?joined.err(), "a tunnel ended");
    }
}
