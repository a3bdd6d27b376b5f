//! Draws those who are behind to itself, and answers them with blocks that nobody decided.

use allod_ledger::bft::{DecidedBlock, Message, Signer};
use allod_state::certificate::{Certificate, VoteKind, vote_bytes};

use super::{Habit, Letter, Scene};

#[derive(Default)]
pub(super) struct Deceiver;

/// A good block that it alone decided, as often as there are validators.
fn own_decision(scene: &mut Scene<'_>, height: u64) -> Option<DecidedBlock> {
    let block = scene.block()?;
    let id = block.header.id();
    let network = scene.state.network();
    let bytes = vote_bytes(&network, VoteKind::Precommit, height, 0, Some(&id));
    let signature = scene.signer.sign(&bytes);
    let is_own_alone = scene.random.percent(50);
    let own = scene.key();
    let validators = scene.state.validators();
    let named = validators.iter().map(|(key, _)| *key);
    let named = named.map(|key| if is_own_alone { own } else { key });
    Some(DecidedBlock {
        certificate: Certificate {
            height,
            round: 0,
            block: id,
            signatures: named.map(|key| (key, signature)).collect(),
        },
        block: block.to_bytes(),
    })
}

/// Something wrong with what was decided.
fn spoil(scene: &mut Scene<'_>, blocks: &mut Vec<DecidedBlock>) {
    let at = scene.random.index(blocks.len());
    let Some(block) = blocks.get_mut(at) else {
        return;
    };
    match scene.random.below(7) {
        0 => block.certificate.signatures.truncate(1),
        1 => {
            let first = block.certificate.signatures.first().copied();
            block.certificate.signatures.iter_mut().for_each(|one| {
                *one = first.unwrap_or(*one);
            });
        }
        2 => block.certificate.height += 1,
        3 => block.certificate.round += 1,
        4 => {
            let len = block.block.len();
            if let Some(byte) = block.block.get_mut(scene.random.index(len)) {
                *byte ^= 1;
            }
        }
        5 => blocks.reverse(),
        _ => blocks.clear(),
    }
}

impl Habit for Deceiver {
    fn says(&mut self, scene: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        let Message::SyncResponse(blocks) = message else {
            return vec![Letter::now(to, message)];
        };
        let mut blocks = blocks.clone();
        let next = blocks.first().map(|block| block.certificate.height);
        match next {
            Some(height) if scene.random.percent(30) => {
                blocks = own_decision(scene, height).into_iter().collect();
            }
            _ => spoil(scene, &mut blocks),
        }
        vec![Letter::now(to, &Message::SyncResponse(blocks))]
    }

    fn acts(&mut self, scene: &mut Scene<'_>) -> Vec<Letter> {
        let height = scene.height();
        let claimed = match scene.random.below(4) {
            0 => u64::MAX,
            1 => 0,
            2 => height,
            _ => height + scene.random.below(1_000),
        };
        let mut letters = scene.to_all(&Message::Status(claimed));
        let unasked = own_decision(scene, height).into_iter().collect();
        letters.extend(scene.to_all(&Message::SyncResponse(unasked)));
        letters
    }
}
