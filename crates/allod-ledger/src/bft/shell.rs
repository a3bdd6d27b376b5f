//! Answers the engine's effects: what it asks for is either answered at once or turned into actions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use allod_state::certificate::Certificate;
use allod_state::{BlockId, PublicKey, codec};
use bytes::Bytes;
use malachite_consensus::{
    Effect, Input, LivenessMsg, MisbehaviorEvidence, Resumable, Resume, SignedConsensusMsg,
};
use malachite_types::{
    CommitCertificate, LinearTimeouts, Round, SignedMessage, Timeout, Value as _,
};

use super::context::{Address, Context, Height, Proposal, Seal, Vote};
use super::guard::{SignGuard, SignStep, Signed};
use super::message::{
    Message, Polka, RoundProof, SignedProposal, SignedVote, kind_from_engine, round_number,
    value_from_engine,
};
use super::record::Record;
use super::verify::{Verifier, sign_bytes_of_proposal, sign_bytes_of_vote};
use super::{Action, Alarm, Config, Equivocation, Signer};

/// Tells records of one height apart.
pub(crate) const RECORD_DOMAIN: &str = "allod log record v1";

/// A block held while its height is being decided.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) is_valid: bool,
}

/// A timer the engine set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub(crate) at_ms: u64,
    pub(crate) timeout: Timeout,
}

/// The engine could not be given what it asked for; it abandons the input.
#[derive(Debug)]
pub(crate) struct Refused;

/// Everything of a core but the engine itself.
pub(crate) struct Shell<S> {
    pub(crate) config: Config,
    pub(crate) signer: S,
    pub(crate) guard: SignGuard,
    verifier: Verifier,
    pub(crate) now_ms: u64,
    pub(crate) timers: Vec<Timer>,
    pub(crate) values: BTreeMap<BlockId, Held>,
    /// The round for which the engine wants a block.
    pub(crate) wanted: Option<(u64, Round)>,
    /// A decided block whose certificate held and whose bytes are now to be checked.
    pub(crate) certified: Option<(BlockId, u32, Address, Bytes)>,
    pub(crate) sync_refused: bool,
    pub(crate) decided: bool,
    pub(crate) muted_at: Option<u64>,
    pub(crate) appends: Vec<Record>,
    pub(crate) outward: Vec<Action>,
    pub(crate) written: BTreeSet<[u8; 32]>,
    pub(crate) values_written: BTreeSet<BlockId>,
    /// Who has said something at this height, by a signature that was checked or a proof that held.
    pub(crate) voted: BTreeSet<PublicKey>,
    /// The round that the engine is in.
    pub(crate) round: Round,
    /// Whether what the engine is told comes from the log.
    pub(crate) is_replaying: bool,
    /// Whether something appended is not yet synced.
    pub(crate) is_dirty: bool,
    /// Whether an outward action must wait for the disk.
    pub(crate) needs_sync: bool,
}

impl<S: Signer> Shell<S> {
    pub(crate) fn new(config: Config, signer: S, guard: SignGuard) -> Self {
        Self {
            config,
            signer,
            guard,
            verifier: Verifier::new(config.network),
            now_ms: 0,
            timers: Vec::new(),
            values: BTreeMap::new(),
            wanted: None,
            certified: None,
            sync_refused: false,
            decided: false,
            muted_at: None,
            appends: Vec::new(),
            outward: Vec::new(),
            written: BTreeSet::new(),
            values_written: BTreeSet::new(),
            voted: BTreeSet::new(),
            round: Round::Nil,
            is_replaying: false,
            is_dirty: false,
            needs_sync: false,
        }
    }

    /// Forgets the height that has been decided.
    pub(crate) fn forget_height(&mut self, next: u64) {
        self.timers.clear();
        self.values.clear();
        self.wanted = None;
        self.certified = None;
        self.decided = false;
        self.muted_at = None;
        self.written.clear();
        self.values_written.clear();
        self.voted.clear();
        self.verifier.forget();
        self.guard.raise_floor(next);
    }

