//! What a false validator sees, and the pen with which it writes.

use allod_ledger::LocalSigner;
use allod_ledger::bft::{Message, SignedProposal, SignedVote, Signer};
use allod_state::block::Block;
use allod_state::certificate::{VoteKind, proposal_bytes, vote_bytes};
use allod_state::{BlockId, Proposal, PublicKey, State, build};

use crate::random::Random;

use super::Plot;

/// Bytes for a peer.
pub(crate) struct Letter {
    pub(crate) to: usize,
    /// How long it is kept back.
    pub(crate) delay_ms: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Letter {
    pub(crate) fn now(to: usize, message: &Message) -> Self {
        Self {
            to,
            delay_ms: 0,
            bytes: message.encode(),
        }
    }
}

/// What a false validator sees.
pub(crate) struct Scene<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) signer: &'a LocalSigner,
    /// The state of its own replica.
    pub(crate) state: &'a State,
    pub(crate) wall_ms: u64,
    /// All the others.
    pub(crate) others: &'a [usize],
    /// One half of the honest ones.
    pub(crate) far: &'a [usize],
    pub(crate) plot: &'a mut Plot,
}

impl Scene<'_> {
    pub(crate) fn key(&self) -> PublicKey {
        self.signer.public_key()
    }

    /// The height that is being decided, as far as its replica knows.
    pub(crate) fn height(&self) -> u64 {
        self.state.tip().height + 1
    }

    /// Whether it is to propose.
    pub(crate) fn is_own_turn(&self, height: u64, round: u32) -> bool {
        let validators = self.state.validators();
        let count = validators.iter().count() as u64;
        let turn = height.wrapping_add(u64::from(round)) % count.max(1);
        let mut turns = (0..).zip(validators.iter());
        turns.any(|(at, (key, _))| at == turn && *key == self.key())
    }

    /// One of the others.
    pub(crate) fn someone(&mut self) -> Option<usize> {
        self.random.pick(self.others).copied()
    }

    /// Some validator's key, its own included.
    pub(crate) fn some_key(&mut self) -> PublicKey {
        let keys: Vec<_> = self
            .state
            .validators()
            .iter()
            .map(|(key, _)| *key)
            .collect();
        let key = self.random.pick(&keys).copied();
        key.unwrap_or_else(|| self.key())
    }

    /// The message to all the others.
    pub(crate) fn to_all(&self, message: &Message) -> Vec<Letter> {
        let letter = |to: &usize| Letter::now(*to, message);
        self.others.iter().map(letter).collect()
    }

    /// A vote with its own good signature.
    pub(crate) fn vote(
        &self,
        kind: VoteKind,
        (height, round): (u64, u32),
        value: Option<BlockId>,
    ) -> Message {
        let network = self.state.network();
        let bytes = vote_bytes(&network, kind, height, round, value.as_ref());
        Message::Vote(SignedVote {
            kind,
            height,
            round,
            value,
            validator: self.key(),
            signature: self.signer.sign(&bytes),
        })
    }

    /// A proposal of these bytes with its own good signature, in the place of another one.
    pub(crate) fn proposal(
        &self,
        like: &SignedProposal,
        value: BlockId,
        block: Vec<u8>,
    ) -> Message {
        let network = self.state.network();
        let (height, round, pol_round) = (like.height, like.round, like.pol_round);
        let bytes = proposal_bytes(&network, height, round, pol_round, &value);
        let proposal = SignedProposal {
            value,
            proposer: self.key(),
            signature: self.signer.sign(&bytes),
            ..like.clone()
        };
        Message::Proposal(proposal, block)
    }

    /// A good block that nobody has seen yet.
    pub(crate) fn block(&mut self) -> Option<Block> {
        let ms = 1 + self.random.below(500);
        let time_ms = self.wall_ms.max(self.state.tip().time_ms) + ms;
        let proposal = Proposal {
            time_ms,
            proposer: self.key(),
            transactions: &[],
        };
        let (executed, _) = build(self.state, &proposal).ok()?;
        Some(executed.block)
    }
}
