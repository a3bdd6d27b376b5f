//! Where a replica is, and the way there: a connection on this machine, or a tunnel to the machine that runs it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::peer::{PeerKey, Peers};

/// Where a replica listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// At an address that this machine reaches.
    Here(SocketAddr),
    /// On another machine.
    There {
        /// Which.
        peer: PeerKey,
        /// As what that machine knows it.
        target: Bytes,
    },
}

impl From<SocketAddr> for Location {
    fn from(address: SocketAddr) -> Self {
        Self::Here(address)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(address) => address.fmt(f),
            Self::There { peer, .. } => write!(f, "the machine {peer}"),
        }
    }
}

/// A connection to a replica.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to replicas.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// The other machines, once there are any; none where there never are.
    peers: Option<watch::Receiver<Option<Peers>>>,
}

impl Dialer {
    /// One that also reaches replicas on other machines.
    #[must_use]
    pub fn new(peers: watch::Receiver<Option<Peers>>) -> Self {
        Self { peers: Some(peers) }
    }

    /// Returns once a replica is not to be reached because its machine says nothing; never where it is this one.
    pub(crate) async fn silent(&self, at: &Location) {
        let peers = self.peers.as_ref().and_then(|peers| peers.borrow().clone());
        match (at, peers) {
            (Location::There { peer, .. }, Some(peers)) => peers.silent(*peer).await,
            _ => std::future::pending().await,
        }
    }

    pub(crate) async fn dial(&self, to: &Location) -> io::Result<Box<dyn Stream>> {
        match to {
            Location::Here(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Location::There { peer, target } => {
                let peers = self.peers.as_ref().and_then(|peers| peers.borrow().clone());
                let peers = peers.ok_or_else(|| {
                    io::Error::other("this machine does not speak with others yet")
                })?;
                Ok(Box::new(peers.tunnel(*peer, target.clone()).await?))
            }
        }
    }
}
