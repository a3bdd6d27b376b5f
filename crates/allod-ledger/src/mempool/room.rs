//! How much room a lane has, and how much of it one account may have.

use crate::limits::{
    MEMPOOL_BYTES_PER_ACCOUNT_MAX, MEMPOOL_BYTES_PER_LANE_MAX, MEMPOOL_OPERATOR_RESERVE,
    MEMPOOL_OPERATOR_RESERVE_BYTES, MEMPOOL_PER_ACCOUNT_MAX, MEMPOOL_PER_LANE_MAX,
};

/// So many transactions, of so many bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Load {
    pub(super) count: usize,
    pub(super) bytes: usize,
}

/// A lane.
const LANE: Load = Load {
    count: MEMPOOL_PER_LANE_MAX,
    bytes: MEMPOOL_BYTES_PER_LANE_MAX,
};
/// What operators have beside it.
const RESERVE: Load = Load {
    count: MEMPOOL_OPERATOR_RESERVE,
    bytes: MEMPOOL_OPERATOR_RESERVE_BYTES,
};
/// One account's share of a lane that is half full: half of it.
const SHARE: Load = Load {
    count: MEMPOOL_PER_ACCOUNT_MAX,
    bytes: MEMPOOL_BYTES_PER_ACCOUNT_MAX,
};

impl Load {
    pub(super) fn add(&mut self, bytes: usize) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Whether one more of so many bytes would still be within `most`.
    fn has_room(mut self, bytes: usize, most: Self) -> bool {
        self.add(bytes);
        self.count <= most.count && self.bytes <= most.bytes
    }

    /// Whether a lane that holds this takes one more from anybody.
    pub(super) fn is_open(self, bytes: usize) -> bool {
        self.has_room(bytes, LANE)
    }

    /// Whether a lane that holds this takes one more from an operator who has `of_account` in it: at most half of the
    /// reserve.
    pub(super) fn is_open_to_operator(self, bytes: usize, of_account: Self) -> bool {
        let both = Self {
            count: LANE.count.saturating_add(RESERVE.count),
            bytes: LANE.bytes.saturating_add(RESERVE.bytes),
        };
        let half = Self {
            count: RESERVE.count / 2,
            bytes: RESERVE.bytes / 2,
        };
        self.has_room(bytes, both) && of_account.has_room(bytes, half)
    }

    /// Whether one more would make this more than half of a lane.
    pub(super) fn is_over_half(self, bytes: usize) -> bool {
        !self.has_room(bytes, SHARE)
    }
}
