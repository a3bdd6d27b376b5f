//! The doors of this node: the ingress, the published ports and the service resolver, working by the agent's tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use allod_net::published::PortStatus;
use allod_net::resolver::Resolver;
use allod_net::{BackendId, Ingress, Ports, Protocol, Published};
use allod_runtime::{Client, ResolverSockets, WorkloadId};
use allod_state::AppId;
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::agent::{BackendsOf, chain};
use crate::porter;
use crate::ports::PickedPorts;

/// How often an open connection is looked at while waiting for its end.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// The ingress, the published ports and the resolver.
pub(crate) struct Doors {
    pub(crate) picked: Arc<PickedPorts>,
    pub(crate) resolver: Mutex<Resolver>,
    pub(crate) scopes: Mutex<BTreeMap<AppId, String>>,
    pub(crate) ingress: Ingress,
    pub(crate) ports: Mutex<Ports>,
    pub(crate) published: watch::Receiver<Arc<Vec<Published>>>,
    pub(crate) statuses: watch::Sender<Arc<Vec<PortStatus>>>,
    pub(crate) backends_of: BackendsOf,
    /// What other machines have open to workloads here.
    pub(crate) tunnels: porter::Open,
    /// What other machines ask of the API here.
    pub(crate) calls: porter::Calls,
}

impl Doors {
    /// Opens and closes published ports as the table says, until the table's sender is gone.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut changes = self.published.clone();
        loop {
            self.refresh().await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes the published ports match the newest table.
    async fn refresh(&self) {
        let mut ports = self.ports.lock().await;
        let table = Arc::clone(&self.published.borrow());
        let statuses = ports.apply(&table).await.to_vec();
        self.picked.keep(statuses.iter().filter_map(|status| {
            let address = status.state.as_ref().ok()?;
            let key = &status.port.key;
            let was_picked = status.port.listen.port() == 0;
            let service = (key.app.clone(), key.service.clone(), status.port.inside);
            was_picked.then_some((service, address.port()))
        }));
        self.statuses.send_replace(Arc::new(statuses));
    }

    /// Waits until nothing is open to a workload that no table calls ready any more, or `grace` is over.
    pub(crate) async fn drained(&self, id: &WorkloadId, _address: Ipv4Addr, grace: Duration) {
        let backends: BTreeSet<BackendId> = {
            let mut known = self
                .backends_of
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            known.remove(id).unwrap_or_default()
        };
        let deadline = Instant::now() + grace;
        if !backends.is_empty() {
            self.drained_here(&backends, deadline).await;
        }
        while self.tunnels.to(id) > 0 && Instant::now() < deadline {
            sleep(DRAIN_LOOK).await;
        }
    }

    /// The same, for what is open through this machine's own doors.
    async fn drained_here(&self, backends: &BTreeSet<BackendId>, deadline: Instant) {
        self.refresh().await;
        for backend in backends {
            self.ingress
                .drained(backend, deadline.saturating_duration_since(Instant::now()))
                .await;
        }
        while Instant::now() < deadline {
            let ports = self.ports.lock().await;
            if backends
                .iter()
                .all(|backend| ports.open_connections(backend) == 0)
            {
                return;
            }
            drop(ports);
            sleep(DRAIN_LOOK).await;
        }
    }

    /// Has the names of an app answered inside its network, under `scope`, before anything of the app starts.
    pub(crate) async fn resolve_for(
        &self,
        app: AppId,
        scope: String,
        runtime: &Client,
    ) -> Result<(), String> {
        let scopes = self.scopes.lock().await;
        if scopes.contains_key(&app) {
            return Ok(());
        }
        let runtime = runtime.clone();
        let opened = spawn_blocking(move || runtime.resolver_sockets(app.0)).await;
        let sockets = match opened {
            Ok(Ok(sockets)) => sockets,
            Ok(Err(error)) => return Err(chain(&error)),
            Err(_) => return Err("the node is shutting down".to_owned()),
        };
        drop(scopes);
        self.resolve_on(app, scope, sockets).await;
        Ok(())
    }

    /// Answers an app's names on sockets that are bound inside its network.
    pub(crate) async fn resolve_on(&self, app: AppId, scope: String, sockets: ResolverSockets) {
        let mut scopes = self.scopes.lock().await;
        let opened = self
            .resolver
            .lock()
            .await
            .open(&scope, sockets.datagrams, sockets.listener);
        match opened {
            Ok(()) => drop(scopes.insert(app, scope)),
            Err(error) => tracing::warn!(%error, %app, "an app's names cannot be answered yet"),
        }
    }

    /// Whether an app's names are answered. A moment in which it is being changed counts as yes.
    pub(crate) fn is_resolving(&self, app: &AppId) -> bool {
        self.scopes
            .try_lock()
            .map_or(true, |scopes| scopes.contains_key(app))
    }

    /// Stops answering for an app of which nothing is left here.
    pub(crate) async fn forget_app(&self, app: AppId) {
        if let Some(scope) = self.scopes.lock().await.remove(&app) {
            self.resolver.lock().await.close(&scope).await;
        }
    }

    /// Where each published port of a service really listens, or why it does not.
    pub(crate) fn listening(&self, app: &str, service: &str) -> Vec<String> {
        let statuses = self.statuses.borrow();
        let its = statuses.iter().filter(|status| {
            let key = &status.port.key;
            key.app == app && key.service == service
        });
        its.map(where_of).collect()
    }
}

/// What takes connections is most often asked by HTTP; what takes datagrams never is.
fn where_of(status: &PortStatus) -> String {
    let scheme = match status.port.protocol {
        Protocol::Tcp => "http",
        Protocol::Udp => "udp",
    };
    match &status.state {
        Ok(address) => format!("{scheme}://{address}"),
        Err(error) => format!("{}: {error}", status.port.listen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allod_net::RouteKey;
    use allod_net::published::{Port, PortError};

    #[test]
    fn only_a_port_of_connections_is_shown_as_one_for_http() {
        let status = |protocol, is_open| {
            let port = Port {
                protocol,
                listen: "127.0.0.1:9".parse().unwrap(),
                inside: 9,
                key: RouteKey {
                    app: "a".into(),
                    service: "s".into(),
                },
            };
            let state = if is_open {
                Ok("127.0.0.1:40009".parse().unwrap())
            } else {
                Err(PortError::Taken { port: port.clone() })
            };
            where_of(&PortStatus { port, state })
        };
        assert_eq!(status(Protocol::Tcp, true), "http://127.0.0.1:40009");
        assert_eq!(status(Protocol::Udp, true), "udp://127.0.0.1:40009");
        assert!(status(Protocol::Udp, false).starts_with("127.0.0.1:9: "));
    }
}
