//! Every bound of this crate, by name: what may be held, how long anything may take.
//!
//! A limit that a test or an installation may want to change is a field; the others are constants.

use std::time::Duration;

/// What the ingress may hold and how long it waits.
#[derive(Debug, Clone)]
pub struct IngressLimits {
    /// Client connections open at once, over all listeners; for a further one an idle one goes.
    pub connections_max: usize,
    /// Of them, those of one address (of one /64 network of IPv6): fewer than one replica answers at once, so that no
    /// address alone takes a replica from others. Still hundreds, because a proxy in front of this
    /// machine is one address, and so is everybody on it: loopback.
    pub connections_per_source_max: usize,
    /// Of one address's connections, those that wait for their client: half open, slow, or kept
    /// for a next request. For a further one the longest idle of that address goes.
    pub idle_per_source_max: usize,
    /// Bytes of a request head (request line and headers); more is answered 431.
    pub head_bytes_max: usize,
    /// Header lines of one request or response.
    pub headers_max: usize,
    /// The whole request head must have arrived within this time; also how long an idle
    /// connection is kept.
    pub head_timeout: Duration,
    /// A body, in either direction, may pause this long.
    pub body_idle: Duration,
    /// A client that takes no byte of its answer for this long is closed.
    pub write_stall: Duration,
    /// An upgraded connection (WebSocket) may be silent this long.
    pub tunnel_idle: Duration,
    /// Opening a connection to a backend.
    pub connect_timeout: Duration,
    /// From the last byte of the request sent to the head of the answer.
    pub response_head_timeout: Duration,
    /// Requests that one service may have open at once, over all its backends: a part of the
    /// connections, so that one flooded service leaves room for the others.
    pub requests_per_service_max: usize,
    /// Requests that one backend may have open at once.
    pub requests_per_backend_max: usize,
    /// Idle connections kept to one backend.
    pub idle_per_backend_max: usize,
    /// How long a connection to a backend is kept idle. Shorter than the five seconds after which
    /// common servers close theirs, so that we rarely write into a closing connection.
    pub idle_backend: Duration,
    /// How long a request waits for a service that is starting, before it is answered 503.
    pub starting_hold: Duration,
    /// Requests that may wait so at once.
    pub held_max: usize,
}

impl Default for IngressLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_source_max: 768,
            idle_per_source_max: 512,
            head_bytes_max: 32 * 1024,
            headers_max: 100,
            head_timeout: Duration::from_secs(15),
            body_idle: Duration::from_secs(300),
            write_stall: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            connect_timeout: Duration::from_secs(3),
            response_head_timeout: Duration::from_secs(120),
            requests_per_service_max: 2048,
            requests_per_backend_max: 1024,
            idle_per_backend_max: 32,
            idle_backend: Duration::from_secs(4),
            starting_hold: Duration::from_secs(5),
            held_max: 256,
        }
    }
}

impl IngressLimits {
    pub(crate) const fn places(&self) -> PlaceLimits {
        PlaceLimits {
            all_max: self.connections_max,
            per_source_max: self.connections_per_source_max,
            idle_per_source_max: self.idle_per_source_max,
        }
    }
}

/// Places for connections from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceLimits {
    /// All of them.
    pub(crate) all_max: usize,
    /// Those of one address (of one /64 network of IPv6).
    pub(crate) per_source_max: usize,
    /// Of one address's, those that wait for their client.
    pub(crate) idle_per_source_max: usize,
}

/// Connections tried for one request: the first, and one more when the first could not be opened.
pub(crate) const ATTEMPTS_MAX: usize = 2;
/// Times a request may have passed an Allod ingress already before it is called a loop.
pub(crate) const VIA_MAX: usize = 8;
/// Bytes of a chunk-size line with its extensions.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Bytes of one read and of one write buffer of the ingress.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes copied at a time through a tunnel or a published port.
pub(crate) const PUMP_BYTES: usize = 16 * 1024;
/// Log lines shown on a page, the newest.
pub(crate) const LOG_LINES_MAX: usize = 20;
/// Characters of one log line shown.
pub(crate) const LOG_LINE_CHARS_MAX: usize = 500;
/// Characters of a cause or next step shown.
pub(crate) const TEXT_CHARS_MAX: usize = 1000;
/// How long a page waits for the log lines.
pub(crate) const LOG_TAIL_TIMEOUT: Duration = Duration::from_millis(500);
/// Characters of a host name.
pub(crate) const HOST_CHARS_MAX: usize = 253;
/// Routes whose counters are kept, those gone from the table included.
pub(crate) const COUNTED_ROUTES_MAX: usize = 10_000;
/// Bytes of a request that are read from a connection that is turned away.
pub(crate) const TURNED_AWAY_BYTES: usize = 4096;
/// The pause after a failed `accept` (out of descriptors, mostly).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long both ends may take to hand over an upgraded connection.
pub(crate) const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the published ports may hold and how long they wait.
#[derive(Debug, Clone)]
pub struct PortLimits {
    /// TCP connections open at once on one port; further ones wait unaccepted.
    pub connections_max: usize,
    /// Connections that one replica may have open at once.
    pub connections_per_backend_max: usize,
    /// Opening a connection to a replica.
    pub connect_timeout: Duration,
    /// How long a new connection waits for a ready replica before it is closed.
    pub ready_hold: Duration,
    /// A TCP connection may be silent this long. Long, because pools of database connections are.
    pub stream_idle: Duration,
    /// UDP clients remembered at once on one port; further ones are ignored.
    pub sessions_max: usize,
    /// A UDP client is forgotten after this silence.
    pub session_idle: Duration,
}

