//! The ingress: HTTP by host name to the ready replicas of a service.
//!
//! Rules:
//! - The routes are a value that is replaced as a whole. A route is intent, readiness is state: a
//!   route without a ready replica is answered 503 with the cause, never dropped.
//! - A backend that leaves the table gets no new request; those it has are finished.
//! - A request goes to one backend, and to a second only when the first cannot have acted on it.
//! - Connections are bounded, and so is the part of them that one service may keep busy, and that
//!   one address may have: a flood of one app, from one address, or of clients that say nothing,
//!   leaves room for the others.
//! - Bodies stream; nothing is held in memory but a few buffers per connection.
//! - Only the ingress says where a request came from.

mod accept;
mod body;
mod counters;
mod guard;
mod headers;
mod page;
mod proxy;
mod refusal;
mod routes;
mod tunnel;
mod upstream;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use counters::Counts;
pub use routes::{BadHost, LogTail, Outage, Route, RouteKey, Routes};

use crate::backend::BackendId;
use crate::ingress::counters::Meters;
use crate::ingress::proxy::Proxy;
use crate::ingress::upstream::Pools;
use crate::limits::IngressLimits;
use crate::location::Dialer;
use crate::places::Places;
use crate::tasks::Tasks;

/// A running ingress. Dropping it closes every connection at once; [`Ingress::stop`] lets them end.
#[derive(Debug)]
pub struct Ingress {
    proxy: Arc<Proxy>,
    servers: JoinSet<()>,
    draining: watch::Sender<bool>,
    addresses: Vec<SocketAddr>,
}

impl Ingress {
    /// Serves on listeners that are bound already, by the routes as they come.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(
        listeners: Vec<std::net::TcpListener>,
        routes: watch::Receiver<Arc<Routes>>,
        dialer: Dialer,
        limits: IngressLimits,
    ) -> io::Result<Self> {
        let limits = Arc::new(limits);
        let tasks = Arc::new(Tasks::default());
        let proxy = Arc::new(Proxy {
            routes: routes.clone(),
            loads: Arc::default(),
            pools: Pools::new(Arc::clone(&tasks), dialer, Arc::clone(&limits)),
            meters: Meters::default(),
            tasks,
            held: Semaphore::new(limits.held_max),
            limits: Arc::clone(&limits),
        });
        let places = Places::new(limits.places());
        let (draining, is_draining) = watch::channel(false);
        let mut servers = JoinSet::new();
        let mut addresses = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
            let listener = TcpListener::from_std(listener)?;
            let (proxy, places) = (Arc::clone(&proxy), Arc::clone(&places));
            servers.spawn(accept::serve(listener, proxy, places, is_draining.clone()));
        }
        proxy.tasks.start(follow(Arc::clone(&proxy), routes));
        Ok(Self {
            proxy,
            servers,
            draining,
            addresses,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The access counters of every route.
    pub fn counts(&self) -> BTreeMap<RouteKey, Counts> {
        self.proxy.meters.snapshot()
    }

    /// The requests (upgraded connections included) that a backend has open.
    pub fn open_requests(&self, backend: &BackendId) -> usize {
        self.proxy.loads.open(backend)
    }

    /// Waits until a backend that the table no longer calls ready has no open request, or `grace`
    /// is over. True means that it can be stopped without losing a request.
    ///
    /// Nothing is missed between sending the new table and calling this: a request is counted
    /// while the table it was routed by is still in place.
    pub fn drained(
        &self,
        backend: &BackendId,
        grace: Duration,
    ) -> impl Future<Output = bool> + Send + use<> {
        let (loads, backend) = (Arc::clone(&self.proxy.loads), backend.clone());
        async move { timeout(grace, loads.drained(&backend)).await.is_ok() }
    }

    /// Accepts nothing more, lets open requests end within `grace`, then closes what is left;
    /// upgraded connections, which may last for days, are closed without a grace.
    pub async fn stop(mut self, grace: Duration) {
        self.draining.send_replace(true);
        let ended = async { while self.servers.join_next().await.is_some() {} };
        let _ = timeout(grace, ended).await;
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.proxy.tasks.stop();
    }
}

/// Closes kept connections of backends that left the table, and those kept too long.
async fn follow(proxy: Arc<Proxy>, mut routes: watch::Receiver<Arc<Routes>>) {
    let mut tick = tokio::time::interval(proxy.limits.idle_backend);
    loop {
        tokio::select! {
            changed = routes.changed() => {
                if changed.is_err() {
                    return;
                }
                let table = Arc::clone(&routes.borrow_and_update());
                proxy.pools.prune(&table);
                proxy.meters.prune(&table);
            }
            _ = tick.tick() => proxy.pools.expire(),
        }
    }
}
