//! What validators and followers say to one another, and how it is written.
//!
//! A message is one version byte and the canonical encoding of [`Message`]. Reading is total: any
//! bytes give a message or an error, within the limits named here. Nothing in a message is believed
//! for being well formed: votes, proposals and certificates carry signatures that the core checks,
//! and a [`Status`](Message::Status) is only ever a hint.

use allod_state::certificate::{Certificate, VoteKind};
use allod_state::{BlockId, PublicKey, Signature, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use malachite_types::{
    NilOrVal, PolkaSignature, Round, RoundCertificateType, RoundSignature, SignedMessage, VoteType,
};

use super::context::{Address, Context, Height, Seal, Value};
use crate::limits::{
    MESSAGE_BYTES_MAX, SYNC_BLOCKS_MAX, TRANSACTIONS_PER_MESSAGE_MAX, VALIDATORS_MAX,
};

/// The version of the encoding below.
pub const MESSAGE_VERSION: u8 = 1;

/// A vote and its signature; `value` is `None` for a vote for no block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedVote {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The height voted on.
    pub height: u64,
    /// The round of that height.
    pub round: u32,
    /// The block voted for.
    pub value: Option<BlockId>,
    /// Who votes.
    pub validator: PublicKey,
    /// The validator's signature over the vote's sign-bytes.
    pub signature: Signature,
}

/// A proposal and its signature, without the block's bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedProposal {
    /// The height proposed for.
    pub height: u64,
    /// The round of that height.
    pub round: u32,
    /// The round of the polka that a re-proposed block rests on.
    pub pol_round: Option<u32>,
    /// The proposed block.
    pub value: BlockId,
    /// Who proposes.
    pub proposer: PublicKey,
    /// The proposer's signature over the proposal's sign-bytes.
    pub signature: Signature,
}

/// More than two thirds of prevotes for one block in one round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Polka {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block.
    pub value: BlockId,
    /// The prevotes' signatures.
    pub signatures: Vec<(PublicKey, Signature)>,
}

/// The votes that allow entering a round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundProof {
    /// The height.
    pub height: u64,
    /// The round of the votes.
    pub round: u32,
    /// Whether more than one third of votes of a later round (skip), or more than two thirds of
    /// precommits of the round before.
    pub is_skip: bool,
    /// The votes: kind, block, validator, signature.
    pub votes: Vec<(VoteKind, Option<BlockId>, PublicKey, Signature)>,
}

/// A decided block with the certificate that proves it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DecidedBlock {
    /// More than two thirds of precommits for the block.
    pub certificate: Certificate,
    /// The block's canonical bytes.
    pub block: Vec<u8>,
}

/// Everything that goes between ledgers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Message {
    /// A vote.
    Vote(SignedVote),
    /// A proposal with its block.
    Proposal(SignedProposal, Vec<u8>),
    /// A polka certificate.
    Polka(Polka),
    /// A round certificate.
    Round(RoundProof),
    /// The sender's last decided height.
    Status(u64),
    /// Asks for decided blocks from this height on.
    SyncRequest(u64),
    /// Decided blocks, in height order.
    SyncResponse(Vec<DecidedBlock>),
    /// Signed transactions, for the mempool.
    Transactions(Vec<Vec<u8>>),
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A version that this binary does not speak.
    #[error("the message has version {0}; this binary speaks version {MESSAGE_VERSION}")]
    Version(u8),
    /// No bytes at all.
    #[error("the message is empty")]
    Empty,
    /// More bytes than allowed, or not canonical.
    #[error("reading a ledger message: {0}")]
    Codec(#[from] codec::DecodeError),
    /// A list longer than any honest sender makes it.
    #[error("the message lists {count} {what}; at most {max} are allowed")]
    TooMany {
        /// What is listed.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

impl Message {
    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![MESSAGE_VERSION];
        borsh::to_writer(&mut bytes, self).expect("writing to memory cannot fail");
        bytes
    }

    /// Reads what came from a peer.
    ///
    /// # Errors
    /// Where the bytes are not one canonical message within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let (version, body) = bytes.split_first().ok_or(MessageError::Empty)?;
        if *version != MESSAGE_VERSION {
            return Err(MessageError::Version(*version));
        }
        let message: Self = codec::decode("ledger message", MESSAGE_BYTES_MAX, body)?;
        message.within_limits()?;
        Ok(message)
    }

    fn within_limits(&self) -> Result<(), MessageError> {
        let (what, count, max) = match self {
            Self::Polka(polka) => ("signatures", polka.signatures.len(), VALIDATORS_MAX),
            Self::Round(proof) => ("votes", proof.votes.len(), VALIDATORS_MAX.saturating_mul(2)),
            Self::SyncResponse(blocks) => ("blocks", blocks.len(), SYNC_BLOCKS_MAX),
            Self::Vote(_) | Self::Proposal(..) | Self::Status(_) => return Ok(()),
            Self::Transactions(list) => ("transactions", list.len(), TRANSACTIONS_PER_MESSAGE_MAX),
            Self::SyncRequest(_) => return Ok(()),
        };
        if count > max {
            return Err(MessageError::TooMany { what, count, max });
        }
        Ok(())
    }

    /// The height that the message speaks of, where it is about agreeing on one.
    pub(crate) fn consensus_height(&self) -> Option<u64> {
        match self {
            Self::Vote(vote) => Some(vote.height),
            Self::Proposal(proposal, _) => Some(proposal.height),
            Self::Polka(polka) => Some(polka.height),
            Self::Round(proof) => Some(proof.height),
            Self::Status(_) | Self::SyncRequest(_) => None,
            Self::SyncResponse(_) | Self::Transactions(_) => None,
        }
    }
}

