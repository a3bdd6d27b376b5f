//! The other machines, as this one reaches them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use allod_net::peer::{PeerKey, PeerPath, Protocol};
use allod_state::validator::ValidatorSet;
use allod_state::{NodeId, PublicKey, State};

use crate::node::Node;
use crate::node::start::beginning::is_old;
use crate::peers;
use crate::time::now_ms;
use crate::view::Peer;

impl Node {
    /// Where newcomers get in, once this machine listens for them and the ledger says where.
    pub(super) fn entrance(&self) -> Option<String> {
        self.inner.peers.borrow().as_ref()?;
        let state = self.state();
        state.reach(&self.inner.node)?;
        let entrance = peers::entrance(&state, &self.inner.identity.public_key());
        (!entrance.members.is_empty()).then(|| entrance.to_string())
    }

    /// The worst that is to be said about the network's resilience.
    pub(super) fn notice(&self) -> Option<String> {
        let [no_peers, no_relay] = self.inner.unopened.notices();
        let waits = self.waits_to_vote().then(|| {
            "this machine's ledger was lost: it decides again once the ledger of the others holds its report of that; until \
             then they do without it"
                .to_owned()
        });
        let lost = self.lost_quorum().map(|lost| {
            format!("{lost}; what runs goes on, and nothing can be changed until they are back")
        });
        let is_alone = self.state().validators().count() == 1;
        let alone = is_alone.then(|| {
            "one validator: if this machine stops, the network stops with it; running workloads go on".to_owned()
        });
        let lacks = self.may_wait_in_vain().then(|| {
            "no member has given this machine the ledger, and blocks that it asks for may be kept by nobody: see that it reaches \
             a member, and start it again"
                .to_owned()
        });
        let damage = self.inner.damage.get().cloned();
        let worst = damage.or(no_peers).or(lacks).or(waits).or(lost);
        worst.or(no_relay).or(alone)
    }

    /// Whether this machine may wait for blocks that nobody keeps.
    fn may_wait_in_vain(&self) -> bool {
        let tip = self.state().tip();
        self.inner.lacks_snapshot && (tip.height == 0 || is_old(tip.time_ms, now_ms()))
    }

    /// What stands between this node and a block: fewer validators than decide one are reached, or those that are reached
    /// do not vote. Says how many of how many, and which are missing.
    #[must_use]
    pub fn lost_quorum(&self) -> Option<String> {
        let state = self.state();
        let unreached = peers::unreached(&self.inner, &state);
        let (height, silent) = peers::silent(&self.inner, &state).unwrap_or_default();
        let name = |key: &PublicKey| {
            let node = NodeId::of_first_key(key);
            let name = state.node(&node).map(|row| row.name.to_string());
            format!("{} ({})", name.unwrap_or_default(), node.short())
        };
        let missing = missing(&state.validators(), &unreached, &silent)?;
        let names = |keys: &[PublicKey]| keys.iter().map(name).collect::<Vec<_>>().join(", ");
        let (unreached, silent) = (names(&unreached), names(&silent));
        Some(match (unreached.as_str(), silent.as_str()) {
            (_, "") => format!("{missing}, waiting for {unreached}"),
            ("", _) => format!(
                "{missing}: {silent} can be reached, and no vote of theirs for block {height} has come"
            ),
            _ => format!(
                "{missing}, waiting for {unreached}; {silent} can be reached, and no vote of theirs for block {height} has \
                 come"
            ),
        })
    }

    /// Whether this machine is a validator that does not vote for a while: what it signed is lost, and may be under way.
    fn waits_to_vote(&self) -> bool {
        let view = self.inner.ledger.view();
        let own = self.inner.identity.public_key();
        view.state.validators().power(&own) > 0 && !view.is_voting && !view.is_halted
    }

    /// The machines that this one has spoken to, and how.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let paths = match self.inner.peers.borrow().as_ref() {
            Some(peers) => peers.paths(),
            None => return Vec::new(),
        };
        let state = self.state();
        let mut of_each: BTreeMap<PeerKey, PeerPath> = BTreeMap::new();
        for path in paths {
            // The protocol of agreement is only between validators; that of heights is between all.
            if path.protocol == Protocol::Sync {
                of_each.insert(path.peer, path);
            }
        }
        let peer = |(key, path): (PeerKey, PeerPath)| {
            let node = NodeId::of_first_key(&PublicKey::Ed25519(key.0));
            let way = path.way;
            let reach = state.reach(&node).unwrap_or_default();
            let relayed = way.as_ref().filter(|way| !way.is_direct);
            Peer {
                relay: relayed.and_then(|way| relay_at(&state, &way.by)),
                addresses: reach.addresses.into_iter().collect(),
                relayed_by: reach.relayed_by.into_iter().collect(),
                node,
                name: state.node(&node).map(|row| row.name.to_string()),
                by: way.as_ref().map(|way| way.by.clone()),
                is_direct: way.as_ref().is_some_and(|way| way.is_direct),
                round_trip_us: way.map_or(0, |way| {
                    u64::try_from(way.round_trip.as_micros()).unwrap_or(u64::MAX)
                }),
                problem: path.last_error,
            }
        };
        of_each.into_iter().map(peer).collect()
    }
}

/// How many of how many are there where that is no quorum, without those that are not reached and those of which no vote
/// has come; nothing where the others decide.
fn missing(
    validators: &ValidatorSet,
    unreached: &[PublicKey],
    silent: &[PublicKey],
) -> Option<String> {
    let votes = |key: &PublicKey| !unreached.contains(key) && !silent.contains(key);
    let voting = validators.iter().filter(|(key, _)| votes(key));
    let power = voting.fold(0_u64, |sum, (_, power)| sum.saturating_add(power));
    if validators.is_quorum(power) {
        return None;
    }
    let of = validators.iter().count();
    let reached = of.saturating_sub(unreached.len());
    let voting = reached.saturating_sub(silent.len());
    Some(match silent {
        [] => format!("no quorum: {reached} of {of} validators are reached"),
        _ => format!("no quorum: {reached} of {of} validators are reached, and {voting} vote"),
    })
}

/// The member whose relay a way names.
fn relay_at(state: &State, way: &str) -> Option<NodeId> {
    let mut reaches = state.reaches();
    let is_it = |address: &SocketAddr| way.contains(&format!("//{address}/"));
    let found = reaches.find(|(_, reach)| {
        let relay = reach.relay.as_ref();
        relay.is_some_and(|relay| is_it(&relay.address))
    });
    found.map(|(node, _)| *node)
}

#[cfg(test)]
mod tests;