    pub(crate) fn handle(&mut self, effect: Effect<Context>) -> Result<Resume<Context>, Refused> {
        use Effect as E;
        Ok(match effect {
            E::SignVote(vote, r) => r.resume_with(self.sign_vote(vote)?),
            E::SignProposal(proposal, r) => r.resume_with(self.sign_proposal(proposal)?),
            E::VerifySignature(message, key, r) => {
                let is_signed = self.verifier.message(&message, &key);
                self.voted.extend(is_signed.then_some(key));
                r.resume_with(is_signed)
            }
            E::VerifyCommitCertificate(certificate, members, params, r) => {
                r.resume_with(self.verifier.commit(&certificate, &members, params))
            }
            E::VerifyExtendedCommitCertificate(certificate, members, params, _, r) => {
                let plain = certificate.trim_vote_extensions();
                r.resume_with(self.verifier.commit(&plain, &members, params))
            }
            E::VerifyPolkaCertificate(certificate, members, params, r) => {
                let verified = self.verifier.polka(&certificate, &members, params);
                let signatures = certificate.polka_signatures.iter();
                let voters = signatures.filter(|_| verified.is_ok());
                self.voted.extend(voters.map(|one| one.address.0));
                r.resume_with(verified)
            }
            E::VerifyRoundCertificate(certificate, members, params, r) => {
                let verified = self.verifier.round(&certificate, &members, params);
                let signatures = certificate.round_signatures.iter();
                let voters = signatures.filter(|_| verified.is_ok());
                self.voted.extend(voters.map(|one| one.address.0));
                r.resume_with(verified)
            }
            E::ExtendVote(_, _, _, _, r) => r.resume_with(None),
            E::VerifyVoteExtension(_, _, _, _, _, _, r) => r.resume_with(Ok(())),
            order => {
                self.obey(order);
                Resume::Continue
            }
        })
    }

    /// The effects that need no answer.
    fn obey(&mut self, effect: Effect<Context>) {
        use Effect as E;
        match effect {
            E::CancelAllTimeouts(_) => self.timers.clear(),
            E::CancelTimeout(timeout, _) => self.timers.retain(|timer| timer.timeout != timeout),
            E::ScheduleTimeout(timeout, _) => self.schedule(timeout),
            E::PublishConsensusMsg(message, _) => self.publish(&message),
            E::PublishLivenessMsg(message, _) => self.publish_liveness(&message),
            E::RepublishVote(vote, _) => {
                self.send_all(Message::Vote(SignedVote::from_engine(&vote)));
            }
            E::RepublishRoundCertificate(proof, _) => {
                self.send_all(Message::Round(RoundProof::from_engine(&proof)));
            }
            E::GetValue(height, round, _, _) => self.wanted = Some((height.0, round)),
            E::CertVerifiedSyncValue(response, proposer, _) => {
                let round = round_number(response.certificate.round);
                let block = response.certificate.value_id;
                self.certified = Some((block, round, proposer, response.value_bytes));
            }
            E::CertRejectedSyncValue(..) => self.sync_refused = true,
            E::Finalize(certificate, _, evidence, _) => {
                self.report(&evidence);
                self.finalize(certificate);
            }
            E::WalAppend(height, input, _) => self.append_input(height, &input),
            // A proposal message carries its block, so there is nothing to stream again; the rest
            // is for show, or has been answered above.
            _ => {}
        }
    }

