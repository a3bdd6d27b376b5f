//! Validators that signed two things of which they may sign one: the proof, and what becomes of them.
//!
//! Rules:
//! 1. A validator signs one proposal and one vote of each kind in a round of a height (Tendermint; see the ledger's text on
//!    agreement). Two different ones, each with its good signature for this network, prove it false, whoever shows them and
//!    whenever.
//! 2. Whoever is proven false decides no more from the next block on, and its machine is never elected again: its seat says
//!    why. The last one stays, as nobody could decide that it goes.
//! 3. A proof that was told before changes nothing.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::certificate::{VoteKind, proposal_bytes, vote_bytes};
use crate::event::Event;
use crate::id::{BlockId, NetworkId, NodeId};
use crate::key::{PublicKey, Signature};
use crate::limits::{EFFORT_PER_SIGNATURE, EFFORT_PER_SLOT};
use crate::reject::Rejection;
use crate::transaction::Apply;
use crate::validator::Seat;
use crate::validator::seat::{dismiss, seat_elected};

/// Something that a validator signed in a round of a height.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Said {
    /// A vote, for a block or for none.
    Vote(VoteKind, Option<BlockId>),
    /// A proposal: the round of the polka that it rests on, and the block.
    Proposal(Option<u32>, BlockId),
}

impl Said {
    fn bytes(&self, network: &NetworkId, height: u64, round: u32) -> Vec<u8> {
        match self {
            Self::Vote(kind, block) => vote_bytes(network, *kind, height, round, block.as_ref()),
            Self::Proposal(polka, block) => proposal_bytes(network, height, round, *polka, block),
        }
    }

    /// Whether a validator may say only one of the two.
    fn conflicts_with(&self, other: &Self) -> bool {
        let is_one_step = match (self, other) {
            (Self::Vote(kind, _), Self::Vote(other, _)) => kind == other,
            (Self::Proposal(..), Self::Proposal(..)) => true,
            (Self::Vote(..), Self::Proposal(..)) | (Self::Proposal(..), Self::Vote(..)) => false,
        };
        is_one_step && self != other
    }
}

/// Shows two things that one validator signed and that conflict. Any machine can.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportConflict {
    /// The machine that shows it.
    pub node: NodeId,
    /// Who signed.
    pub validator: PublicKey,
    /// For this height.
    pub height: u64,
    /// In this round.
    pub round: u32,
    /// The one.
    pub one: (Said, Signature),
    /// The other.
    pub other: (Said, Signature),
}

impl Apply for ReportConflict {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        400
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.node)?;
        let unproven = Rejection::field("the two are no proof that the validator is false");
        if !self.one.0.conflicts_with(&self.other.0) {
            return Err(unproven);
        }
        let network = context.state.network();
        for (said, signature) in [&self.one, &self.other] {
            context.toil(EFFORT_PER_SIGNATURE);
            let bytes = said.bytes(&network, self.height, self.round);
            if self.validator.verify(&bytes, signature).is_err() {
                return Err(unproven);
            }
        }
        let id = NodeId::of_first_key(&self.validator);
        let node = context.state.node(&id);
        let node = node.ok_or(Rejection::UnknownNode { node: id })?;
        let seat = context.state.seat(&id).unwrap_or_default();
        if seat.is_barred {
            return Ok(());
        }
        let elected = context.state.elected();
        context.toil(elected.count().saturating_mul(EFFORT_PER_SLOT));
        if elected.power(&node.key) > 0 {
            dismiss(context, &elected, &node)?;
        }
        let seat = Seat {
            is_barred: true,
            ..Seat::default()
        };
        context.state.put_seat(id, seat);
        context.emit(Event::ValidatorBarred {
            node: id,
            height: self.height,
        });
        seat_elected(context);
        Ok(())
    }
}
