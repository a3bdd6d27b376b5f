//! Packets by relays: to QUIC, all relays together are one path to a peer, whose address is the peer's key.
//!
//! Rules:
//! - Which relay a packet takes is decided packet by packet: a relay that dies costs a few packets, and no connection.
//! - This machine is found by its homes: the nearest two of a few relays that it tries. It keeps connections to them, and
//!   to the relays of those whom it speaks with.
//! - A peer is answered by the relay by which it was heard, while that is alive and not long ago, and otherwise by every
//!   living one that it may be found by: QUIC takes no packet twice. A relay can say that it heard anybody. So it has a peer
//!   to itself only where the peer names it, or names none.
//! - What cannot be sent is dropped. A relay that somebody names and that is not there holds up nobody.
//!
//! iroh has relays of its own, which this replaces: it stays with a dead one for half a minute, and what waits for a dead
//! one holds up what goes by the others (`RelayActor` in iroh 1.4.1 takes no packet for any relay while one for a dead
//! relay finds no room). It is told of the relays only so that it asks them for this machine's own address.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use iroh::dns::DnsResolver;
use iroh::endpoint::transports::{
    CustomEndpoint, CustomSender, CustomTransport, PathSelection, PathSelectionContext,
    PathSelector, RecvInfo, Transmit,
};
use iroh::{EndpointId, RelayUrl, SecretKey};
use iroh_base::CustomAddr;
use iroh_relay::client::{Client, ClientBuilder, ConnectError};
use iroh_relay::protos::relay::Datagrams;
use noq_udp::RecvMeta;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::wire::Wire;
use super::{PeerKey, Roster, homes, lock};
use crate::limits::{
    HOMES_MAX, HOMES_PERIOD, HOMES_TRIED_MAX, RELAY_IDLE_MAX, RELAYED_FRESH, RELAYED_INBOX_MAX,
};
use crate::tasks::Tasks;

/// The kind of address that a peer's key is.
const KIND: u64 = u64::from_be_bytes(*b"allodkey");
/// A path has to be so much faster than the one in use to take its place.
const FASTER_BY: Duration = Duration::from_millis(5);

/// The relays as this machine uses them.
pub(crate) struct Relays {
    own: PeerKey,
    secret: SecretKey,
    tls: rustls::ClientConfig,
    resolver: DnsResolver,
    roster: Mutex<Arc<Roster>>,
    wires: Mutex<BTreeMap<SocketAddr, Wire>>,
    /// By which relay each peer was heard last, and when.
    heard: Mutex<BTreeMap<PeerKey, (SocketAddr, Instant)>>,
    homes: Mutex<BTreeSet<SocketAddr>>,
    inbox: mpsc::Sender<Parcel>,
    /// The connection to some relay was opened or lost, or there is another roster.
    pub(crate) changed: Notify,
    pub(crate) tasks: Tasks,
}

/// What came by a relay.
#[derive(Debug)]
struct Parcel {
    from: PeerKey,
    datagrams: Datagrams,
}

/// The address of a peer that relays are known for.
pub(crate) fn address_of(peer: &PeerKey) -> CustomAddr {
    CustomAddr::from_parts(KIND, &peer.0)
}

fn peer_at(address: &CustomAddr) -> Option<PeerKey> {
    let key: [u8; 32] = address.data().try_into().ok()?;
    (address.id() == KIND).then_some(PeerKey(key))
}

impl Relays {
    /// The relays, and how QUIC uses them.
    pub(crate) fn new(
        secret: SecretKey,
        tls: rustls::ClientConfig,
        resolver: DnsResolver,
    ) -> (Arc<Self>, Arc<Transport>) {
        let (inbox, parcels) = mpsc::channel(RELAYED_INBOX_MAX);
        let relays = Arc::new(Self {
            own: PeerKey(*secret.public().as_bytes()),
            secret,
            tls,
            resolver,
            roster: Mutex::default(),
            wires: Mutex::default(),
            heard: Mutex::default(),
            homes: Mutex::default(),
            inbox,
            changed: Notify::new(),
            tasks: Tasks::default(),
        });
        let transport = Transport {
            relays: Arc::clone(&relays),
            parcels: Mutex::new(Some(parcels)),
        };
        (relays, Arc::new(transport))
    }

    /// Takes the newest roster.
    pub(crate) fn admit(&self, roster: Arc<Roster>) {
        lock(&self.heard).retain(|peer, _| roster.standing(peer).is_some());
        *lock(&self.roster) = roster;
        self.changed.notify_one();
    }

    /// The relays by which this machine is found.
    pub(crate) fn homes(&self) -> BTreeSet<SocketAddr> {
        lock(&self.homes).clone()
    }

    /// The relay that a packet to a peer would take now.
    pub(crate) fn way_to(&self, peer: &PeerKey) -> Option<SocketAddr> {
        self.ways_to(peer).first().copied()
    }

