//! How this machine learns the address under which others see it: members' relays tell it, and iroh asks them.
//!
//! iroh's own use of relays is kept from them ([`super::relayed`] takes its place): whatever it would connect to, it is to
//! connect to by a proxy that has no address, which fails before anything leaves the machine.

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
    for (address, relay) in &now.relays {
        if before.relays.get(address) != Some(relay) {
            insert(endpoint, *address, relay).await;
        }
    }
}

async fn insert(endpoint: &Endpoint, address: SocketAddr, relay: &Relay) {
    let Some(url) = relay_url(address) else {
        return;
    };
    let discovery = RelayQuicConfig::new(relay.discovery_port);
    let config = RelayConfig::new(url.clone(), Some(discovery));
    endpoint.insert_relay(url, Arc::new(config)).await;
}
