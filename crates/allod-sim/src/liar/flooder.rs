//! Sends what nobody asked for: garbage, frames that are too long, and good signatures under absurd numbers.

use allod_ledger::bft::{Message, SignedProposal};
use allod_ledger::limits::{MESSAGE_BYTES_MAX, TRANSACTIONS_PER_MESSAGE_MAX};
use allod_state::BlockId;
use allod_state::certificate::VoteKind;

use super::{Habit, Letter, Scene};

/// Letters at a time.
const LETTERS: u64 = 6;

#[derive(Default)]
pub(super) struct Flooder {
    heard: Vec<u8>,
    /// A frame that is too long is large; it is sent once.
    has_sent_large: bool,
}

fn absurd_height(scene: &mut Scene<'_>) -> u64 {
    let height = scene.height();
    match scene.random.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => height - 1,
        3 => height + 1,
        4 => height + 1 + scene.random.below(1_000),
        _ => height,
    }
}

fn absurd_round(scene: &mut Scene<'_>) -> u32 {
    match scene.random.below(3) {
        0 => u32::MAX,
        1 => 1_000_000,
        _ => u32::try_from(scene.random.below(200)).unwrap_or(0),
    }
}

/// A message that is well formed, rightly signed where it is signed, and absurd.
fn absurd(scene: &mut Scene<'_>) -> Message {
    let place = (absurd_height(scene), absurd_round(scene));
    let block = BlockId([scene.random.bytes(1).first().copied().unwrap_or(0); 32]);
    match scene.random.below(6) {
        0 => scene.vote(VoteKind::Prevote, place, Some(block)),
        1 => scene.vote(VoteKind::Precommit, place, None),
        2 => {
            let like = SignedProposal {
                height: place.0,
                round: place.1,
                pol_round: Some(u32::MAX),
                value: block,
                proposer: scene.key(),
                signature: allod_state::Signature::Ed25519([0; 64]),
            };
            let bytes = scene.random.bytes(100);
            scene.proposal(&like, block, bytes)
        }
        3 => Message::Status(place.0),
        4 => Message::SyncRequest(place.0),
        _ => {
            let count = TRANSACTIONS_PER_MESSAGE_MAX + 1;
            Message::Transactions(vec![Vec::new(); count])
        }
    }
}

impl Flooder {
    fn garbage(&mut self, scene: &mut Scene<'_>) -> Vec<u8> {
        if !self.has_sent_large {
            self.has_sent_large = true;
            return vec![1; MESSAGE_BYTES_MAX + 2];
        }
        let mut bytes = self.heard.clone();
        match scene.random.below(3) {
            0 => {
                let len = scene.random.index(400);
                return scene.random.bytes(len);
            }
            1 => bytes.truncate(scene.random.index(bytes.len())),
            _ => {
                let at = scene.random.index(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << scene.random.below(8);
                }
            }
        }
        bytes
    }
}

impl Habit for Flooder {
    fn hears(&mut self, scene: &mut Scene<'_>, message: &Message) -> Vec<Letter> {
        if scene.random.percent(10) {
            self.heard = message.encode();
        }
        Vec::new()
    }

    fn acts(&mut self, scene: &mut Scene<'_>) -> Vec<Letter> {
        let mut letters = Vec::new();
        for _ in 0..LETTERS {
            let Some(to) = scene.someone() else { break };
            let bytes = if scene.random.percent(50) {
                absurd(scene).encode()
            } else {
                self.garbage(scene)
            };
            letters.push(Letter {
                to,
                delay_ms: 0,
                bytes,
            });
        }
        letters
    }
}