    /// Calls a relay.
    pub(crate) async fn call(&self, url: RelayUrl) -> Result<Client, ConnectError> {
        let builder = ClientBuilder::new(url, self.secret.clone(), self.resolver.clone());
        let builder = builder.tls_client_config(self.tls.clone());
        // What this makes is large, and it is made rarely.
        Box::pin(builder.connect()).await
    }

    /// Takes what came by a relay. Where nobody takes it in time it is dropped, and said again.
    pub(crate) fn receive(&self, from: PeerKey, by: SocketAddr, datagrams: Datagrams) {
        if lock(&self.roster).standing(&from).is_none() {
            return;
        }
        lock(&self.heard).insert(from, (by, Instant::now()));
        let _ = self.inbox.try_send(Parcel { from, datagrams });
    }

    /// The relays that a packet to a peer takes, the best first.
    fn ways_to(&self, peer: &PeerKey) -> Vec<SocketAddr> {
        let now = Instant::now();
        let heard = lock(&self.heard).get(peer).copied();
        let mut known = self.listed(peer);
        let homes = self.homes();
        let wires = lock(&self.wires);
        let is_alive = |relay: &SocketAddr| {
            let wire = wires.get(relay);
            wire.is_some_and(|wire| wire.pulse.is_alive(now))
        };
        if let Some((by, at)) = heard.filter(|(by, _)| is_alive(by)) {
            let is_named = known.is_empty() || known.contains(&by);
            if is_named && now.duration_since(at) <= RELAYED_FRESH {
                return vec![by];
            }
            known.retain(|relay| *relay != by);
            known.insert(0, by);
        }
        // Where none of its relays lives, those of this machine may be its own by now.
        if !known.iter().any(is_alive) {
            known.extend(homes.difference(&known.iter().copied().collect()));
        }
        if known.iter().any(is_alive) {
            known.retain(is_alive);
        }
        known
    }

    /// The relays by which a peer says that it may be found.
    fn listed(&self, peer: &PeerKey) -> Vec<SocketAddr> {
        let roster = Arc::clone(&lock(&self.roster));
        let member = roster.members.get(peer);
        let named = member.into_iter().flat_map(|member| &member.relays);
        let known = named.filter(|relay| roster.relays.contains_key(relay));
        known.copied().collect()
    }

    fn send(self: &Arc<Self>, to: &PeerKey, transmit: &Transmit<'_>) {
        let Ok(peer) = EndpointId::from_bytes(&to.0) else {
            return;
        };
        let segment = transmit.segment_size.and_then(|size| size.try_into().ok());
        let datagrams = Datagrams {
            ecn: None,
            segment_size: segment.and_then(NonZeroU16::new),
            contents: Bytes::copy_from_slice(transmit.contents),
        };
        let ways = self.ways_to(to);
        let mut wires = lock(&self.wires);
        for relay in ways {
            let wire = wires
                .entry(relay)
                .or_insert_with(|| Wire::start(self, relay));
            wire.wanted = Instant::now();
            wire.send(peer, datagrams.clone());
        }
    }

    /// Chooses the homes and looks after the connections, until the endpoint closes.
    pub(crate) async fn tend(self: Arc<Self>) {
        loop {
            let homes = self.tidy(Instant::now());
            let before = std::mem::replace(&mut *lock(&self.homes), homes.clone());
            if before != homes {
                debug!(?homes, "this machine's homes have changed");
            }
            let _ = timeout(HOMES_PERIOD, self.changed.notified()).await;
        }
    }

    /// Ends the connections that nobody wants, calls relays where homes are missing, and returns the homes.
    fn tidy(self: &Arc<Self>, now: Instant) -> BTreeSet<SocketAddr> {
        let roster = Arc::clone(&lock(&self.roster));
        let before = lock(&self.homes).clone();
        let mut wires = lock(&self.wires);
        wires.retain(|relay, wire| {
            let is_wanted = now.duration_since(wire.wanted) <= RELAY_IDLE_MAX;
            roster.relays.contains_key(relay) && (is_wanted || before.contains(relay))
        });
        let alive = wires.iter().filter(|(_, wire)| wire.pulse.is_alive(now));
        // Whoever is a home stays one: others were told.
        let mut alive: Vec<_> = alive
            .map(|(relay, wire)| (!before.contains(relay), wire.pulse.round_trip(), *relay))
            .collect();
        alive.sort_unstable();
        let alive = alive.into_iter().map(|(.., relay)| relay).collect();
        let mut homes = homes::chosen(&roster, alive);
        let is_enough = homes::are_enough(&roster, &homes);
        // A dead one stays until another one takes its place: most come back, and others would have to be told twice.
        let known = before.iter().filter(|it| roster.relays.contains_key(it));
        let turns_away = |it: &SocketAddr| wires.get(it).is_some_and(|it| it.pulse.turns_away());
        let dead = known
            .filter(|it| !homes.contains(it) && !turns_away(it))
            .copied();
        let dead: Vec<_> = dead.take(HOMES_MAX - homes.len()).collect();
        homes.extend(dead);
        if !is_enough {
            let is_dead = |relay: &SocketAddr| wires.get(relay).is_some_and(|it| it.is_dead(now));
            let candidates = homes::in_order(&self.own, &roster, is_dead);
            for relay in candidates.into_iter().take(HOMES_TRIED_MAX) {
                let wire = wires
                    .entry(relay)
                    .or_insert_with(|| Wire::start(self, relay));
                wire.wanted = now;
            }
        }
        homes
    }
}

