//! Checks signatures and certificates for the engine.
#![expect(
    clippy::result_large_err,
    reason = "the engine asks for its own error type"
)]

use std::collections::BTreeSet;

use allod_state::certificate::{VoteKind, vote_bytes};
use allod_state::{NetworkId, PublicKey};
use malachite_consensus::{ConsensusMsg, ThresholdParams};
use malachite_types::{
    CertificateError, CommitCertificate, PolkaCertificate, RoundCertificate, RoundCertificateType,
    SignedMessage, ValidatorSet as _, VoteType,
};

use super::context::{Address, Context, Members, Proposal, Vote};
use super::message::{kind_from_engine, round_number, value_from_engine};
use super::proposal_bytes;

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

/// Whether `key` signed the message.
pub(crate) fn verify_message(
    network: &NetworkId,
    message: &SignedMessage<Context, ConsensusMsg<Context>>,
    key: &PublicKey,
) -> bool {
    let bytes = match &message.message {
        ConsensusMsg::Vote(vote) => sign_bytes_of_vote(network, vote),
        ConsensusMsg::Proposal(proposal) => sign_bytes_of_proposal(network, proposal),
    };
    key.verify(&bytes, &message.signature.0).is_ok()
}

/// Whether a quorum of `members` precommitted.
pub(crate) fn verify_commit(
    network: &NetworkId,
    certificate: &CommitCertificate<Context>,
    members: &Members,
    params: ThresholdParams,
) -> Verified {
    let (height, round) = (certificate.height.0, round_number(certificate.round));
    let block = Some(&certificate.value_id);
    let message = vote_bytes(network, VoteKind::Precommit, height, round, block);
    let mut tally = Tally::new(members);
    for one in &certificate.commit_signatures {
        tally.add(one.address)?;
        if one.address.0.verify(&message, &one.signature.0).is_err() {
            return Err(CertificateError::InvalidCommitSignature(one.clone()));
        }
    }
    tally.reach(params.quorum.min_expected(members.total_voting_power()))
}

/// Whether a quorum of `members` prevoted.
pub(crate) fn verify_polka(
    network: &NetworkId,
    certificate: &PolkaCertificate<Context>,
    members: &Members,
    params: ThresholdParams,
) -> Verified {
    let (height, round) = (certificate.height.0, round_number(certificate.round));
    let block = Some(&certificate.value_id);
    let message = vote_bytes(network, VoteKind::Prevote, height, round, block);
    let mut tally = Tally::new(members);
    for one in &certificate.polka_signatures {
        tally.add(one.address)?;
        if one.address.0.verify(&message, &one.signature.0).is_err() {
            return Err(CertificateError::InvalidPolkaSignature(one.clone()));
        }
    }
    tally.reach(params.quorum.min_expected(members.total_voting_power()))
}

/// Whether enough of `members` voted to enter a round.
pub(crate) fn verify_round(
    network: &NetworkId,
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
        let bytes = sign_bytes_of_vote(network, &vote);
        if one.address.0.verify(&bytes, &one.signature.0).is_err() {
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
