//! Peers: frames and questions between identities, whatever network lies between them.
//!
//! Rules:
//! - A peer is its Ed25519 key, which the QUIC handshake proves. Who may speak at all, and where each is, is a value,
//!   the [`Roster`]; whoever is not on it is turned away after the handshake, and whoever is taken off it is cut off.
//! - Nothing is asked of anybody who is not on the roster: no public resolver, relay or address service is known here.
//! - Frames are datagrams of any size, in order while a link lasts: what a full queue or a broken link swallows, the
//!   protocols above say again. [`Peers::send`] never waits.
//! - Each [`Protocol`] has connections, queues, windows and rates of its own, so that a flood on one leaves the others
//!   their room. Frames are sent on links that their sender has opened; nothing is sent back on a link of the other's.
//! - [`Peers::ask`] is the other way to speak: a question, and its answer. Guests, who hold an unused invite, may ask and
//!   nothing else; what they take is bounded apart from what members take.
//! - [`Peers::tunnel`] joins two machines by a stream of bytes, as for a request to a replica that runs elsewhere.
//! - Every wait ends and every buffer is bounded; [`PeerLimits`] names the bounds.

mod answer;
mod ask;
mod discovery;
mod frame;
mod hello;
mod homes;
mod incoming;
mod line;
mod neighbours;
mod outgoing;
mod pace;
mod pin;
mod protocol;
mod pulse;
mod relay;
mod relayed;
mod roster;
mod share;
mod tunnel;
mod ways;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use iroh::dns::{DnsResolver, FallbackMode};
use iroh::endpoint::{Connection, IdleTimeout, QuicTransportConfig, WeakConnectionHandle, presets};
use iroh::{Endpoint, EndpointAddr, SecretKey, TransportAddr};
use iroh_relay::tls::{CaTlsConfig, default_provider};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::info;

use crate::limits::{FIRST_STREAMS, PEER_INBOX_FRAMES_MAX, PeerLimits};
use crate::tasks::Tasks;
use hello::{Hello, Life};
use outgoing::Link;
use protocol::Purpose;

pub use answer::{Answered, Answerer, Question};
pub use ask::{AskError, Refusal};
pub use protocol::Protocol;
pub use relay::{MemberRelay, RelayError};
pub use roster::{Member, Operator, PeerKey, Relay, Roster};
pub use tunnel::{Tunnel, TunnelStream};

/// What does not change while the peers are open.
#[derive(Debug)]
pub struct PeersConfig {
    /// This machine's Ed25519 secret; its public half is its [`PeerKey`].
    pub secret: [u8; 32],
    /// Where to listen; port 0 takes any free one. None: all addresses, on a random port.
    pub listen: Option<SocketAddr>,
    /// Addresses under which this machine is reached from outside, where it knows them.
    pub external: Vec<SocketAddr>,
    /// The network's id: the first thing said on every link, so that networks do not mix.
    pub network: [u8; 32],
    /// Whether frames go by relays alone. For tests: direct paths are faster wherever there are any.
    pub is_relayed_only: bool,
    /// The bounds.
    pub limits: PeerLimits,
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// From whom; proven.
    pub from: PeerKey,
    /// On which protocol.
    pub protocol: Protocol,
    /// What.
    pub bytes: Bytes,
}

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It waits for its turn.
    Queued,
    /// It waits, and the oldest frames made room for it.
    QueuedOverOldest,
    /// Nobody of that key is on the roster.
    NotAMember,
    /// It is larger than the protocol allows.
    TooLarge,
}

/// How frames to a peer travel now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPath {
    /// To whom.
    pub peer: PeerKey,
    /// For what.
    pub protocol: Protocol,
    /// The way, where a link is open.
    pub way: Option<Way>,
    /// Why the last link ended or could not be opened.
    pub last_error: Option<String>,
}

