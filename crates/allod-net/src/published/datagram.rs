//! A published UDP port: each client has a session with one ready replica while it keeps talking.
//!
//! Datagrams may be lost by nature, so a full queue drops them, and a session ends as soon as its
//! replica is no longer ready: the client's next datagram begins another.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::backend::{Backend, Pick, Readiness, Ticket};
use crate::limits::{ACCEPT_PAUSE, DATAGRAM_BYTES_MAX, SESSION_QUEUE};
use crate::location::Location;
use crate::published::stream::{free, is_withdrawn};
use crate::published::{Meter, Way};
use crate::pump::Activity;

/// Passes datagrams until the port is withdrawn.
pub(crate) async fn serve(socket: UdpSocket, way: Way) {
    let socket = Arc::new(socket);
    let mut withdrawn = way.backends.clone();
    let mut sessions: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let mut running: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, client)) => {
                    let datagram = Bytes::copy_from_slice(&buffer[..length]);
                    let is_known = sessions.get(&client).is_some_and(|known| !known.is_closed());
                    if !is_known && sessions.len() < way.limits.sessions_max
                        && let Some(session) = Session::new(client, &socket, &way)
                    {
                        let (queue, datagrams) = mpsc::channel(SESSION_QUEUE);
                        sessions.insert(client, queue);
                        running.spawn(session.carry(datagrams));
                    }
                    if let Some(session) = sessions.get(&client) {
                        let _ = session.try_send(datagram);
                    }
                }
                // A client that is gone may be reported here; the port goes on.
                Err(error) => {
                    warn!(port = %way.port, %error, "could not receive a datagram");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = running.join_next() => {
                if let Ok(client) = ended && sessions.get(&client).is_some_and(|s| s.is_closed()) {
                    sessions.remove(&client);
                }
            }
            () = is_withdrawn(&mut withdrawn) => break,
        }
    }
    running.shutdown().await;
    drop(socket);
    free(way.released);
}

/// One client's exchange with one replica.
struct Session {
    client: SocketAddr,
    towards_client: Arc<UdpSocket>,
    ticket: Ticket,
    backends: watch::Receiver<Arc<[Backend]>>,
    meter: Arc<Meter>,
    idle: std::time::Duration,
}

impl Session {
    fn new(client: SocketAddr, socket: &Arc<UdpSocket>, way: &Way) -> Option<Self> {
        way.meter.connections.fetch_add(1, Ordering::Relaxed);
        let picked = {
            let backends = way.backends.borrow();
            way.loads.pick(
                &backends,
                None,
                (way.limits.connections_per_backend_max, usize::MAX),
            )
        };
        let Pick::Taken(ticket) = picked else {
            way.meter.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(Self {
            client,
            towards_client: Arc::clone(socket),
            ticket,
            backends: way.backends.clone(),
            meter: Arc::clone(&way.meter),
            idle: way.limits.session_idle,
        })
    }

    /// Ends when both were silent for the idle time or the replica is not ready any more.
    async fn carry(self, datagrams: mpsc::Receiver<Bytes>) -> SocketAddr {
        let activity = Activity::new();
        let mut backends = self.backends.clone();
        let id = self.ticket.id().clone();
        let is_unready = |backends: &Arc<[Backend]>| {
            !backends
                .iter()
                .any(|b| b.id == id && b.readiness == Readiness::Ready)
        };
        tokio::select! {
            ended = self.exchange(datagrams, &activity) => {
                debug!(replica = %id.replica, error = ?ended.err(), "a session ended");
            }
            () = activity.quiet_for(self.idle) => {}
            _ = backends.wait_for(is_unready) => {}
        }
        self.client
    }

    async fn exchange(
        &self,
        mut datagrams: mpsc::Receiver<Bytes>,
        activity: &Activity,
    ) -> io::Result<()> {
        let Location::Here(replica) = self.ticket.id().location else {
            return Err(io::Error::other("datagrams do not go to other machines"));
        };
        let any: IpAddr = match replica {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(replica).await?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            tokio::select! {
                datagram = datagrams.recv() => {
                    let Some(datagram) = datagram else { return Ok(()) };
                    socket.send(&datagram).await?;
                    count(&self.meter.bytes_in, datagram.len());
                }
                length = socket.recv(&mut buffer) => {
                    let length = length?;
                    self.towards_client.send_to(&buffer[..length], self.client).await?;
                    count(&self.meter.bytes_out, length);
                }
            }
            activity.touch();
        }
    }
}

fn count(counter: &std::sync::atomic::AtomicU64, length: usize) {
    counter.fetch_add(length as u64, Ordering::Relaxed);
}