impl std::fmt::Debug for Relays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relays")
            .field("own", &self.own)
            .field("homes", &self.homes)
            .finish_non_exhaustive()
    }
}

/// Gives the endpoint its relayed path.
#[derive(Debug)]
pub(crate) struct Transport {
    relays: Arc<Relays>,
    parcels: Mutex<Option<mpsc::Receiver<Parcel>>>,
}

impl CustomTransport for Transport {
    fn bind(&self) -> io::Result<Box<dyn CustomEndpoint>> {
        let parcels = lock(&self.parcels).take();
        Ok(Box::new(Door {
            relays: Arc::clone(&self.relays),
            own: n0_watcher::Watchable::new(vec![address_of(&self.relays.own)]),
            parcels: parcels.ok_or(io::ErrorKind::AlreadyExists)?,
            begun: None,
        }))
    }
}

/// Where packets come in.
#[derive(Debug)]
struct Door {
    relays: Arc<Relays>,
    own: n0_watcher::Watchable<Vec<CustomAddr>>,
    parcels: mpsc::Receiver<Parcel>,
    /// What did not fit into one buffer.
    begun: Option<Parcel>,
}

impl CustomEndpoint for Door {
    fn watch_local_addrs(&self) -> n0_watcher::Direct<Vec<CustomAddr>> {
        self.own.watch()
    }

    fn create_sender(&self) -> Arc<dyn CustomSender> {
        Arc::new(Slot(Arc::clone(&self.relays)))
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        infos: &mut [RecvInfo],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for ((buf, meta), info) in bufs.iter_mut().zip(metas).zip(infos) {
            match self.fill(cx, buf, meta, info) {
                Poll::Ready(Ok(())) => count += 1,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(count))
    }

    // Packets of any number are carried together; a smaller number would be the limit for UDP as well.
    fn max_transmit_segments(&self) -> NonZeroUsize {
        NonZeroUsize::MAX
    }
}

impl Door {
    /// Puts the next packets of one sender into a buffer.
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut IoSliceMut<'_>,
        meta: &mut RecvMeta,
        info: &mut RecvInfo,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut parcel = match self.begun.take() {
                Some(parcel) => parcel,
                None => match self.parcels.poll_recv(cx) {
                    Poll::Ready(Some(parcel)) => parcel,
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                },
            };
            let segment = parcel.datagrams.segment_size.map(u16::from);
            let fitting = segment.map_or(1, |size| buf.len() / usize::from(size));
            let part = parcel.datagrams.take_segments(fitting);
            let Some(room) = buf.get_mut(..part.contents.len()) else {
                debug!(from = ?parcel.from, "a packet that came by a relay is too large");
                continue;
            };
            // A packet larger than any buffer leaves nothing to take, now or later.
            if part.contents.is_empty() {
                continue;
            }
            room.copy_from_slice(&part.contents);
            meta.len = part.contents.len();
            meta.stride = segment.map_or(meta.len, usize::from);
            meta.ecn = None;
            meta.dst_ip = None;
            *info = RecvInfo::new(address_of(&parcel.from), None);
            if !parcel.datagrams.contents.is_empty() {
                self.begun = Some(parcel);
            }
            return Poll::Ready(Ok(()));
        }
    }
}

/// Where packets go out.
#[derive(Debug)]
struct Slot(Arc<Relays>);

impl CustomSender for Slot {
    fn is_valid_send_addr(&self, address: &CustomAddr) -> bool {
        peer_at(address).is_some()
    }

    fn poll_send(
        &self,
        _cx: &mut Context<'_>,
        to: &CustomAddr,
        _from: Option<&CustomAddr>,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(peer) = peer_at(to) {
            self.0.send(&peer, transmit);
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes a direct path wherever there is one, and of several the fastest.
#[derive(Debug)]
pub(crate) struct DirectFirst;

impl PathSelector for DirectFirst {
    fn select(&self, context: &PathSelectionContext<'_>) -> PathSelection {
        let mut selection = PathSelection::none();
        let rank = |path: &iroh::endpoint::transports::PathSelectionData<'_>| {
            let round_trip = path.stats()?.rtt;
            let is_current = Some(path.network_path()) == context.current();
            let handicap = if is_current {
                Duration::ZERO
            } else {
                FASTER_BY
            };
            Some((!path.network_path().is_ip(), round_trip + handicap))
        };
        let ranked = context
            .paths()
            .filter_map(|path| Some((rank(&path)?, path)));
        if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
            selection.set(&best);
        }
        selection
    }
}

#[cfg(test)]
mod tests;