/// A way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The address or relay.
    pub by: String,
    /// Whether it leads there without a relay.
    pub is_direct: bool,
    /// The time for there and back.
    pub round_trip: Duration,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// Connections turned away before their handshake, for want of room.
    pub handshakes_refused: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Connections of strangers, closed.
    pub strangers: u64,
    /// Connections closed because of what came on them: another network, too large or too slow a frame.
    pub offenders: u64,
    /// Questions handed to whoever answers them.
    pub questions_received: u64,
    /// Questions refused: too many, too large, too slow, or without an answer.
    pub questions_refused: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Frames that gave way to newer ones, or went with their link.
    pub frames_dropped: u64,
}

/// Why the peers cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The address cannot be used.
    #[error("listening for peers on {listen}: {reason}; choose another address or port")]
    Listen {
        /// Where.
        listen: String,
        /// What the system said.
        reason: String,
    },
}

/// The peers of this machine. Clones speak for the same; [`Peers::close`], or dropping the last, ends all links.
#[derive(Debug, Clone)]
pub struct Peers {
    shared: Arc<Owner>,
}

/// Stops everything when the last handle is dropped; the tasks hold only what is inside.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.tasks.stop();
        self.0.relays.tasks.stop();
    }
}

/// What the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    /// The first thing said on every link.
    pub(crate) hello: Hello,
    pub(crate) limits: PeerLimits,
    pub(crate) roster: watch::Sender<Arc<Roster>>,
    pub(crate) pins: pin::Pins,
    pub(crate) links: Mutex<BTreeMap<(PeerKey, Protocol), Arc<Link>>>,
    /// The newest connection on which a peer speaks.
    pub(crate) heard: Mutex<BTreeMap<(PeerKey, Purpose), WeakConnectionHandle>>,
    /// The life in which each peer was heard last.
    pub(crate) lives: Mutex<BTreeMap<PeerKey, Life>>,
    /// The ways for questions and tunnels of this machine's.
    pub(crate) lines: Mutex<BTreeMap<(PeerKey, Purpose), Arc<line::Line>>>,
    /// Whose ways were left, and who was not heard since.
    pub(crate) left: Mutex<BTreeSet<PeerKey>>,
    /// When this machine closed its connections to a peer last.
    pub(crate) closed: Mutex<BTreeMap<PeerKey, tokio::time::Instant>>,
    /// When the ways to a peer were left last because a call was not answered.
    pub(crate) doubted: Mutex<BTreeMap<PeerKey, tokio::time::Instant>>,
    /// Who says nothing now, though it was asked.
    pub(crate) silent: watch::Sender<BTreeSet<PeerKey>>,
    pub(crate) answering: answer::Answering,
    pub(crate) tunnelling: tunnel::Tunnelling,
    pub(crate) inboxes: BTreeMap<Protocol, mpsc::Sender<Received>>,
    pub(crate) handshakes: Arc<Semaphore>,
    /// The way to peers that are not reached directly.
    pub(crate) relays: Arc<relayed::Relays>,
    pub(crate) neighbours: neighbours::Neighbours,
    pub(crate) counts: Mutex<PeerCounts>,
    pub(crate) tasks: Tasks,
}

/// The frames that come, by protocol.
pub type Inboxes = BTreeMap<Protocol, mpsc::Receiver<Received>>;

impl Peers {
    /// Opens the endpoint. Nobody is let in before [`Peers::admit`].
    ///
    /// # Errors
    /// Where the address cannot be used.
    pub async fn open(config: PeersConfig) -> Result<(Self, Inboxes), PeersError> {
        let pins = pin::Pins::default();
        let (endpoint, relays) = bind(&config, &pins).await?;
        let channels =
            Protocol::ALL.map(|protocol| (protocol, mpsc::channel(PEER_INBOX_FRAMES_MAX)));
        let (mut inboxes, mut senders) = (Inboxes::new(), BTreeMap::new());
        for (protocol, (sender, receiver)) in channels {
            senders.insert(protocol, sender);
            inboxes.insert(protocol, receiver);
        }
        let shared = Arc::new(Shared {
            endpoint,
            hello: Hello {
                network: config.network,
                life: Life::new(),
            },
            handshakes: Arc::new(Semaphore::new(config.limits.handshakes_max)),
            relays,
            neighbours: neighbours::Neighbours::new(),
            roster: watch::Sender::new(Arc::default()),
            pins,
            links: Mutex::default(),
            heard: Mutex::default(),
            lives: Mutex::default(),
            lines: Mutex::default(),
            left: Mutex::default(),
            closed: Mutex::default(),
            doubted: Mutex::default(),
            silent: watch::Sender::default(),
            answering: answer::Answering::new(&config.limits.asks),
            tunnelling: tunnel::Tunnelling::new(&config.limits),
            inboxes: senders,
            counts: Mutex::default(),
            tasks: Tasks::default(),
            limits: config.limits,
        });
        shared.tasks.start(incoming::accept(Arc::clone(&shared)));
        shared.tasks.start(neighbours::meet(Arc::clone(&shared)));
        shared.tasks.start(ways::watch(Arc::clone(&shared)));
        let relays = Arc::clone(&shared.relays);
        shared.relays.tasks.start(relays.tend());
        info!(peer = %PeerKey(config_key(&shared.endpoint)), "peers open");
        Ok((
            Self {
                shared: Arc::new(Owner(shared)),
            },
            inboxes,
        ))
    }

