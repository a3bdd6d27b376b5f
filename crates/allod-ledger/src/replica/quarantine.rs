//! The quarantine of a key whose node has lost what it signed: it votes again once nothing of that can still
//! matter. Whether it begins is decided where the replica is opened (`open.rs`).

use allod_state::block::{Block, Header};

use super::{Replica, ReplicaError};
use crate::bft::Signer;
use crate::limits::QUARANTINE_MARGIN_MS;

impl<S: Signer> Replica<S> {
    /// A block that this node had to be shown was there before it asked: only a younger one ends a quarantine, whatever
    /// the clock said when it began.
    pub(super) fn raise_quarantine(&mut self, shown: &[u8]) {
        if let Some(since_ms) = &mut self.sign_state.quarantined_since_ms
            && let Ok(block) = Block::from_bytes(shown)
        {
            *since_ms = block.header.time_ms.max(*since_ms);
        }
    }

    /// Whether nothing that this key signed before it was quarantined can still matter.
    pub(super) fn is_past_quarantine(&mut self, header: &Header) -> Result<bool, ReplicaError> {
        let Some(since_ms) = self.sign_state.quarantined_since_ms else {
            return Ok(true);
        };
        if header.time_ms <= since_ms.saturating_add(QUARANTINE_MARGIN_MS) {
            return Ok(false);
        }
        self.sign_state.quarantined_since_ms = None;
        self.sign_state.floor = self.sign_state.floor.max(header.height.saturating_add(1));
        self.sign_state.save(&self.disk)?;
        tracing::info!(height = header.height, "this node's key votes again");
        Ok(true)
    }
}