    fn schedule(&mut self, timeout: Timeout) {
        let timing = self.config.timing;
        let ms = Duration::from_millis;
        let timeouts = LinearTimeouts {
            propose: ms(timing.propose_ms),
            propose_delta: ms(timing.round_delta_ms),
            prevote: ms(timing.vote_ms),
            prevote_delta: ms(timing.round_delta_ms),
            precommit: ms(timing.vote_ms),
            precommit_delta: ms(timing.round_delta_ms),
            rebroadcast: ms(timing.rebroadcast_ms),
            max_timeout: ms(timing.max_ms),
        };
        if timeout.round.is_nil() {
            return;
        }
        let wait_ms = u64::try_from(timeouts.duration_for(timeout).as_millis()).unwrap_or(u64::MAX);
        self.timers.retain(|timer| timer.timeout != timeout);
        self.timers.push(Timer {
            at_ms: self.now_ms.saturating_add(wait_ms),
            timeout,
        });
    }

    /// Writes a record unless the log holds the very same one for this height.
    pub(crate) fn append(&mut self, record: Record) {
        if self.written.insert(codec::hash(RECORD_DOMAIN, &record)) {
            self.appends.push(record);
            self.is_dirty = true;
        }
    }

    /// Writes a vote or polka once for each round in which it came: the engine forgets those of earlier rounds, so that
    /// it makes a difference whether one comes again, and replaying the log must lead to the same votes.
    fn append_in_round(&mut self, record: Record) {
        let is_in_log =
            self.is_replaying && self.written.contains(&codec::hash(RECORD_DOMAIN, &record));
        let key = codec::hash(RECORD_DOMAIN, &(self.round.as_i64(), &record));
        if self.written.insert(key) && !is_in_log {
            self.appends.push(record);
            self.is_dirty = true;
        }
    }

    /// Writes a block's bytes once.
    pub(crate) fn append_value(&mut self, height: u64, block: BlockId, bytes: &Bytes) {
        if self.values_written.insert(block) {
            self.appends.push(Record::Value {
                height,
                block,
                bytes: bytes.to_vec(),
            });
            self.is_dirty = true;
        }
    }

    fn append_input(&mut self, height: Height, input: &Input<Context>) {
        match input {
            Input::Vote(vote) => {
                self.append_in_round(Record::Vote(SignedVote::from_engine(vote)));
            }
            Input::Proposal(proposal) => {
                let value = &proposal.message.value;
                self.append_value(height.0, value.id, &value.bytes);
                self.append(Record::Proposal(SignedProposal::from_engine(proposal)));
            }
            Input::ProposedValue(value, _) => {
                self.append_value(height.0, value.value.id, &value.value.bytes);
                self.append(Record::Verdict {
                    height: height.0,
                    round: round_number(value.round),
                    valid_round: value.valid_round.as_u32(),
                    proposer: value.proposer.0,
                    block: value.value.id(),
                    is_valid: value.validity.is_valid(),
                });
            }
            Input::PolkaCertificate(polka) => {
                self.append_in_round(Record::Polka(Polka::from_engine(polka)));
            }
            Input::TimeoutElapsed(timeout) => {
                if let Some(record) = Record::timeout(height.0, timeout) {
                    self.append(record);
                }
            }
            Input::StartHeight(..)
            | Input::RoundCertificate(_)
            | Input::Propose(_)
            | Input::SyncValueResponse(_) => {}
        }
    }

    fn send_all(&mut self, message: Message) {
        self.outward.push(Action::Broadcast(message));
    }

    fn publish(&mut self, message: &SignedConsensusMsg<Context>) {
        self.needs_sync = true;
        match message {
            SignedConsensusMsg::Vote(vote) => {
                self.send_all(Message::Vote(SignedVote::from_engine(vote)));
            }
            SignedConsensusMsg::Proposal(proposal) => {
                let block = proposal.message.value.bytes.to_vec();
                self.send_all(Message::Proposal(
                    SignedProposal::from_engine(proposal),
                    block,
                ));
            }
        }
    }

    fn publish_liveness(&mut self, message: &LivenessMsg<Context>) {
        self.needs_sync = true;
        self.send_all(match message {
            LivenessMsg::Vote(vote) => Message::Vote(SignedVote::from_engine(vote)),
            LivenessMsg::PolkaCertificate(polka) => Message::Polka(Polka::from_engine(polka)),
            LivenessMsg::SkipRoundCertificate(proof) => {
                Message::Round(RoundProof::from_engine(proof))
            }
        });
    }

