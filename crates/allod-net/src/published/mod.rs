//! Published ports: a port of this machine leads to the ready replicas of a service, as compose
//! writes it (`8080:80`).
//!
//! Rules:
//! - The ports are a value. [`Ports::apply`] compares it with what is open, closes what is gone and
//!   opens what is new; what could not be opened is reported and tried again at the next call.
//! - A port that is gone takes no new connection; those it has end by themselves.
//! - Replicas come and go without the port being closed.

mod datagram;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::backend::{Backend, BackendId, Loads};
use crate::ingress::RouteKey;
use crate::limits::{PUBLISHED_MAX, PortLimits};
use crate::location::Dialer;

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Which port of this machine, for which service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// What it carries.
    pub protocol: Protocol,
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The app and service it leads to.
    pub key: RouteKey,
    /// The port inside the service: what tells apart the doors of a service that takes any free ports.
    pub inside: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.protocol, self.listen)
    }
}

/// A port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The port.
    pub port: Port,
    /// The replicas, ready or not, each with the port inside the service.
    pub backends: Vec<Backend>,
}

/// Why a port could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Another program has it.
    #[error(
        "{port} is taken by another program; stop that one (`ss -lnp` names it) or publish \
         another port"
    )]
    Taken {
        /// Which.
        port: Port,
    },
    /// Another service of this machine has it.
    #[error("{port} is already published by {by}; publish another port for {}", port.key)]
    PublishedTwice {
        /// Which.
        port: Port,
        /// The service that has it.
        by: Box<RouteKey>,
    },
    /// Ports below 1024 must be lent by a privileged process.
    #[error("{port} may not be opened by this user; publish a port from 1024 on")]
    NotAllowed {
        /// Which.
        port: Port,
    },
    /// Anything else that the system says.
    #[error("{port} could not be opened: {reason}; publish another port or address")]
    Refused {
        /// Which.
        port: Port,
        /// What the system said.
        reason: String,
    },
    /// There are too many.
    #[error("{port} was not opened: a machine publishes at most {PUBLISHED_MAX} ports")]
    TooMany {
        /// Which.
        port: Port,
    },
}

/// How a published port is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStatus {
    /// Which.
    pub port: Port,
    /// Where it listens, or why it does not.
    pub state: Result<SocketAddr, PortError>,
}

/// What went through a port since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortCounts {
    /// Connections taken, or UDP clients seen.
    pub connections: u64,
    /// Those closed because no replica could be reached.
    pub refused: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// The live counters of one port.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) connections: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

/// A socket that a privileged process has bound for a port below 1024.
#[derive(Debug)]
pub enum Lent {
    /// For a TCP port.
    Tcp(TcpListener),
    /// For a UDP port.
    Udp(UdpSocket),
}

/// The published ports of this machine. Dropping it closes them and their connections.
#[derive(Debug)]
pub struct Ports {
    open: BTreeMap<Port, Door>,
    lent: HashMap<(Protocol, SocketAddr), Lent>,
    /// Connections of ports that are gone.
    leaving: Vec<JoinSet<()>>,
    statuses: Vec<PortStatus>,
    loads: Arc<Loads>,
    dialer: Dialer,
    limits: Arc<PortLimits>,
}

/// One open port. When `backends` is dropped, it stops listening and lets its connections end.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    backends: watch::Sender<Arc<[Backend]>>,
    released: oneshot::Receiver<()>,
    meter: Arc<Meter>,
    task: JoinSet<()>,
}

/// What the task of an open port works with.
pub(crate) struct Way {
    pub(crate) port: Port,
    pub(crate) backends: watch::Receiver<Arc<[Backend]>>,
    /// Dropped once the port is free again.
    pub(crate) released: oneshot::Sender<()>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) dialer: Dialer,
    pub(crate) limits: Arc<PortLimits>,
}

impl Ports {
    /// No port yet, and replicas on this machine alone.
    pub fn new(limits: PortLimits) -> Self {
        Self::reaching(Dialer::default(), limits)
    }

    /// No port yet, and replicas wherever that dialer reaches them.
    pub fn reaching(dialer: Dialer, limits: PortLimits) -> Self {
        Self {
            open: BTreeMap::new(),
            lent: HashMap::new(),
            leaving: Vec::new(),
            statuses: Vec::new(),
            loads: Arc::default(),
            dialer,
            limits: Arc::new(limits),
        }
    }

    /// Takes a bound socket, to be used when its address is published.
    pub fn lend(&mut self, lent: Lent) -> io::Result<()> {
        let place = match &lent {
            Lent::Tcp(listener) => (Protocol::Tcp, listener.local_addr()?),
            Lent::Udp(socket) => (Protocol::Udp, socket.local_addr()?),
        };
        self.lent.insert(place, lent);
        Ok(())
    }

