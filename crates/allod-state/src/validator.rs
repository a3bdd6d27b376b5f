//! Who votes on blocks.

mod conflict;
mod loss;
mod seat;

pub use conflict::{ReportConflict, Said};
pub use loss::ReportLoss;
pub use seat::{Leave, Seat, Stand, Vote};

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec;
use crate::key::PublicKey;

/// The validators of one height and their voting power.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorSet {
    powers: BTreeMap<PublicKey, u32>,
}

impl ValidatorSet {
    /// A set; keys with no power are left out.
    #[must_use]
    pub fn new(powers: impl IntoIterator<Item = (PublicKey, u32)>) -> Self {
        Self {
            powers: powers.into_iter().filter(|(_, power)| *power > 0).collect(),
        }
    }

    /// The power of one key; zero where it does not vote.
    #[must_use]
    pub fn power(&self, key: &PublicKey) -> u64 {
        self.powers.get(key).copied().map_or(0, u64::from)
    }

    /// The power of all together.
    #[must_use]
    pub fn total_power(&self) -> u64 {
        self.powers
            .values()
            .fold(0, |sum: u64, power| sum.saturating_add(u64::from(*power)))
    }

    /// Whether `power` is more than two thirds of all.
    #[must_use]
    pub fn is_quorum(&self, power: u64) -> bool {
        u128::from(power).saturating_mul(3) > u128::from(self.total_power()).saturating_mul(2)
    }

    /// The members in key order, with their power.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, u64)> {
        self.powers
            .iter()
            .map(|(key, power)| (key, u64::from(*power)))
    }

    /// The same set with another power for one key; with none, without the key.
    pub(crate) fn with(&self, key: PublicKey, power: u32) -> Self {
        let mut powers = self.powers.clone();
        powers.insert(key, power);
        Self::new(powers)
    }

    /// Those of this set that are in the other, too.
    pub(crate) fn among(&self, other: &Self) -> Self {
        let powers = self.powers.iter().map(|(key, power)| (*key, *power));
        Self::new(powers.filter(|(key, _)| other.power(key) > 0))
    }

    /// How many members there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.powers.len()).unwrap_or(u64::MAX)
    }

    /// What a header commits to.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        codec::hash("allod validators v1", self)
    }
}
