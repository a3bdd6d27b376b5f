//! What the false validators of a run have agreed on among themselves.

use std::collections::BTreeMap;

use allod_state::BlockId;

/// Heights that they remember.
const HEIGHTS_REMEMBERED: usize = 8;

/// For a height and round, the block for one half of the honest ones and the block for the other.
#[derive(Default)]
pub(crate) struct Plot {
    pairs: BTreeMap<(u64, u32), (BlockId, BlockId)>,
}

impl Plot {
    pub(crate) fn agree(&mut self, height: u64, round: u32, near: BlockId, far: BlockId) {
        self.pairs.insert((height, round), (near, far));
        while self.pairs.len() > HEIGHTS_REMEMBERED {
            self.pairs.pop_first();
        }
    }

    /// The block that this half is told of.
    pub(crate) fn block_for(&self, height: u64, round: u32, is_far: bool) -> Option<BlockId> {
        let (near, far) = self.pairs.get(&(height, round))?;
        Some(if is_far { *far } else { *near })
    }
}
