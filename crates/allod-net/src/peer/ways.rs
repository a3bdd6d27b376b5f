//! Whether the direct ways to peers still lead to them.
//!
//! A machine that gets another address, itself or from its router, says nothing on the connections that others have opened
//! to it: QUIC lets only whoever opened a connection move it (RFC 9000, section 9). The caller goes on calling the old
//! address, and iroh sends new calls there too, for as long as any connection is left that once went by it.
//!
//! Rules:
//! - A way is asked by whatever wants an answer on a connection of this machine's own making, and answered by whatever
//!   acknowledges that. What merely comes may come from anywhere ([`pulse::Packets`]).
//! - A way that gives no answer for a moment is left where the peer is heard elsewhere meanwhile, or says that it is
//!   elsewhere, or where this machine has not the address any more with which it asked. A silence with nothing of the kind may
//!   be a cable that is plugged in again, or a machine that is busy: what is under way there is given more time. So is a way
//!   on which much is lost.
//! - A call that nobody answers goes where the peer was once. Where it is heard meanwhile, and little is lost on the way, it is
//!   elsewhere, too.
//! - A peer of whom nothing at all has come for a moment, though something was asked of it, is silent, until it is heard. That
//!   says nothing for good; it is enough to ask somebody else first.
//! - A way is left with all connections to the peer, so that iroh forgets it; calls are made anew at once, to all addresses
//!   that are known and by relays.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{
    ConnectOptions, Connection, LocalTransportAddr, PathId, PathStats, WeakConnectionHandle,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::debug;

use super::{PeerKey, Shared, chain, lock, pulse};
use crate::limits::{
    CALL_AGE_MIN, CALL_DOUBT_PAUSE, CALL_PAUSE_MIN, CALL_SILENCE_MAX, LOSS_MAX_INVERSE, LOSSES_MIN,
    WAY_LOOK_PERIOD, WAY_ROUND_TRIP_MAX, WAY_SILENCE_MAX,
};

/// What is said to the other side of a way that is left.
const MOVED: &str = "nothing comes back on this way, and there may be another";

/// No address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Looks at the ways to all peers until the endpoint closes.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut look = interval(WAY_LOOK_PERIOD);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watched: BTreeMap<PeerKey, Watched> = BTreeMap::new();
    loop {
        look.tick().await;
        let now = Instant::now();
        let seen = shared.seen();
        watched.retain(|peer, _| seen.contains_key(peer));
        // Of whom no connection is left nothing new is known.
        let mut silent = shared.silent.borrow().clone();
        silent.retain(|peer| {
            !seen.contains_key(peer) && shared.roster.borrow().members.contains_key(peer)
        });
        for (peer, flows) in seen {
            let ways = watched.entry(peer).or_insert_with(|| Watched::new(now));
            let is_said_elsewhere =
                |at: SocketAddr| shared.neighbours.is_elsewhere(&peer, at, Instant::now());
            let is_lost = ways.look(flows, is_said_elsewhere, shared.limits.silence_max, now);
            if ways.are_silent(now) {
                silent.insert(peer);
            }
            if let Some(at) = is_lost {
                debug!(?peer, %at, "a way leads nowhere any more");
                watched.remove(&peer);
                shared.leave(&peer, MOVED);
            }
        }
        shared.silent.send_if_modified(|before| {
            let is_news = *before != silent;
            *before = silent;
            is_news
        });
    }
}

/// One path of one connection.
type Path = (usize, PathId);

/// What went over a path.
#[derive(Debug, Clone, Copy)]
struct Flow {
    by: By,
    asked: u64,
    /// Changes with every answer where this machine has called, and otherwise with whatever comes.
    heard: u128,
    round_trip: Duration,
    sent: u64,
    lost: u64,
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// To this address, which this machine has called; and whether this machine still has the address it called with, and a
    /// path there at all.
    Called(SocketAddr, bool),
    /// The peer has called, or relays carry.
    Other,
}

/// The ways to one peer.
#[derive(Debug)]
struct Watched {
    flows: BTreeMap<Path, Flow>,
    silences: BTreeMap<SocketAddr, Silence>,
    /// Since when the peer has said nothing at all, though something was asked of it.
    unheard: Option<Instant>,
    looked: Instant,
}

/// Since when an address gives no answer.
#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Instant,
    /// Since when it is known that the peer is heard elsewhere, or must be elsewhere.
    elsewhere: Option<Instant>,
}