impl Default for PortLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_backend_max: 4096,
            connect_timeout: Duration::from_secs(3),
            ready_hold: Duration::from_secs(5),
            stream_idle: Duration::from_secs(12 * 3600),
            sessions_max: 1024,
            session_idle: Duration::from_secs(60),
        }
    }
}

/// Ports published at once.
pub(crate) const PUBLISHED_MAX: usize = 4096;
/// Datagrams that wait for one UDP client's session.
pub(crate) const SESSION_QUEUE: usize = 32;
/// Bytes of the largest UDP datagram.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_535;

/// What the resolver may hold and how long it waits.
#[derive(Debug, Clone)]
pub struct ResolverLimits {
    /// Questions of one app that wait for the machine's resolvers at once; more are answered
    /// SERVFAIL.
    pub forwards_max: usize,
    /// Questions per second that one client may have passed on, lastingly.
    pub forwards_per_second: u32,
    /// Questions that one client may have passed on at once, after a pause.
    pub forwards_burst: u32,
    /// How long one of the machine's resolvers may take.
    pub upstream_timeout: Duration,
    /// How long all of them together may take for one question.
    pub forward_timeout: Duration,
    /// TCP connections of one app open at once.
    pub connections_max: usize,
    /// A TCP connection is closed after this silence.
    pub connection_idle: Duration,
}

impl Default for ResolverLimits {
    fn default() -> Self {
        Self {
            forwards_max: 256,
            forwards_per_second: 100,
            forwards_burst: 200,
            upstream_timeout: Duration::from_secs(2),
            forward_timeout: Duration::from_secs(8),
            connections_max: 64,
            connection_idle: Duration::from_secs(10),
        }
    }
}

/// How long a service's addresses may be kept by those who asked.
pub(crate) const RECORD_TTL_S: u32 = 2;
/// Addresses in one answer; a service with more gives a random choice of them.
pub(crate) const ADDRESSES_MAX: usize = 256;
/// Bytes of an answer that are not addresses: header, question and options.
pub(crate) const ANSWER_FRAME_BYTES: usize = 256;
/// Bytes of one address in an answer.
pub(crate) const ADDRESS_BYTES: usize = 16;
/// Bytes of a UDP answer to a client that does not say more, and the most we send to any.
pub(crate) const UDP_ANSWER_BYTES: (u16, u16) = (512, 1232);
/// Bytes of a question; longer ones are cut, and then refused as malformed.
pub(crate) const QUESTION_BYTES_MAX: usize = 4096;
/// Resolvers of the machine that are asked.
pub(crate) const UPSTREAMS_MAX: usize = 4;
/// Rounds in which they are asked.
pub(crate) const UPSTREAM_ROUNDS: usize = 2;
/// Clients whose rate is remembered.
pub(crate) const CLIENTS_MAX: usize = 4096;

/// What peers may hold and how long anybody waits for them.
#[derive(Debug, Clone)]
pub struct PeerLimits {
    /// Handshakes under way at once; from half of them on, callers have to prove their address first.
    pub handshakes_max: usize,
    /// How long a caller may take until it has said which network it is of.
    pub handshake_time_max: Duration,
    /// How long a peer may take to answer a call.
    pub connect_time_max: Duration,
    /// How long a frame may take, from its first byte to its last.
    pub frame_time_max: Duration,
    /// A link is closed after so long without a sign of life, and given one as often as `keep_alive` says.
    pub idle_max: Duration,
    /// See `idle_max`.
    pub keep_alive: Duration,
    /// A way is left when nothing has come back for so long on what was said there; twice `keep_alive`, so that
    /// something was.
    pub silence_max: Duration,
    /// Bytes on their way on one link, before their receiver has taken them.
    pub window_bytes: u32,
    /// The shortest pause between two calls to a peer.
    pub pause_min: Duration,
    /// The longest.
    pub pause_max: Duration,
    /// Questions and their answers.
    pub asks: AskLimits,
    /// Tunnels.
    pub tunnels: TunnelLimits,
}