    /// Makes the open ports match these. Must be called within a tokio runtime.
    pub async fn apply(&mut self, published: &[Published]) -> &[PortStatus] {
        self.leaving.retain_mut(|tasks| {
            while tasks.try_join_next().is_some() {}
            !tasks.is_empty()
        });
        let wanted = published.iter().map(|published| &published.port);
        let wanted: std::collections::BTreeSet<&Port> = wanted.collect();
        let gone: Vec<Port> = self
            .open
            .keys()
            .filter(|port| !wanted.contains(port))
            .cloned()
            .collect();
        for port in gone {
            self.close(&port).await;
        }
        // Who has a port keeps it.
        let mut holders: HashMap<(Protocol, SocketAddr), RouteKey> = self
            .open
            .keys()
            .map(|port| ((port.protocol, port.listen), port.key.clone()))
            .collect();
        let mut statuses = Vec::with_capacity(published.len());
        for entry in published {
            let port = &entry.port;
            let place = (port.protocol, port.listen);
            let holder = holders.entry(place).or_insert_with(|| port.key.clone());
            let state = if *holder != port.key && port.listen.port() != 0 {
                let (port, by) = (port.clone(), Box::new(holder.clone()));
                Err(PortError::PublishedTwice { port, by })
            } else {
                self.ensure(entry)
            };
            statuses.push(PortStatus {
                port: port.clone(),
                state,
            });
        }
        self.statuses = statuses;
        &self.statuses
    }

    /// How each port was doing after the last [`Ports::apply`].
    pub fn statuses(&self) -> &[PortStatus] {
        &self.statuses
    }

    /// What went through each open port.
    pub fn counts(&self) -> BTreeMap<Port, PortCounts> {
        self.open
            .iter()
            .map(|(port, door)| (port.clone(), door.meter.counts()))
            .collect()
    }

    /// The connections that a replica has open through published ports.
    pub fn open_connections(&self, backend: &BackendId) -> usize {
        self.loads.open(backend)
    }

    /// Waits until a replica that is no longer ready has no connection left, or `grace` is over.
    pub fn drained(
        &self,
        backend: &BackendId,
        grace: Duration,
    ) -> impl Future<Output = bool> + Send + use<> {
        let (loads, backend) = (Arc::clone(&self.loads), backend.clone());
        async move { timeout(grace, loads.drained(&backend)).await.is_ok() }
    }

    fn ensure(&mut self, entry: &Published) -> Result<SocketAddr, PortError> {
        let backends: Arc<[Backend]> = entry.backends.as_slice().into();
        if let Some(door) = self.open.get(&entry.port) {
            door.backends.send_if_modified(|now| {
                let is_new = *now != backends;
                *now = backends;
                is_new
            });
            return Ok(door.address);
        }
        if self.open.len() >= PUBLISHED_MAX {
            return Err(PortError::TooMany {
                port: entry.port.clone(),
            });
        }
        let door = self.open_door(&entry.port, backends).map_err(|error| {
            warn!(port = %entry.port, %error, "a published port could not be opened");
            PortError::new(entry.port.clone(), &error)
        })?;
        let address = door.address;
        info!(port = %entry.port, %address, service = %entry.port.key, "port published");
        self.open.insert(entry.port.clone(), door);
        Ok(address)
    }

    fn open_door(&mut self, port: &Port, backends: Arc<[Backend]>) -> io::Result<Door> {
        let lent = match self.lent.remove(&(port.protocol, port.listen)) {
            Some(lent) => lent,
            None => match port.protocol {
                Protocol::Tcp => Lent::Tcp(TcpListener::bind(port.listen)?),
                Protocol::Udp => Lent::Udp(UdpSocket::bind(port.listen)?),
            },
        };
        let (backends, receiver) = watch::channel(backends);
        let (released, is_released) = oneshot::channel();
        let meter = Arc::new(Meter::default());
        let way = Way {
            port: port.clone(),
            backends: receiver,
            released,
            meter: Arc::clone(&meter),
            loads: Arc::clone(&self.loads),
            dialer: self.dialer.clone(),
            limits: Arc::clone(&self.limits),
        };
        let mut task = JoinSet::new();
        let address = match lent {
            Lent::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let address = listener.local_addr()?;
                task.spawn(stream::serve(listener, way));
                address
            }
            Lent::Udp(socket) => {
                socket.set_nonblocking(true)?;
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                let address = socket.local_addr()?;
                task.spawn(datagram::serve(socket, way));
                address
            }
        };
        Ok(Door {
            address,
            backends,
            released: is_released,
            meter,
            task,
        })
    }

    /// Closes a port and waits until it is free, so that another service may take it at once.
    async fn close(&mut self, port: &Port) {
        if let Some(door) = self.open.remove(port) {
            drop(door.backends);
            let _ = door.released.await;
            self.leaving.push(door.task);
            info!(%port, service = %port.key, "port withdrawn");
        }
    }
}

impl PortError {
    fn new(port: Port, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { port },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { port },
            _ => Self::Refused {
                port,
                reason: error.to_string(),
            },
        }
    }
}

impl Meter {
    fn counts(&self) -> PortCounts {
        PortCounts {
            connections: self.connections.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}
