//! Lies about the state: its blocks say what executing them does not give, and it votes for them all the same.

use std::collections::BTreeMap;

use allod_ledger::bft::{Message, SignedProposal};
use allod_state::block::{Block, Header};
use allod_state::{BlockId, Credits, Root};

use super::{Habit, Letter, Scene};

/// How many of a hundred of its proposals are honest.
const HONEST_PERCENT: u64 = 10;

type Lie = fn(&mut Header);

/// What a header can be wrong about.
const LIES: &[Lie] = &[
    |header| header.root = Root([7; 32]),
    |header| header.receipts_hash = [7; 32],
    |header| header.transactions_hash = [7; 32],
    |header| header.validators_hash = [7; 32],
    |header| header.next_validators_hash = [7; 32],
    |header| header.supply = Credits::from_micro(header.supply.micro() + 1),
    |header| header.time_ms += 600_000,
    |header| header.time_ms = 1,
    |header| header.time_ms = u64::MAX,
    |header| header.parent = BlockId([7; 32]),
    |header| header.height += 1,
    |header| header.version += 1,
];

#[derive(Default)]
pub(super) struct Fabricator {
    /// What it said of each round of the height that it is at.
    told: BTreeMap<(u64, u32), (BlockId, Message)>,
}

impl Fabricator {
    fn propose(&mut self, scene: &mut Scene<'_>, honest: &SignedProposal, bytes: &[u8]) -> Message {
        let place = (honest.height, honest.round);
        if let Some((_, message)) = self.told.get(&place) {
            return message.clone();
        }
        let mut block = (honest.value, bytes.to_vec());
        if !scene.random.percent(HONEST_PERCENT)
            && let Ok(mut altered) = Block::from_bytes(bytes)
            && let Some(lie) = scene.random.pick(LIES)
        {
            lie(&mut altered.header);
            block = (altered.header.id(), altered.to_bytes());
        }
        let message = scene.proposal(honest, block.0, block.1);
        self.told.insert(place, (block.0, message.clone()));
        while self.told.len() > 16 {
            self.told.pop_first();
        }
        message
    }
}

impl Habit for Fabricator {
    fn says(&mut self, scene: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        let said = match message {
            Message::Proposal(honest, bytes) if honest.proposer == scene.key() => {
                self.propose(scene, honest, bytes)
            }
            Message::Vote(vote) if vote.validator == scene.key() => {
                let place = (vote.height, vote.round);
                // Of others' blocks it says that they are no good, or votes for what does not exist.
                let made_up = Some(BlockId([vote.round.to_le_bytes()[0]; 32]));
                let own = self.told.get(&place).map(|(block, _)| *block);
                let other = made_up.filter(|_| vote.height.is_multiple_of(2));
                scene.vote(vote.kind, place, own.or(other))
            }
            _ => message.clone(),
        };
        vec![Letter::now(to, &said)]
    }
}