/// What a member's relay holds of those who have not proven yet who they are.
#[derive(Debug, Clone)]
pub struct RelayLimits {
    /// Connections at once whose keys are not proven yet; for a further one goes the one that has taken the longest.
    pub unproven_max: usize,
    /// Of them, those of one address (of one /64 network of IPv6): all members behind one router may come at once.
    pub unproven_per_source_max: usize,
    /// How long a proof may take, the connection's handshakes included: many times there and back on a slow line.
    pub proof_time_max: Duration,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            unproven_max: 512,
            unproven_per_source_max: 64,
            proof_time_max: Duration::from_secs(10),
        }
    }
}

impl RelayLimits {
    pub(crate) const fn places(&self) -> PlaceLimits {
        PlaceLimits {
            all_max: self.unproven_max,
            per_source_max: self.unproven_per_source_max,
            idle_per_source_max: self.unproven_per_source_max,
        }
    }
}

/// What tunnels between peers may take.
#[derive(Debug, Clone)]
pub struct TunnelLimits {
    /// Tunnels at once from one peer, and to one peer; to one target there at most half of them.
    pub per_peer_max: u32,
    /// Tunnels of all peers to this machine together.
    pub all_max: usize,
    /// How long opening one may take, the call for the peer included.
    pub open_time_max: Duration,
    /// Bytes on their way in all tunnels of one connection, before their receivers have taken them.
    pub window_bytes: u32,
    /// The same in one tunnel: a small part, so that those who do not read do not hold up the others.
    pub stream_window_bytes: u32,
}

impl Default for TunnelLimits {
    fn default() -> Self {
        Self {
            per_peer_max: 512,
            all_max: 2_048,
            open_time_max: Duration::from_secs(10),
            window_bytes: 32 * 1024 * 1024,
            stream_window_bytes: 256 * 1024,
        }
    }
}

/// What questions between peers, and their answers, may take.
#[derive(Debug, Clone)]
pub struct AskLimits {
    /// Bytes of a question: a few of the largest transactions, and far more than any request for something.
    pub question_bytes_max: usize,
    /// Bytes of an answer: as many as the largest frame, so that whatever is said in one can be asked for.
    pub answer_bytes_max: usize,
    /// How long a question may take, from the call for its peer to the last byte of the answer. Either side keeps this
    /// time for itself: it has to suffice for a call, a block's commit and a large answer over a slow line.
    pub time_max: Duration,
    /// What one member may ask of this machine, and this machine of one peer.
    pub member: AskShare,
    /// What one guest may ask of this machine: enough to fetch what it joins with, and to send what it joins by.
    pub guest: AskShare,
    /// Questions of all members together that are under way: fewer than they could ask at once, so that what they hold
    /// in memory stays bounded however many members there are.
    pub members_at_once_max: usize,
    /// The same for all guests, who have places of their own: no flood of theirs takes any from members.
    pub guests_at_once_max: usize,
    /// After how long without a question the connection for them is closed.
    pub quiet_max: Duration,
}

/// One peer's share of the answering.
#[derive(Debug, Clone, Copy)]
pub struct AskShare {
    /// Questions at once; further ones wait.
    pub at_once_max: u32,
    /// Questions a second, lastingly; further ones are read later.
    pub per_second: u32,
    /// Bytes a second of questions and answers, lastingly: large answers let the next question wait.
    pub bytes_per_second: u32,
}

impl Default for AskLimits {
    fn default() -> Self {
        Self {
            question_bytes_max: 256 * 1024,
            answer_bytes_max: 10 * 1024 * 1024,
            time_max: Duration::from_secs(20),
            member: AskShare {
                at_once_max: 8,
                per_second: 50,
                bytes_per_second: 32 * 1024 * 1024,
            },
            guest: AskShare {
                at_once_max: 2,
                per_second: 5,
                bytes_per_second: 4 * 1024 * 1024,
            },
            members_at_once_max: 128,
            guests_at_once_max: 16,
            quiet_max: Duration::from_secs(60),
        }
    }
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            handshakes_max: 256,
            handshake_time_max: Duration::from_secs(10),
            connect_time_max: Duration::from_secs(6),
            frame_time_max: Duration::from_secs(20),
            idle_max: Duration::from_secs(15),
            keep_alive: Duration::from_secs(3),
            silence_max: Duration::from_secs(6),
            window_bytes: 4 * 1024 * 1024,
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(2),
            asks: AskLimits::default(),
            tunnels: TunnelLimits::default(),
        }
    }
}

