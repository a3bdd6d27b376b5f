//! Who decides blocks, and who is about to.

use std::collections::BTreeMap;

use allod_state::{NodeId, PublicKey, State};

use crate::node::Node;
use crate::view::{Standing, Validator};

impl Node {
    /// The machines that validate, then those that are elected and wait, then those that stand.
    #[must_use]
    pub fn validators(&self) -> Vec<Validator> {
        of(&self.state())
    }
}

fn of(state: &State) -> Vec<Validator> {
    let (validating, elected) = (state.validators(), state.elected());
    let mut found: BTreeMap<NodeId, (Standing, u64)> = BTreeMap::new();
    for (node, seat) in state.seats() {
        let standing = if seat.is_barred {
            Standing::Barred
        } else {
            Standing::Stands
        };
        found.insert(*node, (standing, 0));
    }
    for (key, _) in elected.iter() {
        found.insert(NodeId::of_first_key(key), (Standing::Waits, 0));
    }
    for (key, power) in validating.iter() {
        found.insert(NodeId::of_first_key(key), (Standing::Validates, power));
    }
    let validator = |(node, (standing, power)): (NodeId, (Standing, u64))| {
        let row = state.node(&node);
        let seat = state.seat(&node).unwrap_or_default();
        // Whoever stopped validating has no say any more.
        let counts = |key: &&PublicKey| validating.power(key) > 0;
        let votes = seat.votes.iter().filter(counts);
        Validator {
            node,
            name: row.as_ref().map(|row| row.name.to_string()),
            operator: row.map(|row| row.operator),
            standing,
            power,
            votes: votes.map(NodeId::of_first_key).collect(),
        }
    };
    let mut all: Vec<Validator> = found.into_iter().map(validator).collect();
    all.sort_by_key(|it| (it.standing as u8, it.name.clone(), it.node));
    all
}