    /// This machine's key.
    #[must_use]
    pub fn key(&self) -> PeerKey {
        PeerKey(config_key(&self.shared.0.endpoint))
    }

    /// Where this machine listens.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.shared.0.endpoint.bound_sockets()
    }

    /// Where this machine may be reached directly, as far as it knows: its own addresses, and those that others see.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.0.endpoint.addr().ip_addrs().copied().collect()
    }

    /// The relays through which this machine is reached: its homes. One that has died is named until another takes its place.
    #[must_use]
    pub fn homes(&self) -> BTreeSet<SocketAddr> {
        self.shared.0.relays.homes()
    }

    /// Looks for other members on the local networks where this machine has these addresses, and tells them its key and
    /// its port; on none before this. Addresses that are not private are left out.
    pub fn look_on(&self, own: BTreeSet<Ipv4Addr>) {
        self.shared.0.neighbours.look_on(own);
    }

    /// The roster as it was taken last, and as it changes.
    #[must_use]
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.shared.0.roster.subscribe()
    }

    /// Takes the newest roster. Links of those who are no longer on it are closed at once.
    pub async fn admit(&self, roster: Roster) {
        let shared = &self.shared.0;
        shared.pins.set(&roster);
        let before = shared.roster.send_replace(Arc::new(roster));
        let now = Arc::clone(&shared.roster.borrow());
        shared.relays.admit(Arc::clone(&now));
        discovery::apply(&shared.endpoint, &before, &now).await;
        let mut cut: Vec<WeakConnectionHandle> = Vec::new();
        lock(&shared.heard).retain(|(peer, purpose), connection| {
            let is_open = purpose.is_open_to(now.standing(peer));
            if !is_open {
                cut.push(connection.clone());
            }
            is_open
        });
        lock(&shared.links).retain(|(peer, _), link| {
            let is_member = now.members.contains_key(peer);
            if !is_member {
                link.end();
            }
            is_member
        });
        lock(&shared.lines).retain(|(peer, _), line| {
            let is_member = now.members.contains_key(peer);
            if !is_member {
                line.close();
            }
            is_member
        });
        lock(&shared.lives).retain(|peer, _| now.members.contains_key(peer));
        lock(&shared.left).retain(|peer| now.members.contains_key(peer));
        lock(&shared.doubted).retain(|peer, _| now.members.contains_key(peer));
        lock(&shared.closed).retain(|peer, _| now.members.contains_key(peer));
        shared.answering.retain(&now);
        let is_member = |peer: &PeerKey| now.members.contains_key(peer);
        shared.neighbours.retain(is_member);
        for connection in cut.iter().filter_map(WeakConnectionHandle::upgrade) {
            incoming::Closing::NotAMember.close(&connection);
        }
    }

    /// The questions that peers ask, for the first who wants them; taken before [`Peers::admit`], none is missed. Nobody
    /// else answers: without this, every question is refused.
    #[must_use]
    pub fn questions(&self) -> Option<mpsc::Receiver<Question>> {
        self.shared.0.answering.take()
    }

    /// Asks one member, and waits for its answer.
    ///
    /// # Errors
    /// Where there is none. The question may have arrived unless it is refused: ask twice only what may be answered twice.
    pub async fn ask(&self, to: PeerKey, question: Bytes) -> Result<Bytes, AskError> {
        ask::ask(&self.shared.0, to, question).await
    }

    /// The tunnels that peers open to this machine, for the first who wants them. Without this, each is refused.
    #[must_use]
    pub fn tunnels(&self) -> Option<mpsc::Receiver<Tunnel>> {
        self.shared.0.tunnelling.take()
    }

    /// Opens a tunnel to a member; what `target` means is for its owner to say.
    ///
    /// # Errors
    /// Where the member is not reached, or refuses; `ResourceBusy` where so many lead to the target already that another
    /// would leave too few for the others.
    pub async fn tunnel(&self, to: PeerKey, target: Bytes) -> std::io::Result<TunnelStream> {
        tunnel::open(&self.shared.0, to, target).await
    }

    /// Returns once nothing has come from a member for about a second, though something was asked of it; at once where that is
    /// so already. It may be gone, or its network: whoever can ask another member does better to.
    pub async fn silent(&self, peer: PeerKey) {
        let mut silent = self.shared.0.silent.subscribe();
        let is_open = silent
            .wait_for(|silent| silent.contains(&peer))
            .await
            .is_ok();
        if !is_open {
            std::future::pending::<()>().await;
        }
    }

    /// Sends a frame to one peer, now or as soon as it is reached.
    pub fn send(&self, to: PeerKey, protocol: Protocol, bytes: Bytes) -> Sent {
        let shared = &self.shared.0;
        if bytes.len() > protocol.terms().frame_bytes_max {
            return Sent::TooLarge;
        }
        if !shared.roster.borrow().members.contains_key(&to) || to == self.key() {
            return Sent::NotAMember;
        }
        let link = {
            let mut links = lock(&shared.links);
            let link = links.entry((to, protocol)).or_insert_with(|| {
                let link = Arc::new(Link::new(to, protocol));
                shared
                    .tasks
                    .start(outgoing::speak(Arc::clone(shared), Arc::clone(&link)));
                link
            });
            Arc::clone(link)
        };
        let dropped = link.queue.push(bytes);
        if dropped == 0 {
            return Sent::Queued;
        }
        shared.count(|counts| &mut counts.frames_dropped, dropped);
        Sent::QueuedOverOldest
    }

    /// Sends a frame to everybody on the roster but this machine.
    pub fn broadcast(&self, protocol: Protocol, bytes: &Bytes) {
        let roster = Arc::clone(&self.shared.0.roster.borrow());
        let own = self.key();
        for peer in roster.members.keys().filter(|peer| **peer != own) {
            self.send(*peer, protocol, bytes.clone());
        }
    }

    /// How frames travel to each peer that was spoken to.
    #[must_use]
    pub fn paths(&self) -> Vec<PeerPath> {
        let relays = &self.shared.0.relays;
        let links = lock(&self.shared.0.links);
        links.values().map(|link| link.path(relays)).collect()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> PeerCounts {
        *lock(&self.shared.0.counts)
    }

    /// Ends all links, telling the other sides.
    pub async fn close(self) {
        self.shared.0.tasks.stop();
        self.shared.0.endpoint.close().await;
        self.shared.0.relays.tasks.stop();
    }
}

