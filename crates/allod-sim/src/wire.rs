//! The network between the replicas: slow, lossy, doubling, partitioned, and never in order.

use std::collections::BTreeSet;

use crate::random::Random;

/// What a message meets on its way.
pub(crate) struct Wire {
    random: Random,
    /// How many of a hundred messages are lost.
    pub(crate) lost_percent: u64,
    /// How many of a hundred come twice.
    pub(crate) doubled_percent: u64,
    /// The longest that a message takes.
    pub(crate) delay_ms_max: u64,
    /// Those cut off from the rest.
    pub(crate) cut: BTreeSet<usize>,
    /// Whether only what comes from those cut off is lost, while they still hear the rest.
    pub(crate) is_one_way: bool,
}

impl Wire {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "wire"),
            lost_percent: 0,
            doubled_percent: 0,
            delay_ms_max: 20,
            cut: BTreeSet::new(),
            is_one_way: false,
        }
    }

    /// How long each copy of a message takes; no copy where it is lost.
    pub(crate) fn delays(&mut self, from: usize, to: usize) -> Vec<u64> {
        let (from_is_cut, to_is_cut) = (self.cut.contains(&from), self.cut.contains(&to));
        let is_apart = if self.is_one_way {
            from_is_cut && !to_is_cut
        } else {
            from_is_cut != to_is_cut
        };
        if is_apart || self.random.percent(self.lost_percent) {
            return Vec::new();
        }
        let copies = if self.random.percent(self.doubled_percent) {
            2
        } else {
            1
        };
        (0..copies)
            .map(|_| self.random.between(1, self.delay_ms_max))
            .collect()
    }

    /// All faults end.
    pub(crate) fn heal(&mut self) {
        self.lost_percent = 0;
        self.doubled_percent = 0;
        self.delay_ms_max = 20;
        self.cut.clear();
    }
}
