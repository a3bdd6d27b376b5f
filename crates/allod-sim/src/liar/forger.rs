//! Speaks in others' names: their words altered, their signatures on something else, certificates made of one vote.

use allod_ledger::bft::{Message, Polka, RoundProof, SignedProposal, SignedVote, Signer};
use allod_state::certificate::{VoteKind, vote_bytes};
use allod_state::{BlockId, Signature};

use super::{Habit, Letter, Scene};

/// How many of a hundred messages that it hears it forges after.
const FORGES_PERCENT: u64 = 30;

#[derive(Default)]
pub(super) struct Forger;

/// A vote of another validator, for something else, by its old signature or by the forger's own.
fn vote(scene: &mut Scene<'_>, vote: &SignedVote) -> Message {
    let value = match scene.random.below(3) {
        0 => None,
        1 => Some(BlockId([9; 32])),
        _ => vote.value,
    };
    let kind = match scene.random.below(2) {
        0 => VoteKind::Prevote,
        _ => VoteKind::Precommit,
    };
    let validator = scene.some_key();
    let network = scene.state.network();
    let bytes = vote_bytes(&network, kind, vote.height, vote.round, value.as_ref());
    let signature = if scene.random.percent(50) {
        scene.signer.sign(&bytes)
    } else {
        vote.signature
    };
    Message::Vote(SignedVote {
        kind,
        value,
        validator,
        signature,
        ..vote.clone()
    })
}

/// Another's good proposal over bytes that are not its block, or one in another's name.
fn proposal(scene: &mut Scene<'_>, proposal: &SignedProposal, block: &[u8]) -> Option<Message> {
    if scene.random.percent(50) {
        let mut block = block.to_vec();
        let at = scene.random.index(block.len());
        *block.get_mut(at)? ^= 1;
        return Some(Message::Proposal(proposal.clone(), block));
    }
    let block = scene.block()?;
    let Message::Proposal(own, bytes) =
        scene.proposal(proposal, block.header.id(), block.to_bytes())
    else {
        return None;
    };
    let proposer = scene.some_key();
    Some(Message::Proposal(SignedProposal { proposer, ..own }, bytes))
}

/// One vote of its own, under the names of all.
fn quorum(scene: &Scene<'_>, kind: VoteKind, height: u64, round: u32) -> Vec<Signature> {
    let value = BlockId([9; 32]);
    let network = scene.state.network();
    let bytes = vote_bytes(&network, kind, height, round, Some(&value));
    let count = scene.state.validators().iter().count();
    vec![scene.signer.sign(&bytes); count]
}

fn certificate(scene: &mut Scene<'_>, height: u64, round: u32) -> Message {
    let keys: Vec<_> = scene
        .state
        .validators()
        .iter()
        .map(|(key, _)| *key)
        .collect();
    let is_own_alone = scene.random.percent(50);
    let own = scene.key();
    let named = keys.iter().map(|key| if is_own_alone { own } else { *key });
    let value = BlockId([9; 32]);
    if scene.random.percent(50) {
        let signatures = quorum(scene, VoteKind::Prevote, height, round);
        return Message::Polka(Polka {
            height,
            round,
            value,
            signatures: named.zip(signatures).collect(),
        });
    }
    let signatures = quorum(scene, VoteKind::Precommit, height, round);
    let votes = named.zip(signatures);
    let votes = votes.map(|(key, signature)| (VoteKind::Precommit, Some(value), key, signature));
    Message::Round(RoundProof {
        height,
        round: round.saturating_add(1),
        is_skip: scene.random.percent(50),
        votes: votes.collect(),
    })
}

impl Habit for Forger {
    fn hears(&mut self, scene: &mut Scene<'_>, message: &Message) -> Vec<Letter> {
        if !scene.random.percent(FORGES_PERCENT) {
            return Vec::new();
        }
        let forged = match message {
            Message::Vote(heard) if scene.random.percent(40) => {
                Some(certificate(scene, heard.height, heard.round))
            }
            Message::Vote(heard) => Some(vote(scene, heard)),
            Message::Proposal(heard, block) => proposal(scene, heard, block),
            _ => None,
        };
        let Some(forged) = forged else {
            return Vec::new();
        };
        match scene.someone() {
            Some(to) if scene.random.percent(50) => vec![Letter::now(to, &forged)],
            _ => scene.to_all(&forged),
        }
    }
}
