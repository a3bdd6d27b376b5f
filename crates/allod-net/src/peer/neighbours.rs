//! Neighbours: members on one local network find each other though no relay is reached and what the ledger says of their
//! addresses is old, as after a night without power and with other addresses in the morning.
//!
//! Rules:
//! - Each says its key and its port every few seconds, to a group of addresses that no router passes on (RFC 2365, and a
//!   time to live of one), on the networks that its owner of [`super::Peers`] names. Nothing else: no name, and no network.
//! - A word is signed with that key, for the network and for the address that it is said from, so that nobody says of somebody
//!   else where that one is. Who repeats an old word can still send callers where the peer was once: what is heard is a hint,
//!   and costs whoever believes it a vain call.
//! - Only members' keys are noted, from private addresses, a few addresses each. One where a call has found nobody gives way
//!   to a new one, so that neither old words nor a machine that moves often fill the places. More than so many a second are
//!   not even looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use iroh::{EndpointId, SecretKey, Signature};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};

use super::{PeerKey, Shared, lock};
use crate::limits::{
    NEIGHBOUR_ADDRESSES_MAX, NEIGHBOUR_LINKS_MAX, NEIGHBOUR_MEMORY, NEIGHBOUR_PERIOD,
    NEIGHBOUR_WORDS_MAX,
};

/// The group, of the range that stays within an organisation, and the port.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 97, 108), 7497);
/// What it is, and in which version.
const MAGIC: &[u8; 8] = b"allod/2?";
/// The magic, the key, the port, and the signature.
const WORD_BYTES: usize = 8 + 32 + 2 + Signature::LENGTH;

/// What is heard of others, and where.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// This machine's addresses on the networks where it looks.
    own: watch::Sender<BTreeSet<Ipv4Addr>>,
    heard: Mutex<BTreeMap<PeerKey, Places>>,
}

/// Where one member was heard, the latest last.
#[derive(Debug, Default)]
struct Places(Vec<Spot>);

/// One of them.
#[derive(Debug, Clone, Copy)]
struct Spot {
    at: SocketAddr,
    heard: Instant,
    /// The last call there found nobody, or found the member elsewhere.
    is_vain: bool,
}

impl Neighbours {
    pub(crate) fn new() -> Self {
        Self {
            own: watch::Sender::new(BTreeSet::new()),
            heard: Mutex::default(),
        }
    }

    /// Looks on these networks from now on.
    pub(crate) fn look_on(&self, own: BTreeSet<Ipv4Addr>) {
        let is_local = |at: &Ipv4Addr| at.is_private() || at.is_link_local();
        let own = own.into_iter().filter(is_local).take(NEIGHBOUR_LINKS_MAX);
        let own: BTreeSet<Ipv4Addr> = own.collect();
        self.own.send_if_modified(|before| {
            let is_news = *before != own;
            *before = own;
            is_news
        });
    }

    /// Where a member was heard.
    pub(crate) fn places_of(&self, peer: &PeerKey) -> Vec<SocketAddr> {
        let heard = lock(&self.heard);
        let places = heard.get(peer).into_iter().flat_map(|places| &places.0);
        places.map(|spot| spot.at).collect()
    }

    /// Whether a member was heard lately, and somewhere else than at an address.
    pub(crate) fn is_elsewhere(&self, peer: &PeerKey, at: SocketAddr, now: Instant) -> bool {
        let heard = lock(&self.heard);
        let places = heard.get(peer).into_iter().flat_map(|places| &places.0);
        let newest = places.max_by_key(|spot| spot.heard);
        newest.is_some_and(|spot| {
            spot.at != at && now.duration_since(spot.heard) <= NEIGHBOUR_PERIOD * 2
        })
    }

    /// A member was called at these places, and found at that address, or nowhere.
    pub(crate) fn tried(&self, peer: &PeerKey, places: &[SocketAddr], found: Option<SocketAddr>) {
        let mut heard = lock(&self.heard);
        let Some(known) = heard.get_mut(peer) else {
            return;
        };
        for spot in known.0.iter_mut().filter(|spot| places.contains(&spot.at)) {
            spot.is_vain = found != Some(spot.at);
        }
    }

