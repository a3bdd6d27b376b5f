//! Machines that may have signed what they no longer know.
//!
//! Rules:
//! 1. A machine whose ledger's folder was lost or rolled back signs nothing. It draws a challenge that nobody can guess
//!    and shows it here; the block that holds it was decided after the loss, whatever any clock says.
//! 2. What a validator signs is for the height after the last block that it knows. So all that it signed before the loss
//!    was for that block's height or a lower one, and it may sign for the heights above.
//!
//! The law changes nothing: the block is the proof, and the machine that drew the challenge is the one that needs it.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::NodeId;
use crate::reject::Rejection;
use crate::transaction::Apply;

/// Tells that a machine lost what it signed, in a block that is younger than the loss.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportLoss {
    /// The machine.
    pub node: NodeId,
    /// Drawn at random when the machine started after the loss.
    pub challenge: [u8; 32],
}

impl Apply for ReportLoss {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.node)?;
        context.emit(Event::SignaturesLost { node: self.node });
        Ok(())
    }
}
