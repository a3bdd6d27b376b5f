//! The tables that the doors work by: host names, published ports and service names, made from what the agent sees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use allod_net::published::Port as NetPort;
use allod_net::resolver::Names;
use allod_net::{
    Backend, BackendId, Location, LogTail, Outage, Protocol, Published, Route, RouteKey, Routes,
};
use allod_runtime::WorkloadId;
use allod_state::AppId;
use tokio::sync::watch;

use crate::agent::sight::{Elsewhere, Seen, Sight};
use crate::agent::upstreams::Upstreams;
use crate::lines::Lines;
use crate::manifest::{self, Manifest};
use crate::porter::{Place, Target};
use crate::ports::PickedPorts;

/// Which backends a workload was ever routed to by.
pub(crate) type BackendsOf = Arc<Mutex<BTreeMap<WorkloadId, BTreeSet<BackendId>>>>;
/// Where the tables go.
pub(crate) struct Tables {
    pub(crate) routes: watch::Sender<Arc<Routes>>,
    pub(crate) published: watch::Sender<Arc<Vec<Published>>>,
    pub(crate) names: watch::Sender<Arc<Names>>,
    pub(crate) upstreams: Upstreams,
    pub(crate) backends_of: BackendsOf,
    pub(crate) lines: Arc<Lines>,
    pub(crate) picked: Arc<PickedPorts>,
    /// What they were made from last; nothing before the first time.
    pub(crate) last: Option<Sight>,
}

impl Tables {
    /// Sends new tables where something in them has changed.
    pub(crate) fn publish(&mut self, sight: &Sight) {
        if self.last.as_ref() == Some(sight) {
            return;
        }
        self.last = Some(sight.clone());
        self.routes.send_replace(Arc::new(self.routes_of(sight)));
        self.published
            .send_replace(Arc::new(self.published_of(sight)));
        self.names.send_if_modified(|names| {
            let new = names_of(sight, self.upstreams.known().to_vec());
            let is_new = **names != new;
            *names = Arc::new(new);
            is_new
        });
    }

    /// Looks whether the host asks others for names of the world than before.
    pub(crate) fn look_at_host(&mut self) {
        if self.upstreams.read_again() {
            // The next tables go out even where everything else is as it was.
            self.last = None;
        }
    }

    fn routes_of(&self, sight: &Sight) -> Routes {
        let mut routes = Routes::new();
        // The own account's apps come first: nobody else's takes a host name from them here.
        let is_own = |app: &&AppId| sight.own.contains(*app);
        let own = sight.apps.keys().filter(is_own);
        let others = sight.apps.keys().filter(|app| !is_own(app));
        for app in own.chain(others) {
            let manifest = &sight.apps[app];
            for (name, service) in &manifest.services {
                for ingress in &service.ingress {
                    let route = Route {
                        key: RouteKey {
                            app: manifest.app.clone(),
                            service: name.clone(),
                        },
                        backends: self.backends(sight, *app, name, ingress.port),
                        outage: outage(sight, *app, manifest, name),
                        log_tail: self.log_tail(sight, *app, name),
                    };
                    if let Err(error) = routes.insert(&ingress.host, route) {
                        tracing::warn!(host = %ingress.host, %error, "a host name cannot be routed");
                    }
                }
            }
        }
        routes
    }

    fn published_of(&self, sight: &Sight) -> Vec<Published> {
        let mut published = Vec::new();
        let own = sight.apps.iter().filter(|(app, _)| sight.own.contains(app));
        for (app, manifest) in own {
            for (name, service) in &manifest.services {
                for port in &service.ports {
                    let Some(listen) = port.published else {
                        continue;
                    };
                    let ip = listen.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                    let key = RouteKey {
                        app: manifest.app.clone(),
                        service: name.clone(),
                    };
                    let protocol = match port.protocol {
                        manifest::Protocol::Tcp => Protocol::Tcp,
                        manifest::Protocol::Udp => Protocol::Udp,
                    };
                    let number = match listen.port {
                        0 => self
                            .picked
                            .before(&manifest.app, name, port.container)
                            .unwrap_or(0),
                        number => number,
                    };
                    let listen = SocketAddr::new(ip, number);
                    published.push(Published {
                        port: NetPort {
                            protocol,
                            listen,
                            key,
                            inside: port.container,
                        },
                        backends: self.backends(sight, *app, name, port.container),
                    });
                }
            }
        }
        published
    }