impl Shared {
    /// Everything that is known of a member's whereabouts, and which of it its neighbours have heard.
    pub(crate) fn address(&self, peer: &PeerKey) -> Option<(EndpointAddr, Vec<SocketAddr>)> {
        let mut address = self.roster.borrow().address(peer)?;
        let places = self.neighbours.places_of(peer);
        for at in &places {
            address = address.with_ip_addr(*at);
        }
        Some((address, places))
    }

    pub(crate) fn count(&self, which: impl FnOnce(&mut PeerCounts) -> &mut u64, by: u64) {
        let mut counts = lock(&self.counts);
        let counter = which(&mut counts);
        *counter = counter.saturating_add(by);
    }
}

fn config_key(endpoint: &Endpoint) -> [u8; 32] {
    *endpoint.id().as_bytes()
}

/// The endpoint, with every service of others' left out.
async fn bind(
    config: &PeersConfig,
    pins: &pin::Pins,
) -> Result<(Endpoint, Arc<relayed::Relays>), PeersError> {
    let error = |reason: String| PeersError::Listen {
        listen: config
            .listen
            .map_or_else(|| "any address".into(), |listen| listen.to_string()),
        reason,
    };
    let limits = &config.limits;
    let idle = IdleTimeout::try_from(limits.idle_max).map_err(|never| error(never.to_string()))?;
    let transport_config = QuicTransportConfig::builder()
        .max_concurrent_uni_streams(1u8.into())
        // As many as whoever may ask or open tunnels gets in any case, so that the first need not wait until the other side
        // knows who asks, which is once more there and back. Nothing is read from them before that is known, and all together
        // hold no more than the window.
        .max_concurrent_bidi_streams(FIRST_STREAMS.into())
        .receive_window(limits.window_bytes.into())
        .stream_receive_window(limits.window_bytes.into())
        .send_window(limits.window_bytes.into())
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(limits.keep_alive)
        .max_idle_timeout(Some(idle))
        .build();
    let secret = SecretKey::from_bytes(&config.secret);
    let trust = trust(pins);
    let tls = trust.clone().client_config(default_provider());
    let tls = tls.map_err(|never| error(never.to_string()))?;
    let (relays, transport) = relayed::Relays::new(secret.clone(), tls, resolver());
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(secret)
        .alpns(Purpose::alpns())
        .dns_resolver(resolver())
        .ca_tls_config(trust)
        .add_custom_transport(transport)
        .path_selector(Arc::new(relayed::DirectFirst))
        .transport_config(transport_config);
    builder = discovery::only(builder);
    if let Some(listen) = config.listen {
        builder = builder.clear_ip_transports();
        builder = builder
            .bind_addr(listen)
            .map_err(|reason| error(reason.to_string()))?;
    }
    for address in &config.external {
        builder = builder.external_addr(*address);
    }
    if config.is_relayed_only {
        builder = builder.clear_ip_transports();
    }
    let endpoint = builder.bind().await;
    let endpoint = endpoint.map_err(|reason| error(chain(&reason)))?;
    Ok((endpoint, relays))
}

