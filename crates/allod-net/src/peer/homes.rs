//! Which relays a machine tries, and which become its homes.
//!
//! Rules:
//! 1. Each machine tries others first: none is everybody's first.
//! 2. Of each operator's relays one is tried before a second of anybody's, and the homes are of different operators where
//!    there are such: whoever has many relays is not everybody's only way. Where the operator is not known, a network counts
//!    as one. A relay that several say is theirs is passed over only where each of them has one already, so that nobody takes a
//!    relay out of the way by calling it his.
//! 3. What has been dead for a while makes room for the next, and so does what belongs to a machine that was given up.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::roster::Operator;
use super::{PeerKey, Roster};
use crate::limits::HOMES_MAX;

/// Whoever counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum House {
    Operator(Operator),
    Address(IpAddr),
    /// The first half of an IPv6 address.
    Network([u16; 4]),
}

/// All relays, those first that this machine is to try first.
pub(super) fn in_order(
    own: &PeerKey,
    roster: &Roster,
    is_dead: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut all: Vec<_> = roster.relays.keys().copied().collect();
    all.sort_by_cached_key(|relay| {
        let mut hash = blake3::Hasher::new();
        hash.update(&own.0).update(relay.to_string().as_bytes());
        *hash.finalize().as_bytes()
    });
    let (given_up, known): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|relay| is_given_up(roster, relay));
    let (dead, hopeful): (Vec<_>, Vec<_>) = known.into_iter().partition(is_dead);
    [hopeful, dead, given_up]
        .map(|relays| spread(roster, relays))
        .concat()
}

/// The homes, of relays that live, the best first.
pub(super) fn chosen(roster: &Roster, alive: Vec<SocketAddr>) -> BTreeSet<SocketAddr> {
    spread(roster, alive).into_iter().take(HOMES_MAX).collect()
}

/// Whether no further ones are to be looked for.
pub(super) fn are_enough(roster: &Roster, homes: &BTreeSet<SocketAddr>) -> bool {
    let known = roster.relays.keys().copied();
    let known = known.filter(|relay| !is_given_up(roster, relay));
    let is_apart = || firsts(roster, homes.iter().copied()).0.len() >= HOMES_MAX;
    let may_be_apart = || firsts(roster, known).0.len() >= HOMES_MAX;
    homes.len() >= HOMES_MAX && (is_apart() || !may_be_apart())
}

fn is_given_up(roster: &Roster, relay: &SocketAddr) -> bool {
    roster.given_up.contains(relay) && !roster.operators.contains_key(relay)
}

/// One of each house before the second of any.
fn spread(roster: &Roster, relays: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (mut firsts, others) = firsts(roster, relays);
    firsts.extend(others);
    firsts
}

/// One of each house, and the others.
fn firsts(
    roster: &Roster,
    relays: impl IntoIterator<Item = SocketAddr>,
) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let mut taken = BTreeSet::new();
    relays.into_iter().partition(|relay| {
        let houses = houses(roster, relay);
        let is_first = !houses.is_subset(&taken);
        taken.extend(houses);
        is_first
    })
}

fn houses(roster: &Roster, relay: &SocketAddr) -> BTreeSet<House> {
    let operators = roster.operators.get(relay).into_iter().flatten();
    let known: BTreeSet<_> = operators.copied().map(House::Operator).collect();
    if !known.is_empty() {
        return known;
    }
    let house = match relay.ip().to_canonical() {
        IpAddr::V6(address) => {
            let [first, second, third, fourth, ..] = address.segments();
            House::Network([first, second, third, fourth])
        }
        address @ IpAddr::V4(_) => House::Address(address),
    };
    [house].into()
}

#[cfg(test)]
mod tests;