    fn backends(&self, sight: &Sight, app: AppId, service: &str, port: u16) -> Vec<Backend> {
        let mut known = self
            .backends_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut backends = Vec::new();
        for (id, seen) in replicas(sight, app, service) {
            let Some(address) = seen.address else {
                continue;
            };
            let address = SocketAddr::from((address, port));
            let name = format!("{service}-{}.{}", seen.replica, seen.epoch);
            let backend = if seen.is_ready {
                Backend::ready(address, &name)
            } else {
                Backend::not_ready(address, &name)
            };
            known.entry(*id).or_default().insert(backend.id.clone());
            backends.push(backend);
        }
        for seen in elsewhere(sight, app, service) {
            let target = Target::Workload(Place {
                lease: seen.lease,
                epoch: seen.epoch,
                port,
            });
            let location = Location::There {
                peer: seen.peer,
                target: target.to_bytes(),
            };
            let name = format!("{service}-{}.{}", seen.replica, seen.epoch);
            backends.push(if seen.is_ready {
                Backend::ready(location, &name)
            } else {
                Backend::not_ready(location, &name)
            });
        }
        backends
    }

    fn log_tail(&self, sight: &Sight, app: AppId, service: &str) -> LogTail {
        let newest = replicas(sight, app, service).max_by_key(|(_, seen)| seen.epoch);
        let silent = sight.silent.get(&(app, service.to_owned()));
        let lines = Arc::clone(&self.lines);
        match newest
            .map(|(id, _)| *id)
            .or_else(|| silent.map(|silence| silence.last))
        {
            None => LogTail::none(),
            Some(id) => LogTail::new(move || lines.last_words(&id)),
        }
    }
}

fn replicas<'a>(
    sight: &'a Sight,
    app: AppId,
    service: &'a str,
) -> impl Iterator<Item = (&'a WorkloadId, &'a Seen)> {
    sight
        .workloads
        .iter()
        .filter(move |(_, seen)| seen.app == app && seen.service == service)
}

fn elsewhere<'a>(
    sight: &'a Sight,
    app: AppId,
    service: &'a str,
) -> impl Iterator<Item = &'a Elsewhere> {
    let all = sight.elsewhere.values();
    all.filter(move |seen| seen.app == app && seen.service == service)
}

fn outage(sight: &Sight, app: AppId, manifest: &Manifest, service: &str) -> Outage {
    let newest = replicas(sight, app, service).max_by_key(|(_, seen)| seen.epoch);
    let there = elsewhere(sight, app, service).max_by_key(|seen| seen.epoch);
    let here = newest.map_or(0, |(_, seen)| seen.epoch);
    if let Some(seen) = there.filter(|seen| seen.epoch > here) {
        let cause = format!("Its newest replica is starting on {}.", seen.node_name);
        return Outage::starting(&cause, UNIX_EPOCH + Duration::from_millis(seen.since_ms));
    }
    let Some((_, seen)) = newest else {
        let next_step = format!("See why: allod events {}", manifest.app);
        let silence = sight.silent.get(&(app, service.to_owned()));
        let cause = silence.map_or("It has no replica.".to_owned(), |silence| {
            format!("It has no replica: {}", silence.cause)
        });
        let since = UNIX_EPOCH + Duration::from_millis(silence.map_or(0, |s| s.since_ms));
        return Outage::stopped(&cause, since, &next_step);
    };
    let since: SystemTime = UNIX_EPOCH + Duration::from_millis(seen.since_ms);
    let cause = match &seen.detail {
        Some(detail) => format!("Its newest replica is {}: {detail}", seen.stage),
        None => format!("Its newest replica is {}.", seen.stage),
    };
    let is_failing = seen.has_ended || !seen.is_running && seen.detail.is_some();
    if is_failing {
        let next_step = format!("See its logs: allod logs {}/{service}", manifest.app);
        Outage::stopped(&cause, since, &next_step)
    } else {
        Outage::starting(&cause, since)
    }
}

/// Every service's ready replicas; those that run, where none is ready, so that services can find each other while
/// they start.
fn names_of(sight: &Sight, upstreams: Vec<SocketAddr>) -> Names {
    let mut names = Names::new(upstreams);
    for (app, manifest) in &sight.apps {
        let scope = resolver_scope(sight, *app);
        for (name, service) in &manifest.services {
            let running = replicas(sight, *app, name).filter(|(_, seen)| seen.is_running);
            let (ready, rest): (Vec<_>, Vec<_>) = running.partition(|(_, seen)| seen.is_ready);
            let chosen = if ready.is_empty() { rest } else { ready };
            let addresses: Vec<Ipv4Addr> = chosen
                .into_iter()
                .filter_map(|(_, seen)| seen.address)
                .collect();
            for alias in service.aliases.iter().chain([name]) {
                names.insert(&scope, alias, addresses.clone());
            }
        }
    }
    names
}

/// What the resolver calls an app: its name, or its id where an app of another account has the same name.
pub(crate) fn resolver_scope(sight: &Sight, app: AppId) -> String {
    let Some(manifest) = sight.apps.get(&app) else {
        return app.to_string();
    };
    let first = sight
        .apps
        .iter()
        .find(|(_, other)| other.app == manifest.app);
    if first.is_some_and(|(id, _)| *id == app) {
        manifest.app.clone()
    } else {
        app.to_string()
    }
}

#[cfg(test)]
pub(super) mod tests;
