//! Who may speak, and where each is: a value that the owner of the peers hands over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use iroh::{EndpointAddr, EndpointId, RelayUrl, TransportAddr};

use super::relayed;

/// A peer, by its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub [u8; 32]);

/// Everybody who may speak, and the relays there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Those who may connect.
    pub members: BTreeMap<PeerKey, Member>,
    /// Those who may ask, and nothing else: whoever holds an invite, before it is a member.
    pub guests: BTreeSet<PeerKey>,
    /// Members' relays, by the address of their HTTPS door: everything that anybody said of each. Whoever says something
    /// of another one's relay takes nothing from it.
    pub relays: BTreeMap<SocketAddr, BTreeSet<Relay>>,
    /// Whose machines say that a relay is theirs, as far as they are not given up.
    pub operators: BTreeMap<SocketAddr, BTreeSet<Operator>>,
    /// Relays of machines that are given up.
    pub given_up: BTreeSet<SocketAddr>,
}

/// Who runs a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operator(pub [u8; 32]);

/// As what somebody is on a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Member,
    Guest,
}

/// Where a member may be found. Both lists may be empty, or wrong: then it has to call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
    /// The relays it listens on, by their addresses.
    pub relays: Vec<SocketAddr>,
}

/// A member's relay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relay {
    /// BLAKE3 of its certificate (DER): it is trusted for this and nothing else.
    pub pin: [u8; 32],
    /// The UDP port where it tells callers their own address (QUIC address discovery).
    pub discovery_port: u16,
}

impl Roster {
    /// Adds what somebody says of a relay.
    pub fn add_relay(&mut self, address: SocketAddr, relay: Relay) {
        self.relays.entry(address).or_default().insert(relay);
    }

    /// Adds what a machine says of its relay, and whose machine that is, unless it is given up.
    pub fn add_relay_of(&mut self, address: SocketAddr, relay: Relay, living: Option<Operator>) {
        self.add_relay(address, relay);
        if let Some(operator) = living {
            self.operators.entry(address).or_default().insert(operator);
        } else {
            self.given_up.insert(address);
        }
    }

    /// As what a peer is on it; whoever is both is a member.
    pub(crate) fn standing(&self, peer: &PeerKey) -> Option<Standing> {
        if self.members.contains_key(peer) {
            return Some(Standing::Member);
        }
        self.guests.contains(peer).then_some(Standing::Guest)
    }

    /// Everything that the roster says of a member's whereabouts. Relays that are not on the roster are left out.
    pub(crate) fn address(&self, peer: &PeerKey) -> Option<EndpointAddr> {
        let member = self.members.get(peer)?;
        let mut address = EndpointAddr::new(EndpointId::from_bytes(&peer.0).ok()?);
        for at in &member.addresses {
            address = address.with_ip_addr(*at);
        }
        let mut relays = member.relays.iter();
        if relays.any(|relay| self.relays.contains_key(relay)) {
            let by_relay = TransportAddr::Custom(relayed::address_of(peer));
            address = address.with_addrs([by_relay]);
        }
        Some(address)
    }
}

/// How iroh names a relay.
pub(crate) fn relay_url(https: SocketAddr) -> Option<RelayUrl> {
    format!("https://{https}/").parse().ok()
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.0.iter().take(5);
        f.write_str("peer:")?;
        short.clone().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
