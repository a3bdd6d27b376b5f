//! Who may speak with this machine, and where each is: what the ledger says, and whom an invite named.

use allod_net::peer::{Member, Operator, PeerKey, Relay, Roster};
use allod_state::node::{self, Reach};
use allod_state::{PublicKey, State};

use crate::invite::{Entrance, Greeter};
use crate::limits::GREETERS_MAX;

/// The roster of a newcomer: those whom its invite names.
pub(super) fn of_greeters(greeters: &[Greeter]) -> Roster {
    let mut roster = Roster::default();
    for greeter in greeters {
        for relay in &greeter.relays {
            roster.add_relay(relay.address, as_known(relay));
        }
        let member = Member {
            addresses: greeter.addresses.clone(),
            relays: greeter.relays.iter().map(|relay| relay.address).collect(),
        };
        roster.members.insert(PeerKey(greeter.key), member);
    }
    roster
}

/// The roster by the ledger. Until the ledger lists somebody, `greeters` is where a newcomer finds it.
pub(super) fn roster(state: &State, greeters: &[Greeter], now_ms: u64) -> Roster {
    let mut roster = of_greeters(greeters);
    for (id, reach) in state.reaches() {
        if let Some((relay, row)) = reach.relay.as_ref().zip(state.node(id)) {
            let living = (!row.is_unreachable).then_some(Operator(row.operator.0));
            roster.add_relay_of(relay.address, as_known(relay), living);
        }
    }
    for (id, row) in state.nodes() {
        // Before it says where it is, what an invite said stands.
        let entry = roster.members.entry(peer_key(&row.key)).or_default();
        if let Some(reach) = state.reach(id) {
            *entry = Member {
                addresses: reach.addresses.iter().copied().collect(),
                relays: relays_of(state, &reach)
                    .map(|relay| relay.address)
                    .collect(),
            };
        }
    }
    let invites = state.invites(now_ms).map(|key| peer_key(&key));
    roster.guests = invites.collect();
    roster
}

/// Where newcomers get in: this machine first, then others that say where they are, validators before the rest. Whoever draws a
/// key may draw a small one, but does not decide for that.
pub(super) fn entrance(state: &State, own: &PublicKey) -> Entrance {
    let greeter = |key: &PublicKey, reach: &Reach| Greeter {
        key: peer_key(key).0,
        addresses: reach.addresses.iter().copied().collect(),
        relays: relays_of(state, reach).collect(),
    };
    let validators = state.validators();
    let known = state.reaches().filter_map(|(id, reach)| {
        let key = state.node(id)?.key;
        let is_findable = !(reach.addresses.is_empty() && reach.relayed_by.is_empty());
        let turn = (key != *own, validators.power(&key) == 0);
        is_findable.then(|| (turn, greeter(&key, reach)))
    });
    let mut known: Vec<((bool, bool), Greeter)> = known.collect();
    known.sort_by_key(|(turn, _)| *turn);
    let members = known.into_iter().map(|(_, greeter)| greeter);
    let tip = state.tip();
    Entrance {
        height: tip.height,
        block: tip.block,
        members: members.take(GREETERS_MAX).collect(),
    }
}

pub(crate) fn peer_key(key: &PublicKey) -> PeerKey {
    let PublicKey::Ed25519(bytes) = key;
    PeerKey(*bytes)
}

fn relays_of(state: &State, reach: &Reach) -> impl Iterator<Item = node::Relay> {
    let by = reach.relayed_by.iter();
    by.filter_map(|node| state.reach(node)?.relay)
}

fn as_known(relay: &node::Relay) -> Relay {
    Relay {
        pin: relay.pin,
        discovery_port: relay.discovery_port,
    }
}

#[cfg(test)]
mod tests;