/// What one look at an address shows.
#[derive(Debug, Clone, Copy, Default)]
struct Glance {
    is_asked: bool,
    is_heard: bool,
    is_unbound: bool,
    /// The shortest of all that go there: one that has just begun takes its first answer's time for that of all.
    round_trip: Option<Duration>,
    sent: u64,
    lost: u64,
}

impl Watched {
    const fn new(now: Instant) -> Self {
        Self {
            flows: BTreeMap::new(),
            silences: BTreeMap::new(),
            unheard: None,
            looked: now,
        }
    }

    /// Looks once, and returns an address at which the peer is no more.
    fn look(
        &mut self,
        flows: BTreeMap<Path, Flow>,
        is_said_elsewhere: impl Fn(SocketAddr) -> bool,
        silence_max: Duration,
        now: Instant,
    ) -> Option<SocketAddr> {
        // A look that comes late says more about this machine than about the others.
        let was_away = now.duration_since(self.looked) > WAY_LOOK_PERIOD * 3;
        self.looked = now;
        let (glances, is_heard_aside) = self.glances(&flows);
        let is_asked = self.is_asked(&flows);
        self.flows = flows;
        if was_away {
            self.silences.clear();
        }
        self.silences.retain(|at, _| glances.contains_key(at));
        let heard_count = glances.values().filter(|glance| glance.is_heard).count();
        if is_heard_aside || heard_count > 0 || was_away {
            self.unheard = None;
        } else if is_asked {
            self.unheard.get_or_insert(now);
        }
        let mut lost = None;
        for (at, glance) in glances {
            if glance.is_heard {
                self.silences.remove(&at);
                continue;
            }
            if !glance.is_asked && !self.silences.contains_key(&at) {
                continue;
            }
            let silence = self.silences.entry(at).or_insert(Silence {
                since: now,
                elsewhere: None,
            });
            let lasts = now.duration_since(silence.since);
            let round_trip = glance.round_trip.unwrap_or_default();
            // What was on its way when the silence began says nothing.
            let is_heard_elsewhere =
                (is_heard_aside || heard_count > 0) && lasts >= WAY_LOOK_PERIOD + round_trip;
            if is_heard_elsewhere || glance.is_unbound || is_said_elsewhere(at) {
                silence.elsewhere.get_or_insert(now);
            }
            // A machine that stood still and goes on is given the time to answer, too.
            let is_elsewhere = silence
                .elsewhere
                .is_some_and(|since| now.duration_since(since) >= WAY_LOOK_PERIOD + round_trip);
            // Where much is lost, so may be all that was said in a moment.
            let is_lossy = is_lossy(glance.lost, glance.sent);
            let patience = if is_elsewhere && !is_lossy {
                (WAY_SILENCE_MAX + round_trip * 6).min(silence_max)
            } else {
                silence_max
            };
            if lasts >= patience {
                lost = Some(at);
            }
        }
        lost
    }

    /// Whether the peer has said nothing for so long that it may be gone.
    fn are_silent(&self, now: Instant) -> bool {
        let round_trips = self.flows.values().map(|flow| flow.round_trip);
        let patience = WAY_SILENCE_MAX + round_trips.max().unwrap_or_default() * 6;
        let lasts = self.unheard.map(|since| now.duration_since(since));
        lasts.is_some_and(|lasts| lasts >= patience)
    }

    /// Whether anything was asked since the last look.
    fn is_asked(&self, flows: &BTreeMap<Path, Flow>) -> bool {
        flows.iter().any(|(path, flow)| {
            let before = self.flows.get(path);
            before.is_some_and(|before| flow.asked > before.asked)
        })
    }

    /// What has changed at each address since the last look, and whether the peer was heard otherwise.
    fn glances(&self, flows: &BTreeMap<Path, Flow>) -> (BTreeMap<SocketAddr, Glance>, bool) {
        let mut glances: BTreeMap<SocketAddr, Glance> = BTreeMap::new();
        let mut is_heard_aside = false;
        for (path, flow) in flows {
            let before = self.flows.get(path);
            let is_heard = before.is_none_or(|before| flow.heard != before.heard);
            match flow.by {
                By::Called(at, is_bound) => {
                    let glance = glances.entry(at).or_default();
                    glance.is_heard |= is_heard;
                    // Nobody answers what cannot be asked.
                    glance.is_asked |=
                        !is_bound || before.is_some_and(|before| flow.asked > before.asked);
                    glance.is_unbound |= !is_bound;
                    let known = glance.round_trip.unwrap_or(flow.round_trip);
                    glance.round_trip = Some(known.min(flow.round_trip));
                    glance.sent += flow.sent;
                    glance.lost += flow.lost;
                }
                By::Other => is_heard_aside |= is_heard,
            }
        }
        (glances, is_heard_aside)
    }
}

