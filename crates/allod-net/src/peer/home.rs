//! The home relay: through which this machine is reached where nobody reaches it directly.
//!
//! iroh chooses it among the roster's relays and connects to it. What it does not do quickly is leave a dead one: left to
//! itself it takes half a minute. So a relay that has been down for a second is taken out for a while, the links that went
//! through it are opened anew, and it is tried again later. That makes this machine reachable again within seconds. Whether
//! a link that *another* machine had through the dead relay recovers as quickly depends on the order in which iroh tries
//! the addresses it remembers: in trials it took 2.4 s, or longer than 30 s.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use iroh::Watcher;
use iroh_relay::{RelayConfig, RelayQuicConfig};
use tokio::time::{Instant, interval};
use tracing::{info, warn};

use super::roster::relay_url;
use super::{Relay, Roster, Shared, lacking, lock};
use crate::limits::{RELAY_DOWN_MAX, RELAY_LOOK_PERIOD, RELAY_PROBATION};

/// The relay that this machine is connected to.
pub(crate) fn connected(shared: &Shared) -> Option<SocketAddr> {
    let statuses = shared.endpoint.home_relay_status().get();
    let status = statuses.iter().find(|status| status.is_connected())?;
    let roster = shared.roster.borrow();
    let mut relays = roster.relays.keys();
    relays
        .find(|relay| relay_url(**relay).as_ref() == Some(status.url()))
        .copied()
}

/// Tells iroh which relays there are now.
pub(crate) async fn apply(shared: &Shared, before: &Roster, now: &Roster) {
    for gone in lacking(&before.relays, &now.relays) {
        if let Some(url) = relay_url(gone) {
            shared.endpoint.remove_relay(&url).await;
        }
    }
    for (address, relay) in &now.relays {
        if before.relays.get(address) != Some(relay) {
            insert(shared, *address, relay).await;
        }
    }
}

async fn insert(shared: &Shared, address: SocketAddr, relay: &Relay) {
    let Some(url) = relay_url(address) else {
        return;
    };
    let discovery = RelayQuicConfig::new(relay.discovery_port);
    let config = RelayConfig::new(url.clone(), Some(discovery));
    shared.endpoint.insert_relay(url, Arc::new(config)).await;
}

/// Looks after the home relay until the endpoint closes.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut look = interval(RELAY_LOOK_PERIOD);
    let mut down_since: Option<(SocketAddr, Instant)> = None;
    let mut on_probation: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
    loop {
        look.tick().await;
        for back in ended(&mut on_probation) {
            let relay = shared.roster.borrow().relays.get(&back).cloned();
            if let Some(relay) = relay {
                insert(&shared, back, &relay).await;
            }
        }
        let Some(relay) = disconnected(&shared) else {
            down_since = None;
            continue;
        };
        let (known, since) = *down_since.get_or_insert_with(|| (relay, Instant::now()));
        if known != relay {
            down_since = None;
            continue;
        }
        let others = shared
            .roster
            .borrow()
            .relays
            .len()
            .saturating_sub(on_probation.len());
        if since.elapsed() < RELAY_DOWN_MAX || others < 2 {
            continue;
        }
        leave(&shared, relay).await;
        on_probation.insert(relay, Instant::now() + RELAY_PROBATION);
        down_since = None;
    }
}

/// The relays whose time has come.
fn ended(on_probation: &mut BTreeMap<SocketAddr, Instant>) -> Vec<SocketAddr> {
    let now = Instant::now();
    let due = on_probation.iter().filter(|(_, until)| **until <= now);
    let due: Vec<SocketAddr> = due.map(|(relay, _)| *relay).collect();
    on_probation.retain(|_, until| *until > now);
    due
}

/// The home relay, where it is not connected.
fn disconnected(shared: &Shared) -> Option<SocketAddr> {
    let statuses = shared.endpoint.home_relay_status().get();
    let status = statuses.first().filter(|status| !status.is_connected())?;
    if let Some(reason) = status.auth_denied_reason() {
        info!(relay = %status.url(), reason, "the relay turns this machine away");
    }
    let roster = shared.roster.borrow();
    let mut relays = roster.relays.keys();
    relays
        .find(|relay| relay_url(**relay).as_ref() == Some(status.url()))
        .copied()
}

async fn leave(shared: &Shared, relay: SocketAddr) {
    let Some(url) = relay_url(relay) else {
        return;
    };
    warn!(%relay, "the home relay is gone; another one is taken");
    shared.endpoint.remove_relay(&url).await;
    shared.endpoint.network_change().await;
    let links: Vec<_> = lock(&shared.links).values().cloned().collect();
    for link in links.iter().filter(|link| link.is_relayed()) {
        link.reopen();
    }
    let lines: Vec<_> = lock(&shared.lines).values().cloned().collect();
    for line in lines.iter().filter(|line| line.is_relayed()) {
        line.close();
    }
}
