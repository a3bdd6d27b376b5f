//! The home relay: through which this machine is reached where nobody reaches it directly.
//!
//! iroh chooses it among the roster's relays and connects to it. What it does not do quickly is leave a dead one: left to
//! itself it takes half a minute. So a relay that has been down for a second is taken out for a while, the links that went
//! through it are opened anew, and it is tried again later. That makes this machine reachable again within seconds. Whether
//! a link that *another* machine had through the dead relay recovers as quickly depends on the order in which iroh tries
//! the addresses it remembers: in trials it took 2.4 s, or longer than 30 s.
//!
//! Nor does iroh soon notice that the connection to a relay was cut and the way there is open again, as after a network
//! was split in two: TCP asks ever more rarely. So when a link to the machine of the home relay, which had failed, is open
//! again, the connection to the relay is made anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use iroh::Watcher;
use iroh::endpoint::RelayStatus;
use iroh_relay::{RelayConfig, RelayQuicConfig};
use tokio::time::{Instant, interval};
use tracing::{debug, info, warn};

use super::roster::relay_url;
use super::{PeerKey, Relay, Roster, Shared, lacking, lock};
use crate::limits::{RELAY_DOWN_MAX, RELAY_LOOK_PERIOD, RELAY_PROBATION, RELAY_RENEWAL_MIN};

/// The relay that this machine is connected to.
pub(crate) fn connected(shared: &Shared) -> Option<SocketAddr> {
    home(shared).and_then(|(relay, status)| status.is_connected().then_some(relay))
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

/// A link to a peer, which had failed, is open again.
pub(crate) fn is_back(shared: &Shared, peer: &PeerKey) {
    let Some((relay, _)) = home(shared) else {
        return;
    };
    let roster = shared.roster.borrow();
    let member = roster.members.get(peer);
    if member.is_some_and(|member| member.relays.contains(&relay)) {
        shared.doubts_relay.store(true, Ordering::Relaxed);
    }
}

/// Looks after the home relay until the endpoint closes.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut renewed: Option<Instant> = None;
    let mut look = interval(RELAY_LOOK_PERIOD);
    let mut down_since: Option<(SocketAddr, Instant)> = None;
    let mut on_probation: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
    loop {
        look.tick().await;
        let is_early = renewed.is_some_and(|at| at.elapsed() < RELAY_RENEWAL_MIN);
        if !is_early && shared.doubts_relay.swap(false, Ordering::Relaxed) {
            renew(&shared).await;
            renewed = Some(Instant::now());
        }
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
    let (relay, status) = home(shared).filter(|(_, status)| !status.is_connected())?;
    if let Some(reason) = status.auth_denied_reason() {
        info!(relay = %status.url(), reason, "the relay turns this machine away");
    }
    Some(relay)
}

/// The home relay, and how it does.
fn home(shared: &Shared) -> Option<(SocketAddr, RelayStatus)> {
    let statuses = shared.endpoint.home_relay_status().get();
    let status = statuses.into_iter().next()?;
    let roster = shared.roster.borrow();
    let mut relays = roster.relays.keys();
    let relay = relays.find(|relay| relay_url(**relay).as_ref() == Some(status.url()))?;
    Some((*relay, status))
}

/// Connects to the home relay anew.
async fn renew(shared: &Shared) {
    let Some((address, _)) = home(shared) else {
        return;
    };
    let relay = shared.roster.borrow().relays.get(&address).cloned();
    if let Some((relay, url)) = relay.zip(relay_url(address)) {
        debug!(relay = %address, "connecting to the home relay anew");
        shared.endpoint.remove_relay(&url).await;
        insert(shared, address, &relay).await;
    }
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
