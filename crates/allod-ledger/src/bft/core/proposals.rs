//! Proposals: only those of the validator whose turn it is are examined, and only a few of them.
//!
//! However many rounds have failed, the next one's block has to be taken, or the height could never be decided. So once a
//! height has brought [`VALUES_PER_HEIGHT_MAX`] blocks, only what is large is refused: in rounds as late as that every
//! correct proposer's own block is empty. A block that somebody may be locked on has a polka, so it is taken at any size
//! as soon as that is known; who proposes it again sends the polka first, and the block with the proposal. What is
//! refused gets no vote of this node, just as what never came. Nothing is let go while the height lasts: the engine
//! would keep it. So there are so many large blocks, one for each polka, and for each round two that weigh no more than
//! its votes.

use allod_state::certificate::{proposal_bytes, vote_bytes};
use allod_state::limits::BLOCK_BYTES_MAX;
use allod_state::{BlockId, PublicKey};
use bytes::Bytes;
use malachite_consensus::{Input, ProposedValue};
use malachite_types::{Round, Validity, ValueOrigin};

use super::Core;
use crate::bft::context::{Address, Height, Value};
use crate::bft::message::{Message, SignedProposal};
use crate::bft::{Action, Signer, Standing};
use crate::limits::{EMPTY_BLOCK_BYTES_MAX, PROPOSALS_PER_ROUND_MAX, VALUES_PER_HEIGHT_MAX};

impl<S: Signer> Core<S> {
    /// The validator of the current height that signed the message.
    pub(super) fn speaker_of(&self, message: &Message) -> Option<PublicKey> {
        let network = &self.shell.config.network;
        match message {
            Message::Vote(vote) => {
                let block = vote.value.as_ref();
                let bytes = vote_bytes(network, vote.kind, vote.height, vote.round, block);
                let is_signed = self.validators.power(&vote.validator) > 0
                    && vote.validator.verify(&bytes, &vote.signature).is_ok();
                is_signed.then_some(vote.validator)
            }
            Message::Proposal(proposal, _) => {
                self.is_proposers(proposal).then_some(proposal.proposer)
            }
            _ => None,
        }
    }

    /// Whether the validator whose turn it is signed the proposal.
    fn is_proposers(&self, proposal: &SignedProposal) -> bool {
        let round = Round::new(proposal.round);
        let bytes = proposal_bytes(
            &self.shell.config.network,
            proposal.height,
            proposal.round,
            proposal.pol_round,
            &proposal.value,
        );
        self.members
            .proposer(Height(proposal.height), round)
            .address
            .0
            == proposal.proposer
            && proposal
                .proposer
                .verify(&bytes, &proposal.signature)
                .is_ok()
    }

    pub(super) fn on_proposal(&mut self, proposal: SignedProposal, bytes: Bytes) {
        let ahead = i64::from(proposal.round).saturating_sub(self.engine.round().as_i64());
        let lookahead = i64::from(malachite_consensus::MAX_FUTURE_ROUND_LOOKAHEAD);
        if ahead > lookahead || bytes.len() > BLOCK_BYTES_MAX || !self.is_proposers(&proposal) {
            return;
        }
        let seen = self.proposals_seen.entry(proposal.round).or_default();
        if seen.len() >= PROPOSALS_PER_ROUND_MAX && !seen.contains(&proposal.value) {
            return;
        }
        seen.insert(proposal.value);
        let standing = self.standing_of(&proposal);
        let is_held = self.shell.values.contains_key(&proposal.value);
        // What was refused may only have come too early for the clock.
        let asks_again = standing == Standing::Vouched && self.is_refused(&proposal.value);
        if is_held && !asks_again {
            self.feed_proposal(&proposal);
            return;
        }
        let held = self.shell.values.len().saturating_add(self.unchecked.len());
        let is_taken_late = bytes.len() <= EMPTY_BLOCK_BYTES_MAX || standing == Standing::Vouched;
        if !is_held && held >= VALUES_PER_HEIGHT_MAX && !is_taken_late {
            return;
        }
        let block = proposal.value;
        let waiting = self.unchecked.entry(block).or_default();
        waiting.push((proposal, bytes.clone()));
        if waiting.len() == 1 {
            self.ask_check(block, bytes, standing);
        }
    }

    pub(super) fn ask_check(&mut self, block: BlockId, bytes: Bytes, standing: Standing) {
        self.asks.push(Action::Check {
            height: self.height,
            block,
            bytes,
            standing,
        });
    }

    /// Whether a quorum is known to have prevoted the block in the round that the proposal rests on.
    pub(super) fn standing_of(&self, proposal: &SignedProposal) -> Standing {
        let polka = proposal.pol_round.and_then(|round| {
            let driver = &self.engine.driver;
            driver.polka_certificate(Round::new(round), &proposal.value)
        });
        match polka {
            Some(_) => Standing::Vouched,
            None => Standing::Proposed,
        }
    }

    /// Whether the block was found invalid.
    pub(super) fn is_refused(&self, block: &BlockId) -> bool {
        let held = self.shell.values.get(block);
        held.is_some_and(|held| !held.is_valid)
    }

    /// Tells the engine of a proposal whose block has been checked.
    pub(super) fn feed_proposal(&mut self, proposal: &SignedProposal) {
        let held = self.shell.values.get(&proposal.value);
        let Some(bytes) = held.map(|held| held.bytes.clone()) else {
            return;
        };
        self.feed(Input::Proposal(proposal.to_engine(bytes)));
        self.feed_value(proposal);
    }

    /// Tells the engine what was found about a proposal's block.
    pub(super) fn feed_value(&mut self, proposal: &SignedProposal) {
        let Some(held) = self.shell.values.get(&proposal.value).cloned() else {
            return;
        };
        let value = ProposedValue {
            height: Height(proposal.height),
            round: Round::new(proposal.round),
            valid_round: Round::from(proposal.pol_round),
            proposer: Address(proposal.proposer),
            value: Value {
                id: proposal.value,
                bytes: held.bytes,
            },
            validity: Validity::from_bool(held.is_valid),
        };
        self.feed(Input::ProposedValue(value, ValueOrigin::Consensus));
    }
}
