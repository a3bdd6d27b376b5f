//! How this machine learns the address under which others see it: members' relays tell it, and iroh asks them.
//!
//! iroh's own use of relays is kept from them ([`super::relayed`] takes its place): whatever it would connect to, it is to
//! connect to by a proxy that has no address, which fails before anything leaves the machine.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use iroh::endpoint::Builder;
use iroh::{Endpoint, NetReportConfig, RelayMap, RelayMode};
use iroh_relay::{RelayConfig, RelayQuicConfig};

use super::roster::relay_url;
use super::{Relay, Roster, lacking};

/// A proxy without a port.
const NOWHERE: &str = "none://none";

/// Has relays asked for this machine's address, and nothing else.
pub(crate) fn only(builder: Builder) -> Builder {
    let builder = builder
        .relay_mode(RelayMode::Custom(RelayMap::empty()))
        .net_report_config(NetReportConfig::minimal());
    match NOWHERE.parse() {
        Ok(nowhere) => builder.proxy_url(nowhere),
        Err(_) => builder,
    }
}

/// Tells iroh which relays there are now.
pub(crate) async fn apply(endpoint: &Endpoint, before: &Roster, now: &Roster) {
    for gone in lacking(&before.relays, &now.relays) {
        if let Some(url) = relay_url(gone) {
            endpoint.remove_relay(&url).await;
        }
    }
    for (address, said) in &now.relays {
        if before.relays.get(address) != Some(said) {
            insert(endpoint, *address, said).await;
        }
    }
}

async fn insert(endpoint: &Endpoint, address: SocketAddr, said: &BTreeSet<Relay>) {
    let (Some(url), Some(port)) = (relay_url(address), discovery_port(address, said)) else {
        return;
    };
    let discovery = RelayQuicConfig::new(port);
    let config = RelayConfig::new(url.clone(), Some(discovery));
    endpoint.insert_relay(url, Arc::new(config)).await;
}

/// Where a relay is asked, of which several may have said something: a relay answers at its own port's number, wherever
/// that could be chosen ([`super::MemberRelay::start`]).
fn discovery_port(address: SocketAddr, said: &BTreeSet<Relay>) -> Option<u16> {
    let mut ports = said.iter().map(|relay| relay.discovery_port);
    let own = ports.clone().find(|port| *port == address.port());
    own.or_else(|| ports.next())
}
