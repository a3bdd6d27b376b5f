//! The proof that a quorum decided a block: plain data that anyone can check without an engine.
//!
//! A vote signs `allod-vote-v1 | network | kind | height | round | block`, fixed-width and little-endian. `kind` is 1
//! for a prevote and 2 for a precommit; `block` is a zero byte for nil, or a one byte and the block id. A certificate
//! is good when distinct members of the height's validator set, with more than two thirds of its power, signed a
//! precommit for the same block in the same round.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::block::Header;
use crate::id::{BlockId, NetworkId};
use crate::key::{PublicKey, Signature};
use crate::limits;
use crate::validator::ValidatorSet;

/// Signature domain of votes.
pub const VOTE_DOMAIN: &[u8] = b"allod-vote-v1";

/// The two kinds of vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum VoteKind {
    /// "I hold this block for valid."
    Prevote,
    /// "I have seen a quorum hold it for valid."
    Precommit,
}

/// The bytes a validator signs for one vote.
#[must_use]
pub fn vote_bytes(
    network: &NetworkId,
    kind: VoteKind,
    height: u64,
    round: u32,
    block: Option<&BlockId>,
) -> Vec<u8> {
    let mut bytes = VOTE_DOMAIN.to_vec();
    bytes.extend_from_slice(network.as_bytes());
    bytes.push(match kind {
        VoteKind::Prevote => 1,
        VoteKind::Precommit => 2,
    });
    bytes.extend_from_slice(&height.to_le_bytes());
    bytes.extend_from_slice(&round.to_le_bytes());
    match block {
        None => bytes.push(0),
        Some(id) => {
            bytes.push(1);
            bytes.extend_from_slice(id.as_bytes());
        }
    }
    bytes
}

/// The bytes that a proposer signs: `allod-proposal-v1 | network | height | round | polka | block`, where the round of the
/// polka that a block proposed again rests on is a zero byte for none, or a one byte and the round.
#[must_use]
pub fn proposal_bytes(
    network: &NetworkId,
    height: u64,
    round: u32,
    pol_round: Option<u32>,
    block: &BlockId,
) -> Vec<u8> {
    let mut bytes = b"allod-proposal-v1".to_vec();
    bytes.extend_from_slice(network.as_bytes());
    bytes.extend_from_slice(&height.to_le_bytes());
    bytes.extend_from_slice(&round.to_le_bytes());
    match pol_round {
        None => bytes.push(0),
        Some(round) => {
            bytes.push(1);
            bytes.extend_from_slice(&round.to_le_bytes());
        }
    }
    bytes.extend_from_slice(block.as_bytes());
    bytes
}

/// A quorum's precommits for one block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The block's height.
    pub height: u64,
    /// The round in which it was decided.
    pub round: u32,
    /// The block.
    pub block: BlockId,
    /// Who signed, in key order.
    pub signatures: Vec<(PublicKey, Signature)>,
}

/// A decided block after which others vote.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Handover {
    /// Its header.
    pub header: Header,
    /// The proof that those before decided it.
    pub certificate: Certificate,
    /// Those who vote from then on.
    pub next: ValidatorSet,
}

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is for another block.
    #[error("the certificate is for another block than the header")]
    OtherBlock,
    /// The header names another validator set.
    #[error("the header was voted on by another validator set")]
    OtherValidators,
    /// The header is of another network.
    #[error("the header belongs to another network")]
    OtherNetwork,
    /// A signer appears twice, is no validator, or signed badly.
    #[error("the signature of {0} is repeated, false, or not a validator's")]
    BadSigner(PublicKey),
    /// The signers are too few.
    #[error("the signers hold {power} of {total} votes; more than two thirds are needed")]
    NoQuorum {
        /// The signers' power.
        power: u64,
        /// Everyone's power.
        total: u64,
    },
}

/// The validators that `first` and then those in between handed over to, one after the other, oldest handover first.
///
/// # Errors
/// Where a step was not decided by those before it, or names others than it hands over to.
pub fn successors(
    network: &NetworkId,
    first: ValidatorSet,
    handovers: &[Handover],
) -> Result<ValidatorSet, CertificateError> {
    let (mut validators, mut height) = (first, 0);
    for handover in handovers {
        let header = &handover.header;
        handover.certificate.verify(network, &validators, header)?;
        if header.height <= height {
            return Err(CertificateError::OtherBlock);
        }
        if header.next_validators_hash != handover.next.hash() {
            return Err(CertificateError::OtherValidators);
        }
        height = header.height;
        validators.clone_from(&handover.next);
    }
    Ok(validators)
}

impl Certificate {
    /// Checks that `validators` of `network` decided the block of `header`.
    ///
    /// # Errors
    /// Where they did not, or this does not show it.
    pub fn verify(
        &self,
        network: &NetworkId,
        validators: &ValidatorSet,
        header: &Header,
    ) -> Result<(), CertificateError> {
        if header.network != *network {
            return Err(CertificateError::OtherNetwork);
        }
        if self.block != header.id() || self.height != header.height {
            return Err(CertificateError::OtherBlock);
        }
        if header.validators_hash != validators.hash() {
            return Err(CertificateError::OtherValidators);
        }
        self.verify_votes(network, validators)
    }

    /// Checks the votes alone, for a caller who has no header yet.
    ///
    /// # Errors
    /// Where the signers are not a quorum of `validators`.
    pub fn verify_votes(
        &self,
        network: &NetworkId,
        validators: &ValidatorSet,
    ) -> Result<(), CertificateError> {
        let total = validators.total_power();
        if self.signatures.len() > limits::CERTIFICATE_SIGNATURES_MAX {
            return Err(CertificateError::NoQuorum { power: 0, total });
        }
        let message = vote_bytes(
            network,
            VoteKind::Precommit,
            self.height,
            self.round,
            Some(&self.block),
        );
        let mut seen = BTreeSet::new();
        let mut power: u64 = 0;
        for (key, signature) in &self.signatures {
            let vote = validators.power(key);
            if vote == 0 || !seen.insert(*key) || key.verify(&message, signature).is_err() {
                return Err(CertificateError::BadSigner(*key));
            }
            power = power.saturating_add(vote);
        }
        if validators.is_quorum(power) {
            Ok(())
        } else {
            Err(CertificateError::NoQuorum { power, total })
        }
    }
}
