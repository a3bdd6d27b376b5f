//! The names table: what the services of each app are called and where they are ready.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::limits::UPSTREAMS_MAX;

/// The names of every app, and whom to ask for all others. A value: build a new one and send it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    apps: BTreeMap<String, BTreeMap<String, Vec<Ipv4Addr>>>,
    upstreams: Vec<SocketAddr>,
}

/// What a name means to an app.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// A service of the app, and where it is ready: perhaps nowhere.
    Service(&'a [Ipv4Addr]),
    /// This machine's loopback, as everywhere (RFC 6761).
    Localhost,
    /// A name of ours that nothing has.
    Nothing,
    /// A name of the world.
    Foreign,
}

impl Names {
    /// A table in which names of the world are asked of these resolvers.
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            apps: BTreeMap::new(),
            upstreams,
        }
    }

    /// Says where a service of an app is ready. A service that is ready nowhere has its name all
    /// the same.
    pub fn insert(&mut self, app: &str, service: &str, ready: Vec<Ipv4Addr>) {
        let services = self.apps.entry(app.to_ascii_lowercase()).or_default();
        services.insert(service.to_ascii_lowercase(), ready);
    }

    pub(crate) fn upstreams(&self) -> &[SocketAddr] {
        &self.upstreams[..self.upstreams.len().min(UPSTREAMS_MAX)]
    }

    /// What a name, given as its lower-case labels, means to an app.
    ///
    /// An app sees its own services only, as `db`, `db.<app>` and `db.<app>.internal`. Names of one
    /// label and those under `internal` never leave the machine.
    pub(crate) fn meaning(&self, app: &str, labels: &[String]) -> Meaning<'_> {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let service = match labels.as_slice() {
            [service] => *service,
            [service, of] | [service, of, "internal"] if of.eq_ignore_ascii_case(app) => service,
            _ => "",
        };
        let services = self.apps.get(&app.to_ascii_lowercase());
        if let Some(ready) = services.and_then(|services| services.get(service)) {
            return Meaning::Service(ready);
        }
        match labels.as_slice() {
            [] => Meaning::Foreign,
            [.., "localhost"] => Meaning::Localhost,
            [_] | [.., "internal"] => Meaning::Nothing,
            _ if is_private_reverse(&labels) => Meaning::Nothing,
            _ => Meaning::Foreign,
        }
    }
}

/// The resolvers named in the text of a `resolv.conf`.
pub fn upstreams_of(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let is_server = words.next() == Some("nameserver");
            words.next().filter(|_| is_server)
        })
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(UPSTREAMS_MAX)
        .collect()
}

/// Whether this asks for the name of a private address, which nobody outside knows (RFC 6303).
fn is_private_reverse(labels: &[&str]) -> bool {
    let [.., second, first, "in-addr", "arpa"] = labels else {
        return matches!(labels, [.., "d" | "c", "f", "ip6", "arpa"]);
    };
    let in_172 = || {
        second
            .parse::<u8>()
            .is_ok_and(|octet| (16..32).contains(&octet))
    };
    match *first {
        "10" | "127" => true,
        "172" => in_172(),
        "192" => *second == "168",
        "169" => *second == "254",
        _ => false,
    }
}

#[cfg(test)]
mod tests;