    fn report(&mut self, evidence: &MisbehaviorEvidence<Context>) {
        for (_, pairs) in evidence.votes.iter() {
            for (one, other) in pairs {
                let (one, other) = (SignedVote::from_engine(one), SignedVote::from_engine(other));
                self.outward
                    .push(Action::Evidence(Equivocation::Votes(one, other)));
            }
        }
        for (_, pairs) in evidence.proposals.iter() {
            for (one, other) in pairs {
                let one = SignedProposal::from_engine(one);
                let other = SignedProposal::from_engine(other);
                self.outward
                    .push(Action::Evidence(Equivocation::Proposals(one, other)));
            }
        }
    }

    fn finalize(&mut self, decision: CommitCertificate<Context>) {
        let Some(held) = self.values.get(&decision.value_id).cloned() else {
            // The engine decides only on values it was given, and each was put into `values` before.
            self.outward.push(Action::Alarm(Alarm::Engine {
                height: decision.height.0,
                reason: format!("block {} was decided but is not held", decision.value_id),
            }));
            return;
        };
        let certificate = to_certificate(&decision);
        self.append_value(decision.height.0, decision.value_id, &held.bytes);
        self.append(Record::Decided(certificate.clone()));
        self.needs_sync = true;
        self.decided = true;
        self.timers.clear();
        self.wanted = None;
        self.outward.push(Action::Commit {
            certificate,
            bytes: held.bytes,
        });
    }

    fn sign(&mut self, signed: Signed, message: &[u8]) -> Result<Seal, Refused> {
        match self.guard.admit(&signed) {
            Ok(is_new) => {
                if is_new {
                    self.append(Record::Signed(signed));
                }
                let signature = self.signer.sign(message);
                self.verifier
                    .made(&self.signer.public_key(), message, &signature);
                Ok(Seal(signature))
            }
            Err(conflict) => {
                self.muted_at = Some(signed.height);
                self.outward
                    .push(Action::Alarm(Alarm::SignatureRefused(conflict)));
                Err(Refused)
            }
        }
    }

    fn sign_vote(&mut self, vote: Vote) -> Result<SignedMessage<Context, Vote>, Refused> {
        let kind = kind_from_engine(vote.kind);
        let step = match kind {
            allod_state::certificate::VoteKind::Prevote => SignStep::Prevote,
            allod_state::certificate::VoteKind::Precommit => SignStep::Precommit,
        };
        let (round, value) = (round_number(vote.round), value_from_engine(&vote.value));
        let signed = Signed {
            height: vote.height.0,
            round,
            step,
            pol_round: None,
            value,
        };
        let bytes = sign_bytes_of_vote(&self.config.network, &vote);
        let seal = self.sign(signed, &bytes)?;
        Ok(SignedMessage::new(vote, seal))
    }

    fn sign_proposal(
        &mut self,
        proposal: Proposal,
    ) -> Result<SignedMessage<Context, Proposal>, Refused> {
        let signed = Signed {
            height: proposal.height.0,
            round: round_number(proposal.round),
            step: SignStep::Propose,
            pol_round: proposal.pol_round.as_u32(),
            value: Some(proposal.value.id),
        };
        let bytes = sign_bytes_of_proposal(&self.config.network, &proposal);
        let seal = self.sign(signed, &bytes)?;
        Ok(SignedMessage::new(proposal, seal))
    }
}

fn to_certificate(decision: &CommitCertificate<Context>) -> Certificate {
    let signatures = decision.commit_signatures.iter();
    let mut signatures: Vec<_> = signatures
        .map(|one| (one.address.0, one.signature.0))
        .collect();
    signatures.sort_by_key(|(key, _)| *key);
    Certificate {
        height: decision.height.0,
        round: round_number(decision.round),
        block: decision.value_id,
        signatures,
    }
}
