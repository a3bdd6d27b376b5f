//! Checks signatures and certificates for the engine.
//!
//! The engine asks for the same signature more than once: for a vote when it comes, and again for
//! the certificate it becomes part of. What was found good at this height is remembered by the hash
//! of key, message and signature together.
#![expect(
    clippy::result_large_err,
    reason = "the engine asks for its own error type"
)]

use std::collections::BTreeSet;

use allod_state::certificate::{VoteKind, proposal_bytes, vote_bytes};
use allod_state::{NetworkId, PublicKey, Signature, codec};
use malachite_consensus::{ConsensusMsg, ThresholdParams};
use malachite_types::{
    CertificateError, CommitCertificate, PolkaCertificate, RoundCertificate, RoundCertificateType,
    SignedMessage, ValidatorSet as _, VoteType,
};

use super::context::{Address, Context, Members, Proposal, Vote};
use super::message::{kind_from_engine, round_number, value_from_engine};
use crate::limits::SIGNATURES_REMEMBERED_MAX;

type Verified = Result<(), CertificateError<Context>>;

/// What a proposer signs.
pub(crate) fn sign_bytes_of_proposal(network: &NetworkId, proposal: &Proposal) -> Vec<u8> {
    let round = round_number(proposal.round);
    let pol_round = proposal.pol_round.as_u32();
    proposal_bytes(
        network,
        proposal.height.0,
        round,
        pol_round,
        &proposal.value.id,
    )
}

/// What a voter signs.
pub(crate) fn sign_bytes_of_vote(network: &NetworkId, vote: &Vote) -> Vec<u8> {
    let value = value_from_engine(&vote.value);
    let kind = kind_from_engine(vote.kind);
    vote_bytes(
        network,
        kind,
        vote.height.0,
        round_number(vote.round),
        value.as_ref(),
    )
}

/// Checks signatures of one height.
pub(crate) struct Verifier {
    network: NetworkId,
    good: BTreeSet<[u8; 32]>,
}

impl Verifier {
    pub(crate) fn new(network: NetworkId) -> Self {
        Self {
            network,
            good: BTreeSet::new(),
        }
    }

    /// Forgets the signatures of a height that is done.
    pub(crate) fn forget(&mut self) {
        self.good.clear();
    }

    /// Takes note of a signature that this node has just made.
    pub(crate) fn made(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) {
        self.remember(digest(key, message, signature));
    }

    fn remember(&mut self, digest: [u8; 32]) {
        if self.good.len() < SIGNATURES_REMEMBERED_MAX {
            self.good.insert(digest);
        }
    }

    fn is_signed(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let digest = digest(key, message, signature);
        if self.good.contains(&digest) {
            return true;
        }
        let is_good = key.verify(message, signature).is_ok();
        if is_good {
            self.remember(digest);
        }
        is_good
    }

    /// Whether `key` signed the message.
    pub(crate) fn message(
        &mut self,
        message: &SignedMessage<Context, ConsensusMsg<Context>>,
        key: &PublicKey,
    ) -> bool {
        let bytes = match &message.message {
            ConsensusMsg::Vote(vote) => sign_bytes_of_vote(&self.network, vote),
            ConsensusMsg::Proposal(proposal) => sign_bytes_of_proposal(&self.network, proposal),
        };
        self.is_signed(key, &bytes, &message.signature.0)
    }

    /// Whether a quorum of `members` precommitted.
    pub(crate) fn commit(
        &mut self,
        certificate: &CommitCertificate<Context>,
        members: &Members,
        params: ThresholdParams,
    ) -> Verified {
        let (height, round) = (certificate.height.0, round_number(certificate.round));
        let block = Some(&certificate.value_id);
        let message = vote_bytes(&self.network, VoteKind::Precommit, height, round, block);
        let mut tally = Tally::new(members);
        for one in &certificate.commit_signatures {
            tally.add(one.address)?;
            if !self.is_signed(&one.address.0, &message, &one.signature.0) {
                return Err(CertificateError::InvalidCommitSignature(one.clone()));
            }
        }
        tally.reach(params.quorum.min_expected(members.total_voting_power()))
    }

    /// Whether a quorum of `members` prevoted.
    pub(crate) fn polka(
        &mut self,
        certificate: &PolkaCertificate<Context>,
        members: &Members,
        params: ThresholdParams,
    ) -> Verified {
        let (height, round) = (certificate.height.0, round_number(certificate.round));
        let block = Some(&certificate.value_id);
        let message = vote_bytes(&self.network, VoteKind::Prevote, height, round, block);
        let mut tally = Tally::new(members);
        for one in &certificate.polka_signatures {
            tally.add(one.address)?;
            if !self.is_signed(&one.address.0, &message, &one.signature.0) {
                return Err(CertificateError::InvalidPolkaSignature(one.clone()));
            }
        }
        tally.reach(params.quorum.min_expected(members.total_voting_power()))
    }

    /// Whether enough of `members` voted to enter a round.
    pub(crate) fn round(
        &mut self,
        certificate: &RoundCertificate<Context>,
        members: &Members,
        params: ThresholdParams,
    ) -> Verified {
        let is_skip = certificate.cert_type == RoundCertificateType::Skip;
        let mut tally = Tally::new(members);
        for one in &certificate.round_signatures {
            if !is_skip && one.vote_type == VoteType::Prevote {
                return Err(CertificateError::InvalidVoteType(one.address));
            }
            tally.add(one.address)?;
            let vote = Vote {
                kind: one.vote_type,
                height: certificate.height,
                round: certificate.round,
                value: one.value_id,
                validator: one.address,
            };
            let bytes = sign_bytes_of_vote(&self.network, &vote);
            if !self.is_signed(&one.address.0, &bytes, &one.signature.0) {
                return Err(CertificateError::InvalidRoundSignature(one.clone()));
            }
        }
        let needed = if is_skip {
            params.honest
        } else {
            params.quorum
        };
        tally.reach(needed.min_expected(members.total_voting_power()))
    }
}

fn digest(key: &PublicKey, message: &[u8], signature: &Signature) -> [u8; 32] {
    codec::hash_parts(
        "allod good signature v1",
        &[key.as_bytes(), message, &codec::encode(signature)],
    )
}

/// Adds up the power of distinct members.
struct Tally<'a> {
    members: &'a Members,
    seen: BTreeSet<Address>,
    power: u64,
}

impl<'a> Tally<'a> {
    fn new(members: &'a Members) -> Self {
        Self {
            members,
            seen: BTreeSet::new(),
            power: 0,
        }
    }

    fn add(&mut self, address: Address) -> Verified {
        let Some(member) = self.members.get_by_address(&address) else {
            return Err(CertificateError::UnknownValidator(address));
        };
        if !self.seen.insert(address) {
            return Err(CertificateError::DuplicateVote(address));
        }
        self.power = self.power.saturating_add(member.power);
        Ok(())
    }

    fn reach(self, expected: u64) -> Verified {
        if self.power >= expected {
            return Ok(());
        }
        let total = self.members.total_voting_power();
        Err(CertificateError::NotEnoughVotingPower {
            signed: self.power,
            total,
            expected,
        })
    }
}
