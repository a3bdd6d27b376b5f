//! The quarantine of a key whose node has lost what it signed: it votes again once nothing of that can still
//! matter. Whether it begins is decided where the replica is opened (`open.rs`).
//!
//! It ends with a block that holds the challenge of this start, in a transaction that anybody may have brought there.
//! The challenge was drawn at random after the loss, so that block was decided after the loss. All that the key signed
//! before was for the height above a block that was decided by then: for that block's height or a lower one. So the key
//! signs for the heights above. No clock is asked, and it does not matter whether this node saw the block being decided
//! or was shown it, nor what whoever showed it has kept back.

use allod_state::Action;
use allod_state::block::Block;

use super::{Replica, ReplicaError};
use crate::bft::Signer;

impl<S: Signer> Replica<S> {
    /// While this node may have signed what it no longer knows: what a block has to hold for it to vote again
    /// ([`allod_state::validator::ReportLoss`]).
    #[must_use]
    pub fn quarantine(&self) -> Option<[u8; 32]> {
        let challenge = self.settings.challenge;
        self.sign_state.quarantined_since_ms.map(|_| challenge)
    }

    /// Whether nothing that this key signed before it was quarantined can still matter.
    pub(super) fn is_past_quarantine(&mut self, block: &Block) -> Result<bool, ReplicaError> {
        let Some(challenge) = self.quarantine() else {
            return Ok(true);
        };
        let actions = block.transactions.iter().flat_map(|tx| &tx.body.actions);
        let mut shown = actions.filter_map(|action| match action {
            Action::ReportLoss(loss) => Some(loss.challenge),
            _ => None,
        });
        if !shown.any(|shown| shown == challenge) {
            return Ok(false);
        }
        let height = block.header.height;
        self.sign_state.quarantined_since_ms = None;
        self.sign_state.floor = self.sign_state.floor.max(height.saturating_add(1));
        self.sign_state.save(&self.disk)?;
        tracing::info!(height, "this node's key votes again");
        Ok(true)
    }
}