/// Whom relays are believed by.
fn trust(pins: &pin::Pins) -> CaTlsConfig {
    let pins = pins.clone();
    let verifier = move |provider| Ok(Arc::new(pin::Pinned::new(pins.clone(), provider)) as _);
    CaTlsConfig::custom_server_cert_verifier(Arc::new(verifier))
}

/// The machine's own resolver alone: without this, iroh falls back to public ones when that fails.
fn resolver() -> DnsResolver {
    DnsResolver::builder()
        .with_system_defaults()
        .with_fallback_mode(FallbackMode::Never)
        .build()
}

/// An error with everything that led to it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told = format!("{told}: {cause}");
        source = cause.source();
    }
    told
}

/// The way a connection to a peer takes now.
pub(crate) fn way(connection: &Connection, relays: &relayed::Relays) -> Option<Way> {
    let paths = connection.paths();
    let path = paths.iter().find(|path| path.is_selected())?;
    let by = match path.remote_addr() {
        TransportAddr::Ip(address) => address.to_string(),
        _ => {
            let peer = PeerKey(*connection.remote_id().as_bytes());
            let relay = relays.way_to(&peer).and_then(roster::relay_url);
            relay.map_or_else(|| "no relay".into(), |url| url.to_string())
        }
    };
    Some(Way {
        by,
        is_direct: path.is_ip(),
        round_trip: path.rtt(),
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The members of one roster that another lacks; for what has to change.
pub(crate) fn lacking<K: Ord + Copy, V, W>(
    of: &BTreeMap<K, V>,
    against: &BTreeMap<K, W>,
) -> BTreeSet<K> {
    of.keys()
        .filter(|key| !against.contains_key(*key))
        .copied()
        .collect()
}
