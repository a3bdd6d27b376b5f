//! Who decides is whom the validators chose: the set is computed here once more, from what the blocks tell, by rules of
//! its own.
//!
//! More than two thirds of those who decide elect and dismiss; whoever leaves or is proven false is out. Until four are
//! elected, those who were there go on without those who are out. What a block changes counts from the next one on,
//! which the headers' check holds every certificate against.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::event::Event;
use allod_state::genesis::Genesis;
use allod_state::validator::ValidatorSet;
use allod_state::{AccountId, NodeId, PublicKey, State};

use super::{Check, Found, Fresh};

/// How many have to be elected before they decide.
const ELECTED_MIN: usize = 4;

type Keys = BTreeSet<PublicKey>;

pub(super) struct Succession {
    elected: Keys,
    deciding: Keys,
    standing: BTreeSet<NodeId>,
    votes: BTreeMap<NodeId, Keys>,
}

impl Succession {
    pub(super) fn new(genesis: &Genesis) -> Self {
        let keys: Keys = genesis.validators.keys().copied().collect();
        Self {
            elected: keys.clone(),
            deciding: keys,
            standing: BTreeSet::new(),
            votes: BTreeMap::new(),
        }
    }

    fn follow(&mut self, state: &State, event: &Event) -> Found {
        match event {
            Event::ValidatorStands { node } => {
                self.standing.insert(*node);
                return Ok(());
            }
            Event::ValidatorVoted { node, by, is_in } => self.vote(state, *node, *by, *is_in)?,
            Event::ValidatorLeft { node } | Event::ValidatorBarred { node, .. } => {
                self.elected.remove(&key_of(state, node)?);
                self.standing.remove(node);
                self.votes.remove(node);
            }
            _ => return Ok(()),
        }
        self.seat();
        Ok(())
    }

    fn vote(&mut self, state: &State, node: NodeId, by: AccountId, is_in: bool) -> Found {
        let key = key_of(state, &node)?;
        let is_of_voter = |key: &&PublicKey| {
            let row = state.node(&NodeId::of_first_key(key));
            row.is_some_and(|row| row.operator == by)
        };
        let own: Keys = self.deciding.iter().filter(is_of_voter).copied().collect();
        let is_elected = self.elected.contains(&key);
        if own.is_empty() || (!is_elected && !self.standing.contains(&node)) {
            return Err(format!("{by} voted on {node}, and may not"));
        }
        let votes = self.votes.entry(node).or_default();
        votes.retain(|key| self.deciding.contains(key));
        if is_in == is_elected {
            votes.retain(|key| !own.contains(key));
            return Ok(());
        }
        votes.extend(own);
        if votes.len() * 3 > self.deciding.len() * 2 {
            self.votes.remove(&node);
            if is_in {
                self.elected.insert(key);
            } else {
                self.elected.remove(&key);
                self.standing.remove(&node);
            }
        }
        Ok(())
    }

    fn seat(&mut self) {
        let staying: Keys = self.deciding.intersection(&self.elected).copied().collect();
        self.deciding = if self.elected.len() >= ELECTED_MIN || staying.is_empty() {
            self.elected.clone()
        } else {
            staying
        };
    }
}

fn key_of(state: &State, node: &NodeId) -> Result<PublicKey, String> {
    let row = state.node(node);
    row.map(|row| row.key)
        .ok_or_else(|| format!("{node} is told of among the validators, and is not listed"))
}

fn keys_of(set: &ValidatorSet) -> Option<Keys> {
    let is_even = set.iter().all(|(_, power)| power == 1);
    is_even.then(|| set.iter().map(|(key, _)| *key).collect())
}

impl Check for Succession {
    fn name(&self) -> &'static str {
        "succession"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let state = &fresh.told.state;
        for event in fresh.told.all_events() {
            self.follow(state, event)?;
        }
        let height = fresh.told.header.height;
        let (deciding, elected) = (keys_of(&state.validators()), keys_of(&state.elected()));
        if deciding.as_ref() != Some(&self.deciding) || elected.as_ref() != Some(&self.elected) {
            return Err(format!(
                "after height {height} {deciding:?} decide and {elected:?} are elected, and not {:?} and {:?}",
                self.deciding, self.elected
            ));
        }
        Ok(())
    }
}