/// What went over a connection that the peer has opened.
struct Aside {
    came: u64,
    sent: u64,
    lost: u64,
}

impl Shared {
    /// What goes on between this machine and each peer.
    fn seen(&self) -> BTreeMap<PeerKey, BTreeMap<Path, Flow>> {
        let mut bound = BTreeMap::new();
        let mut seen: BTreeMap<PeerKey, BTreeMap<Path, Flow>> = BTreeMap::new();
        for (peer, connection) in self.called() {
            let flows = seen.entry(peer).or_default();
            let paths = connection.paths();
            if paths.is_empty() {
                let key = (connection.stable_id(), PathId::ZERO);
                flows.insert(key, Flow::NOWHERE);
            }
            for path in paths.iter() {
                let by = match path.remote_addr() {
                    TransportAddr::Ip(at) => {
                        By::Called(*at, is_bound(&mut bound, path.local_addr()))
                    }
                    _ => By::Other,
                };
                let flow = Flow::of(by, &path.stats());
                flows.insert((connection.stable_id(), path.id()), flow);
            }
        }
        for ((peer, _), connection) in lock(&self.heard).iter() {
            let Some((flows, connection)) = seen.get_mut(peer).zip(connection.upgrade()) else {
                continue;
            };
            for path in connection.paths().iter() {
                let flow = Flow::of(By::Other, &path.stats());
                flows.insert((connection.stable_id(), path.id()), flow);
            }
        }
        seen
    }

    /// The connections that this machine has opened.
    fn called(&self) -> Vec<(PeerKey, Connection)> {
        let links = lock(&self.links);
        let links = links
            .values()
            .filter_map(|link| Some((link.peer, link.connection()?)));
        let lines = lock(&self.lines);
        let lines = lines
            .iter()
            .filter_map(|((peer, _), line)| Some((*peer, line.open()?)));
        links.chain(lines).collect()
    }

    /// Leaves all ways to a peer, the peer's own included, and goes by new ones.
    pub(crate) fn leave(&self, peer: &PeerKey, why: &str) {
        let heard: Vec<_> = lock(&self.heard)
            .iter()
            .filter(|((of, _), _)| of == peer)
            .filter_map(|(_, connection)| WeakConnectionHandle::upgrade(connection))
            .collect();
        for connection in heard {
            connection.close(0u8.into(), why.as_bytes());
        }
        lock(&self.left).insert(*peer);
        self.call_anew(peer);
    }

    /// Has a peer called without a pause, who may be where it was not before, and calls made anew that have long been under
    /// way, or began when nobody knew where it is.
    pub(crate) fn hurry(&self, peer: &PeerKey) {
        let age_min = if lock(&self.left).remove(peer) {
            Duration::ZERO
        } else {
            CALL_AGE_MIN
        };
        let links: Vec<_> = lock(&self.links).values().cloned().collect();
        for link in links.iter().filter(|link| link.peer == *peer) {
            link.hurry(age_min);
        }
        let lines = lock(&self.lines);
        for (_, line) in lines.iter().filter(|((of, _), _)| of == peer) {
            line.hurry(age_min);
        }
    }

    /// Calls a peer at all addresses that are known, and by relays.
    pub(crate) async fn call(
        &self,
        peer: &PeerKey,
        alpn: &[u8],
        options: ConnectOptions,
    ) -> Result<Connection, String> {
        self.forgotten(peer).await;
        let (address, places) = self
            .address(peer)
            .ok_or("the peer is not on the roster, or its key is none")?;
        let calling = async {
            let connecting = self.endpoint.connect_with_opts(address, alpn, options);
            let connecting = connecting.await.map_err(|error| chain(&error))?;
            connecting.await.map_err(|error| chain(&error))
        };
        let called = async {
            tokio::select! {
                called = calling => called,
                never = self.doubt(peer) => match never {},
            }
        };
        let called = timeout(self.limits.connect_time_max, called).await;
        let called = called.unwrap_or_else(|_| Err("the peer did not answer in time".into()));
        let found = called.as_ref().ok().and_then(found_at);
        self.neighbours.tried(peer, &places, found);
        called
    }