pub(crate) fn kind_from_engine(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

fn kind_to_engine(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

pub(crate) fn value_from_engine(value: &NilOrVal<BlockId>) -> Option<BlockId> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(id) => Some(*id),
    }
}

fn value_to_engine(value: Option<BlockId>) -> NilOrVal<BlockId> {
    value.map_or(NilOrVal::Nil, NilOrVal::Val)
}

/// The engine's rounds start undefined; messages only exist for defined ones.
pub(crate) fn round_number(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

pub(crate) type EngineVote = malachite_types::SignedVote<Context>;
pub(crate) type EngineProposal = malachite_types::SignedProposal<Context>;

impl SignedVote {
    pub(crate) fn from_engine(vote: &EngineVote) -> Self {
        Self {
            kind: kind_from_engine(vote.message.kind),
            height: vote.message.height.0,
            round: round_number(vote.message.round),
            value: value_from_engine(&vote.message.value),
            validator: vote.message.validator.0,
            signature: vote.signature.0,
        }
    }

    pub(crate) fn to_engine(&self) -> EngineVote {
        let vote = super::context::Vote {
            kind: kind_to_engine(self.kind),
            height: Height(self.height),
            round: Round::new(self.round),
            value: value_to_engine(self.value),
            validator: Address(self.validator),
        };
        SignedMessage::new(vote, Seal(self.signature))
    }
}

impl SignedProposal {
    pub(crate) fn from_engine(proposal: &EngineProposal) -> Self {
        Self {
            height: proposal.message.height.0,
            round: round_number(proposal.message.round),
            pol_round: proposal.message.pol_round.as_u32(),
            value: proposal.message.value.id,
            proposer: proposal.message.proposer.0,
            signature: proposal.signature.0,
        }
    }

    pub(crate) fn to_engine(&self, block: Bytes) -> EngineProposal {
        let proposal = super::context::Proposal {
            height: Height(self.height),
            round: Round::new(self.round),
            value: Value {
                id: self.value,
                bytes: block,
            },
            pol_round: Round::from(self.pol_round),
            proposer: Address(self.proposer),
        };
        SignedMessage::new(proposal, Seal(self.signature))
    }
}

impl Polka {
    pub(crate) fn from_engine(polka: &malachite_types::PolkaCertificate<Context>) -> Self {
        let signatures = polka.polka_signatures.iter();
        Self {
            height: polka.height.0,
            round: round_number(polka.round),
            value: polka.value_id,
            signatures: signatures
                .map(|one| (one.address.0, one.signature.0))
                .collect(),
        }
    }

    pub(crate) fn to_engine(&self) -> malachite_types::PolkaCertificate<Context> {
        let signatures = self.signatures.iter();
        malachite_types::PolkaCertificate {
            height: Height(self.height),
            round: Round::new(self.round),
            value_id: self.value,
            polka_signatures: signatures
                .map(|(key, signature)| PolkaSignature::new(Address(*key), Seal(*signature)))
                .collect(),
        }
    }
}

impl RoundProof {
    pub(crate) fn from_engine(proof: &malachite_types::RoundCertificate<Context>) -> Self {
        let votes = proof.round_signatures.iter().map(|one| {
            let kind = kind_from_engine(one.vote_type);
            (
                kind,
                value_from_engine(&one.value_id),
                one.address.0,
                one.signature.0,
            )
        });
        Self {
            height: proof.height.0,
            round: round_number(proof.round),
            is_skip: proof.cert_type == RoundCertificateType::Skip,
            votes: votes.collect(),
        }
    }

    pub(crate) fn to_engine(&self) -> malachite_types::RoundCertificate<Context> {
        let votes = self.votes.iter().map(|(kind, value, key, signature)| {
            let value = value_to_engine(*value);
            RoundSignature::new(
                kind_to_engine(*kind),
                value,
                Address(*key),
                Seal(*signature),
            )
        });
        malachite_types::RoundCertificate {
            height: Height(self.height),
            round: Round::new(self.round),
            cert_type: match self.is_skip {
                true => RoundCertificateType::Skip,
                false => RoundCertificateType::Precommit,
            },
            round_signatures: votes.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
