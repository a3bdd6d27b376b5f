//! A published TCP port: each connection is joined with one to a ready replica.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::backend::{Backend, BackendId, Loads, Pick, Readiness, Ticket};
use crate::limits::{ACCEPT_PAUSE, ATTEMPTS_MAX, PortLimits};
use crate::location::{Dialer, Stream};
use crate::published::{Meter, Way};
use crate::pump::{self, Moved};

/// Takes connections until the port is withdrawn, then returns once the last has ended.
pub(crate) async fn serve(listener: TcpListener, way: Way) {
    let Way {
        port,
        backends,
        released,
        meter,
        loads,
        dialer,
        limits,
    } = way;
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut withdrawn = backends.clone();
    let mut connections = JoinSet::new();
    let link = Link {
        backends,
        meter,
        loads,
        dialer,
        limits,
    };
    loop {
        tokio::select! {
            accepted = accept(&listener, &places) => match accepted {
                Ok((client, place)) => {
                    connections.spawn(link.clone().carry(client, place));
                }
                Err(error) => {
                    warn!(%port, %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = is_withdrawn(&mut withdrawn) => break,
        }
    }
    drop(listener);
    free(released);
    while connections.join_next().await.is_some() {}
}

/// Returns when the port is no longer published.
pub(crate) async fn is_withdrawn(backends: &mut watch::Receiver<Arc<[Backend]>>) {
    while backends.changed().await.is_ok() {}
}

/// Says that the socket is closed.
pub(crate) fn free(released: oneshot::Sender<()>) {
    let _ = released.send(());
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (client, _) = listener.accept().await?;
    Ok((client, place))
}

/// What every connection of a port needs.
#[derive(Clone)]
struct Link {
    backends: watch::Receiver<Arc<[Backend]>>,
    meter: Arc<Meter>,
    loads: Arc<Loads>,
    dialer: Dialer,
    limits: Arc<PortLimits>,
}

impl Link {
    async fn carry(mut self, client: TcpStream, place: OwnedSemaphorePermit) {
        self.meter.connections.fetch_add(1, Ordering::Relaxed);
        let Some((backend, ticket)) = self.reach().await else {
            self.meter.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let _ = client.set_nodelay(true);
        let moved = Moved::to(&self.meter.bytes_in, &self.meter.bytes_out);
        let ended = pump::join(client, backend, self.limits.stream_idle, &moved).await;
        debug!(replica = %ticket.id().replica, error = ?ended.err(), "a connection ended");
        drop(place);
    }

    /// Connects to a ready replica; to another one when the first does not answer.
    async fn reach(&mut self) -> Option<(Box<dyn Stream>, Ticket)> {
        let deadline = Instant::now() + self.limits.ready_hold;
        let mut failed: Option<BackendId> = None;
        for attempt in 1..=ATTEMPTS_MAX {
            let ticket = self.find(failed.as_ref(), deadline).await?;
            let has_other = attempt < ATTEMPTS_MAX && self.has_other(ticket.id());
            let opening = self.dialer.dial(&ticket.id().location);
            let opened = tokio::select! {
                opened = timeout(self.limits.connect_timeout, opening) => opened.ok(),
                () = self.dialer.silent(&ticket.id().location), if has_other => None,
            };
            match opened {
                Some(Ok(backend)) => return Some((backend, ticket)),
                Some(Err(error)) => {
                    debug!(replica = %ticket.id().replica, %error, "a replica was not reached");
                }
                None => debug!(replica = %ticket.id().replica, "a replica did not answer"),
            }
            failed = Some(ticket.id().clone());
        }
        None
    }

    fn has_other(&self, than: &BackendId) -> bool {
        let backends = self.backends.borrow();
        let mut ready = backends
            .iter()
            .filter(|backend| backend.readiness == Readiness::Ready);
        ready.any(|backend| backend.id != *than)
    }

    /// Takes a ready replica, waiting a little for one: also where one failed, as its successor may be about to be ready.
    async fn find(&mut self, except: Option<&BackendId>, deadline: Instant) -> Option<Ticket> {
        loop {
            let picked = {
                let backends = self.backends.borrow_and_update();
                let open_max = self.limits.connections_per_backend_max;
                self.loads.pick(&backends, except, (open_max, usize::MAX))
            };
            match picked {
                Pick::Taken(ticket) => return Some(ticket),
                Pick::Busy => return None,
                Pick::NoneReady => {}
            }
            let changed = timeout_at(deadline, self.backends.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return None;
            }
        }
    }
}