    /// Waits until the connections that were closed are forgotten.
    async fn forgotten(&self, peer: &PeerKey) {
        let closed = lock(&self.closed).get(peer).copied();
        if let Some(closed) = closed {
            sleep_until(closed + CALL_PAUSE_MIN).await;
        }
    }

    /// Leaves the ways to a peer where a call to it has long been unanswered while it is heard.
    async fn doubt(&self, peer: &PeerKey) -> Infallible {
        let before = self.aside(peer);
        sleep(CALL_SILENCE_MAX).await;
        let now = self.aside(peer);
        let is_heard = now
            .iter()
            .filter(|(connection, _)| before.contains_key(connection))
            .any(|(connection, now)| {
                let is_lossy = now.lost * LOSS_MAX_INVERSE > now.sent;
                before
                    .get(connection)
                    .is_some_and(|before| now.came > before.came)
                    && !is_lossy
            });
        if is_heard && self.may_doubt(peer) {
            debug!(?peer, "a call leads nowhere, and the peer is heard");
            self.leave(peer, MOVED);
        }
        std::future::pending().await
    }

    /// Whether the last time is long past: where calls lead nowhere for another reason, the peer's own ways are left alone.
    fn may_doubt(&self, peer: &PeerKey) -> bool {
        let (mut doubted, now) = (lock(&self.doubted), Instant::now());
        let is_due = doubted
            .get(peer)
            .is_none_or(|last| now.duration_since(*last) >= CALL_DOUBT_PAUSE);
        if is_due {
            doubted.insert(*peer, now);
        }
        is_due
    }

    /// What went over the connections that a peer has opened.
    fn aside(&self, peer: &PeerKey) -> BTreeMap<usize, Aside> {
        let heard = lock(&self.heard);
        let of_peer = heard.iter().filter(|((of, _), _)| of == peer);
        let open = of_peer.filter_map(|(_, connection)| connection.upgrade());
        open.map(|connection| {
            let stats = connection.stats();
            let aside = Aside {
                came: stats.udp_rx.datagrams,
                sent: stats.sent_packets,
                lost: stats.lost_packets,
            };
            (connection.stable_id(), aside)
        })
        .collect()
    }

    /// Leaves this machine's own ways to a peer, and goes by new ones; calls that are under way are made anew.
    pub(crate) fn call_anew(&self, peer: &PeerKey) {
        lock(&self.closed).insert(*peer, Instant::now());
        let links: Vec<_> = lock(&self.links).values().cloned().collect();
        for link in links.iter().filter(|link| link.peer == *peer) {
            link.reopen();
        }
        let lines = lock(&self.lines);
        for (_, line) in lines.iter().filter(|((of, _), _)| of == peer) {
            line.close();
            line.renew();
        }
    }
}

impl Flow {
    /// That of a connection whose paths were all lost with this machine's own address.
    const NOWHERE: Self = Self {
        by: By::Called(NOWHERE, false),
        asked: 0,
        heard: 0,
        round_trip: Duration::ZERO,
        sent: 0,
        lost: 0,
    };

    fn of(by: By, stats: &PathStats) -> Self {
        let packets = pulse::Packets::of(stats);
        Self {
            by,
            asked: packets.asked,
            heard: match by {
                By::Called(..) => packets.answered,
                By::Other => stats.udp_rx.datagrams.into(),
            },
            round_trip: stats.rtt.min(WAY_ROUND_TRIP_MAX),
            sent: stats.sent_packets,
            lost: stats.lost_packets.saturating_sub(stats.lost_plpmtud_probes),
        }
    }
}

/// Whether much is lost on a way. What is said on a dead one is not counted among that: nothing comes by which it would show.
const fn is_lossy(lost: u64, sent: u64) -> bool {
    lost >= LOSSES_MIN && lost.saturating_mul(LOSS_MAX_INVERSE) > sent
}

/// The address at which a call found its peer, where it was none of a relay's.
fn found_at(connection: &Connection) -> Option<SocketAddr> {
    let paths = connection.paths();
    paths.iter().find_map(|path| match path.remote_addr() {
        TransportAddr::Ip(at) => Some(*at),
        _ => None,
    })
}

/// Whether this machine has an address still.
fn is_bound(known: &mut BTreeMap<IpAddr, bool>, own: &LocalTransportAddr) -> bool {
    let LocalTransportAddr::Ip(Some(own)) = own else {
        return true;
    };
    let is_gone = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrNotAvailable;
    *known
        .entry(*own)
        .or_insert_with(|| !UdpSocket::bind((*own, 0)).is_err_and(is_gone))
}

#[cfg(test)]
mod tests;
