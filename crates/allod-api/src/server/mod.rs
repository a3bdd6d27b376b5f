//! The HTTP server: accepts, bounds, lets in, and dispatches by the operation table.

pub(crate) mod answer;
pub(crate) mod call;
mod connection;
pub(crate) mod gate;
mod held;
mod lobby;
pub(crate) mod merge;
pub(crate) mod onward;
mod own;
mod pace;
pub(crate) mod problem;
mod router;
pub(crate) mod seats;
mod shared;
mod stall;
pub(crate) mod stream;
pub(crate) mod terminal;

pub use own::bind_own;
pub(crate) use problem::status_of as status_of_rejection;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use allod_node::Node;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::limits::BACKLOG;
use crate::signature::{Door, Scheme, Verifier};
use shared::Shared;

/// A running server. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, ends its streams, and lets open requests finish for as long as `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.stopping.send_replace(true);
        // What has not finished by then is cut off by the drop.
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, ended).await;
    }
}

/// Serves the node's operations on a listener that is bound already, and at the owner's own door where there is one
/// ([`bind_own`]). Must be called in a tokio runtime.
///
/// # Errors
/// Where a listener cannot be used.
pub fn serve(node: Node, listener: TcpListener, own: Option<UnixListener>) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    // Once more, for a longer queue than the one it was bound with.
    rustix::net::listen(&listener, BACKLOG)?;
    let address = listener.local_addr()?;
    let (stopping, told) = watch::channel(false);
    let authorities = authorities(address);
    let door = Door::new(Scheme::Http, authorities.iter().map(String::as_str));
    let now_s = allod_node::time::now_ms() / 1_000;
    let verifier = Verifier::new(door, now_s).with_journal(node.file("nonces"), now_s)?;
    let shared = Arc::new(Shared::new(node, verifier, told.clone()));
    let router = router::of(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    if let Some(own) = own {
        own.set_nonblocking(true)?;
        let own = tokio::net::UnixListener::from_std(own)?;
        // Seats of its own too: whoever comes over the network takes none of them.
        let seats = Arc::default();
        tasks.spawn(connection::serve_own(
            own,
            router.clone(),
            seats,
            told.clone(),
        ));
    }
    if let Some(calls) = shared.node.calls() {
        // And again: other machines take no seats from those who come themselves.
        let (router, told) = (router.clone(), told.clone());
        tasks.spawn(connection::serve_machines(
            calls,
            router,
            Arc::default(),
            told,
        ));
    }
    let admitted = lobby::open(listener, shared, told.clone())?;
    tasks.spawn(connection::serve_admitted(admitted, router, told));
    Ok(Server {
        address,
        stopping,
        tasks,
    })
}

/// The hosts that this listener answers for: its address, and the names of loopback where it is reached over that. A
/// page that points a name of its own at this machine is none of them.
fn authorities(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let ip = address.ip();
    let mut authorities = vec![address.to_string()];
    if ip.is_loopback() || ip.is_unspecified() {
        authorities.extend([format!("localhost:{port}"), format!("127.0.0.1:{port}")]);
        if matches!(ip, IpAddr::V6(_)) {
            authorities.push(format!("[::1]:{port}"));
        }
    }
    authorities
}