/// Streams that a caller may open before it is known who it is: the fewest that anybody is allowed afterwards.
pub(crate) const FIRST_STREAMS: u32 = 8;
/// Bytes of the name of a tunnel's target.
pub(crate) const TUNNEL_TARGET_BYTES_MAX: usize = 1_024;
/// Frames of one protocol that wait to be taken.
pub(crate) const PEER_INBOX_FRAMES_MAX: usize = 256;
/// Bytes a second that a member's relay takes from one member.
pub(crate) const RELAY_BYTES_PER_SECOND: u32 = 16 * 1024 * 1024;
/// By how many relays a machine wants to be found: one may die.
pub(crate) const HOMES_MAX: usize = 2;
/// Relays that a machine calls at once to find its homes.
pub(crate) const HOMES_TRIED_MAX: usize = 4;
/// How long a relay may not live until another one is tried in its place.
pub(crate) const RELAY_DEAD_AFTER: Duration = Duration::from_secs(6);
/// How often the homes are chosen.
pub(crate) const HOMES_PERIOD: Duration = Duration::from_secs(1);
/// After how long a connection to a relay that nobody uses is closed.
pub(crate) const RELAY_IDLE_MAX: Duration = Duration::from_secs(60);
/// How often a relay is asked for a sign of life.
pub(crate) const RELAY_PING_PERIOD: Duration = Duration::from_millis(500);
/// Such questions that may wait for an answer; the oldest are forgotten.
pub(crate) const RELAY_QUESTIONS_MAX: usize = 8;
/// After this silence, and twice the time for there and back, packets go by another relay.
pub(crate) const RELAY_SILENCE_MAX: Duration = Duration::from_secs(1);
/// After this silence the relay is called anew.
pub(crate) const RELAY_SILENCE_END: Duration = Duration::from_secs(5);
/// How long a relay may take to let this machine in.
pub(crate) const RELAY_CALL_TIME_MAX: Duration = Duration::from_secs(5);
/// The shortest pause between two calls to a relay, and the longest.
pub(crate) const RELAY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// See `RELAY_PAUSE_MIN`.
pub(crate) const RELAY_PAUSE_MAX: Duration = Duration::from_secs(3);
/// Packets that wait for one relay.
pub(crate) const RELAY_QUEUE_MAX: usize = 256;
/// Packets that are handed to a relay together.
pub(crate) const RELAY_BATCH_MAX: usize = 20;
/// Packets from all relays that wait to be taken.
pub(crate) const RELAYED_INBOX_MAX: usize = 1_024;
/// A peer that was heard by a relay within this time is answered by that one alone, and otherwise by all of its relays:
/// its own connection to the first may be gone.
pub(crate) const RELAYED_FRESH: Duration = Duration::from_secs(2);
/// How long a call has been under way before it is made anew when its peer is heard.
pub(crate) const CALL_AGE_MIN: Duration = Duration::from_secs(1);
/// After how long without an answer a call is held to go where its peer is not, where the peer is heard meanwhile.
pub(crate) const CALL_SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long it takes until that is held of the same peer again.
pub(crate) const CALL_DOUBT_PAUSE: Duration = Duration::from_secs(30);
/// Unless one packet in so many is lost on the way: then the call may have been, and a moment of silence says nothing.
pub(crate) const LOSS_MAX_INVERSE: u64 = 20;
/// Fewer lost packets than this say nothing about a way.
pub(crate) const LOSSES_MIN: u64 = 10;
/// How long no call is made to a peer after the connections to it were closed. iroh sees that in a task of its own, and sends
/// what is called before to where they went.
pub(crate) const CALL_PAUSE_MIN: Duration = Duration::from_millis(50);
/// How often it is looked whether the ways to peers still lead there.
pub(crate) const WAY_LOOK_PERIOD: Duration = Duration::from_millis(200);
/// A direct way is left after this silence, and six times the time for there and back, where its peer is elsewhere.
pub(crate) const WAY_SILENCE_MAX: Duration = Duration::from_millis(800);
/// The longest time for there and back that counts for this: what is beyond it comes from a silence.
pub(crate) const WAY_ROUND_TRIP_MAX: Duration = Duration::from_secs(1);
/// How often a machine says to its neighbours where it is.
pub(crate) const NEIGHBOUR_PERIOD: Duration = Duration::from_secs(3);
/// Networks on which it does.
pub(crate) const NEIGHBOUR_LINKS_MAX: usize = 8;
/// Words of neighbours that are looked at in one such time.
pub(crate) const NEIGHBOUR_WORDS_MAX: u32 = 1_000;
/// Addresses that are noted of one neighbour.
pub(crate) const NEIGHBOUR_ADDRESSES_MAX: usize = 4;
/// For how long they are, once it is not heard there any more.
pub(crate) const NEIGHBOUR_MEMORY: Duration = Duration::from_secs(3_600);
