//! What happened in a run, as one hash: two runs of one seed that differ anywhere differ here.

use allod_state::codec;

/// The chain over everything that happened so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    hash: [u8; 32],
    events: u64,
}

impl Trace {
    /// Adds one event.
    pub(crate) fn note(&mut self, now_ms: u64, what: &str, machine: usize, detail: &[u8]) {
        self.hash = codec::hash_parts(
            "allod sim trace v1",
            &[
                &self.hash,
                &now_ms.to_le_bytes(),
                what.as_bytes(),
                &machine.to_le_bytes(),
                detail,
            ],
        );
        self.events += 1;
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}
