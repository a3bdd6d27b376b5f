//! Keeps things back: proposals from all but one peer, or votes, or answers.

use allod_ledger::bft::Message;
use allod_state::certificate::VoteKind;

use super::{Habit, Letter, Scene};

/// How long it holds on to one way of keeping things back.
const MOOD_MS: u64 = 10_000;

#[derive(Clone, Copy, Default)]
enum Mood {
    /// Shows its proposals to one peer alone.
    #[default]
    OneSees,
    /// Votes, and shows no block.
    NoBlocks,
    /// Proposes, and never votes.
    NoVotes,
    /// Never finishes what it began.
    NoPrecommits,
    /// Answers nobody and tells of nothing.
    NoAnswers,
}

const MOODS: &[Mood] = &[
    Mood::OneSees,
    Mood::NoBlocks,
    Mood::NoVotes,
    Mood::NoPrecommits,
    Mood::NoAnswers,
];

#[derive(Default)]
pub(super) struct Withholder {
    mood: Mood,
    until_ms: u64,
    favourite: usize,
}

impl Withholder {
    fn keeps(&self, to: usize, message: &Message) -> bool {
        match (self.mood, message) {
            (Mood::OneSees, Message::Proposal(..)) => to != self.favourite,
            (Mood::NoBlocks, Message::Proposal(..)) | (Mood::NoVotes, Message::Vote(_)) => true,
            (Mood::NoPrecommits, Message::Vote(vote)) => vote.kind == VoteKind::Precommit,
            (Mood::NoAnswers, message) => {
                let is_agreement = matches!(message, Message::Proposal(..) | Message::Vote(_));
                !is_agreement
            }
            _ => false,
        }
    }
}

impl Habit for Withholder {
    fn says(&mut self, scene: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        if scene.wall_ms >= self.until_ms {
            self.until_ms = scene.wall_ms + MOOD_MS;
            self.mood = scene.random.pick(MOODS).copied().unwrap_or_default();
            self.favourite = scene.someone().unwrap_or(0);
        }
        if self.keeps(to, message) {
            return Vec::new();
        }
        vec![Letter::now(to, message)]
    }
}