    /// Forgets those who are no members any more.
    pub(crate) fn retain(&self, is_member: impl Fn(&PeerKey) -> bool) {
        lock(&self.heard).retain(|peer, _| is_member(peer));
    }
}

impl Places {
    /// Notes an address, and says whether it is another one.
    fn note(&mut self, at: SocketAddr, now: Instant) -> bool {
        if let Some(known) = self.0.iter_mut().find(|spot| spot.at == at) {
            known.heard = now;
            return false;
        }
        self.0
            .retain(|spot| now.duration_since(spot.heard) < NEIGHBOUR_MEMORY);
        if self.0.len() >= NEIGHBOUR_ADDRESSES_MAX {
            let vain = self.0.iter().enumerate().filter(|(_, spot)| spot.is_vain);
            let Some((oldest, _)) = vain.min_by_key(|(_, spot)| spot.heard) else {
                return false;
            };
            self.0.remove(oldest);
        }
        self.0.push(Spot {
            at,
            heard: now,
            is_vain: false,
        });
        true
    }
}

/// Says where this machine is, and hears where others are, until the endpoint closes.
pub(crate) async fn meet(shared: Arc<Shared>) {
    let mut own = shared.neighbours.own.subscribe();
    loop {
        let here = own.borrow_and_update().clone();
        let changed = own.changed();
        if here.is_empty() {
            if changed.await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            changed = changed => if changed.is_err() { return },
            never = meet_on(&shared, &here) => {
                let Err(error) = never;
                info!(%error, "neighbours are not looked for");
                if own.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn meet_on(
    shared: &Arc<Shared>,
    here: &BTreeSet<Ipv4Addr>,
) -> io::Result<std::convert::Infallible> {
    let ear = ear(here)?;
    let network = &shared.hello.network;
    let bound = shared.endpoint.bound_sockets();
    let port = bound.first().map(SocketAddr::port).unwrap_or_default();
    let mut mouths = Vec::new();
    for own in here {
        // An address that a router shows to others is none of this machine's.
        if let Ok(mouth) = std::net::UdpSocket::bind((*own, 0)) {
            mouth.set_nonblocking(true)?;
            mouth.set_multicast_ttl_v4(1)?;
            let word = word(
                shared.endpoint.secret_key(),
                network,
                SocketAddrV4::new(*own, port),
            );
            mouths.push((UdpSocket::from_std(mouth)?, word));
        }
    }
    let mut pulse = interval(NEIGHBOUR_PERIOD);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut buffer, mut heard_count) = ([0; WORD_BYTES + 1], 0);
    loop {
        tokio::select! {
            _ = pulse.tick() => {
                heard_count = 0;
                for (mouth, word) in &mouths {
                    // A link that is down now may be up the next time.
                    let _ = mouth.send_to(word, GROUP).await;
                }
            }
            heard = ear.recv_from(&mut buffer), if heard_count < NEIGHBOUR_WORDS_MAX => {
                let (length, from) = heard?;
                heard_count += 1;
                let word = buffer.get(..length).unwrap_or_default();
                let is_known = |peer: &PeerKey| shared.roster.borrow().members.contains_key(peer);
                if let Some((peer, at)) = read(word, network, from, is_known) {
                    hear(shared, peer, at);
                }
            }
        }
    }
}

/// A socket that hears what is said to the group, and nothing else.
fn ear(here: &BTreeSet<Ipv4Addr>) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    // Several may run on one machine.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &GROUP)?;
    for own in here {
        if let Err(error) = sockopt::set_ip_add_membership(&socket, GROUP.ip(), own) {
            debug!(%error, %own, "neighbours are not heard there");
        }
    }
    UdpSocket::from_std(socket.into())
}

fn word(secret: &SecretKey, network: &[u8; 32], own: SocketAddrV4) -> [u8; WORD_BYTES] {
    let mut word = [0; WORD_BYTES];
    let (said, signature) = word.split_at_mut(WORD_BYTES - Signature::LENGTH);
    let (magic, rest) = said.split_at_mut(MAGIC.len());
    let (of_key, of_port) = rest.split_at_mut(32);
    magic.copy_from_slice(MAGIC);
    of_key.copy_from_slice(secret.public().as_bytes());
    of_port.copy_from_slice(&own.port().to_be_bytes());
    let signed = secret.sign(&meant(network, own));
    signature.copy_from_slice(&signed.to_bytes());
    word
}

/// What a word's signature is for.
fn meant(network: &[u8; 32], at: SocketAddrV4) -> Vec<u8> {
    let (host, port) = (at.ip().octets(), at.port().to_be_bytes());
    [&MAGIC[..], network, &host, &port].concat()
}

/// Who is where, as a word says that came from an address; none where it says nothing of the kind, or somebody else says it.
fn read(
    word: &[u8],
    network: &[u8; 32],
    from: SocketAddr,
    is_known: impl Fn(&PeerKey) -> bool,
) -> Option<(PeerKey, SocketAddr)> {
    let said = word.strip_prefix(MAGIC)?;
    let (key, said) = said.split_first_chunk::<32>()?;
    let (port, signature) = said.split_first_chunk::<2>()?;
    let signature = Signature::from_bytes(signature.try_into().ok()?);
    let SocketAddr::V4(from) = from else {
        return None;
    };
    let at = SocketAddrV4::new(*from.ip(), u16::from_be_bytes(*port));
    let is_near = from.ip().is_private() || from.ip().is_link_local();
    let peer = PeerKey(*key);
    // A signature costs more to look at than all the rest.
    if !is_near || at.port() == 0 || !is_known(&peer) {
        return None;
    }
    let by = EndpointId::from_bytes(key).ok()?;
    by.verify(&meant(network, at), &signature).ok()?;
    Some((peer, at.into()))
}

fn hear(shared: &Shared, peer: PeerKey, at: SocketAddr) {
    let is_other = peer.0 != *shared.endpoint.id().as_bytes();
    if !is_other || !shared.roster.borrow().members.contains_key(&peer) {
        return;
    }
    let mut heard = lock(&shared.neighbours.heard);
    if heard.entry(peer).or_default().note(at, Instant::now()) {
        drop(heard);
        debug!(?peer, %at, "a neighbour was heard");
        shared.hurry(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 168, 1, last], 9))
    }

    #[test]
    fn a_word_says_who_is_where_and_garbage_nothing() {
        let (secret, network) = (SecretKey::from_bytes(&KEY), [3; 32]);
        let own = PeerKey(*secret.public().as_bytes());
        let here: SocketAddr = "192.168.1.5:4433".parse().unwrap();
        let word_at = |at: &str| word(&secret, &network, at.parse().unwrap());
        let word = word_at("192.168.1.5:4433");
        let read_from = |word: &[u8], from: &str| {
            read(word, &network, from.parse().unwrap(), |peer| *peer == own)
        };
        let said = read_from(&word, "192.168.1.5:60000");
        assert_eq!(said, Some((own, here)));
        let afar = word_at("203.0.113.9:4433");
        assert_eq!(read_from(&afar, "203.0.113.9:60000"), None, "from afar");
        assert_eq!(read_from(&word, "[fe80::1]:60000"), None);
        let nowhere = word_at("192.168.1.5:0");
        assert_eq!(read_from(&nowhere, "192.168.1.5:60000"), None, "no port");
        for length in 0..word.len() {
            assert_eq!(read_from(&word[..length], "192.168.1.5:60000"), None);
        }
        let longer = [&word[..], &[0]].concat();
        assert_eq!(read_from(&longer, "192.168.1.5:60000"), None);
    }

    #[test]
    fn nobody_says_of_somebody_else_where_that_one_is() {
        let (secret, network) = (SecretKey::from_bytes(&KEY), [3; 32]);
        let own = PeerKey(*secret.public().as_bytes());
        let word = word(&secret, &network, "192.168.1.5:4433".parse().unwrap());
        let from = |at: &str| at.parse::<SocketAddr>().unwrap();
        let is_believed = |word: &[u8], network: &[u8; 32], at: SocketAddr| {
            read(word, network, at, |peer| *peer == own).is_some()
        };
        assert!(is_believed(&word, &network, from("192.168.1.5:1")));
        let elsewhere = from("192.168.1.66:1");
        assert!(!is_believed(&word, &network, elsewhere), "said by another");
        let other = [4; 32];
        assert!(
            !is_believed(&word, &other, from("192.168.1.5:1")),
            "another network's"
        );
        for byte in MAGIC.len()..word.len() {
            let mut lie = word;
            lie[byte] ^= 1;
            assert!(
                !is_believed(&lie, &network, from("192.168.1.5:1")),
                "{byte}"
            );
        }
        let stranger = read(&word, &network, from("192.168.1.5:1"), |_| false);
        assert_eq!(stranger, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_liar_fills_some_places_and_no_more() {
        let mut places = Places::default();
        let now = Instant::now();
        assert!(places.note(at(1), now));
        assert!(!places.note(at(1), now), "it is known");
        let others = (2..=255).filter(|last| places.note(at(*last), now)).count();
        assert_eq!(others, NEIGHBOUR_ADDRESSES_MAX - 1);
        let late = now + NEIGHBOUR_MEMORY;
        assert!(places.note(at(9), late), "lies are forgotten");
        assert_eq!(places.0.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn places_where_a_call_found_nobody_give_way_and_the_one_where_it_found_somebody_stays() {
        let (neighbours, peer) = (Neighbours::new(), PeerKey(KEY));
        let note = |at: SocketAddr| {
            let mut heard = lock(&neighbours.heard);
            heard.entry(peer).or_default().note(at, Instant::now())
        };
        assert!(note(at(1)));
        neighbours.tried(&peer, &[at(1)], Some(at(1)));
        for last in 2..=4 {
            tokio::time::advance(NEIGHBOUR_PERIOD).await;
            assert!(note(at(last)));
        }
        assert!(!note(at(5)), "those that nobody has tried yet are not lies");
        neighbours.tried(&peer, &[at(1), at(2), at(3)], Some(at(1)));
        assert!(note(at(5)), "a lie stays for an hour");
        assert_eq!(neighbours.places_of(&peer), [at(1), at(3), at(4), at(5)]);
        assert!(note(at(6)));
        assert!(!note(at(7)), "a place was taken that nobody has tried");
        assert_eq!(neighbours.places_of(&peer), [at(1), at(4), at(5), at(6)]);
        neighbours.tried(&peer, &neighbours.places_of(&peer), None);
        assert!(note(at(7)), "it has moved, and its old place stays");
        assert_eq!(neighbours.places_of(&peer), [at(4), at(5), at(6), at(7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_heard_last_at_another_address_is_elsewhere_for_a_while() {
        let (neighbours, peer) = (Neighbours::new(), PeerKey(KEY));
        let hear = |at: SocketAddr| {
            let mut heard = lock(&neighbours.heard);
            heard.entry(peer).or_default().note(at, Instant::now());
        };
        let is_elsewhere = |at| neighbours.is_elsewhere(&peer, at, Instant::now());
        assert!(!is_elsewhere(at(1)), "nothing was heard");
        hear(at(1));
        assert!(!is_elsewhere(at(1)));
        tokio::time::advance(NEIGHBOUR_PERIOD).await;
        hear(at(2));
        assert!(is_elsewhere(at(1)));
        assert!(!is_elsewhere(at(2)));
        tokio::time::advance(NEIGHBOUR_PERIOD * 3).await;
        assert!(!is_elsewhere(at(1)), "that was long ago");
    }
}
