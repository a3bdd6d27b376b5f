//! Forgets what it locked, and says again what was said long ago: one vote a round, for whatever came last.

use std::collections::{BTreeMap, VecDeque};

use allod_ledger::bft::Message;
use allod_state::BlockId;

use super::{Habit, Letter, Scene};

/// Old messages that it remembers.
const REMEMBERED: usize = 200;
/// Old messages that it says again at a time.
const AGAIN: u64 = 4;

#[derive(Default)]
pub(super) struct Amnesiac {
    past: VecDeque<Message>,
    /// The latest block proposed at a height, in whatever round.
    latest: BTreeMap<u64, BlockId>,
    /// What it voted for already, so that it never says two things.
    voted: BTreeMap<(u64, u32, u8), Message>,
}

impl Amnesiac {
    fn remember(&mut self, message: &Message) {
        if let Message::Proposal(proposal, _) = message {
            self.latest.insert(proposal.height, proposal.value);
        }
        self.past.push_back(message.clone());
        if self.past.len() > REMEMBERED {
            self.past.pop_front();
        }
        while self.latest.len() > 4 {
            self.latest.pop_first();
        }
        while self.voted.len() > 64 {
            self.voted.pop_first();
        }
    }
}

impl Habit for Amnesiac {
    fn says(&mut self, scene: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        let Message::Vote(vote) = message else {
            self.remember(message);
            return vec![Letter::now(to, message)];
        };
        let place = (vote.height, vote.round);
        let value = self.latest.get(&vote.height).copied().or(vote.value);
        let said = self
            .voted
            .entry((vote.height, vote.round, vote.kind as u8))
            .or_insert_with(|| scene.vote(vote.kind, place, value))
            .clone();
        self.remember(&said);
        vec![Letter::now(to, &said)]
    }

    fn hears(&mut self, _: &mut Scene<'_>, message: &Message) -> Vec<Letter> {
        self.remember(message);
        Vec::new()
    }

    fn acts(&mut self, scene: &mut Scene<'_>) -> Vec<Letter> {
        let mut letters = Vec::new();
        for _ in 0..AGAIN {
            let at = scene.random.index(self.past.len());
            if let Some(old) = self.past.get(at) {
                letters.extend(scene.to_all(old));
            }
        }
        letters
    }
}
