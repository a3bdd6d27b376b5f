//! Refuses a second, different signature for the same height, round and step.
//!
//! The guard is the last thing before the signing key. It trusts neither the engine nor the log
//! replay: whatever went wrong above it, this node's key never signs two things that conflict.

use std::collections::BTreeMap;

use allod_state::BlockId;
use borsh::{BorshDeserialize, BorshSerialize};

/// What is signed in a round, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum SignStep {
    /// A proposal.
    Propose,
    /// A prevote.
    Prevote,
    /// A precommit.
    Precommit,
}

/// One signature this node's key has made, or is about to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Signed {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// What kind of message.
    pub step: SignStep,
    /// For a proposal, the round of the polka it rests on; part of what is signed.
    pub pol_round: Option<u32>,
    /// For which block; `None` for a vote for no block.
    pub value: Option<BlockId>,
}

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The same height, round and step was signed for something else.
    #[error("at height {height}, round {round}, a different {step:?} was already signed")]
    Different {
        /// The height.
        height: u64,
        /// The round.
        round: u32,
        /// The step.
        step: SignStep,
    },
    /// The height lies below one already signed at or known to be finished.
    #[error("height {height} lies below {floor}, the lowest height that may still be signed")]
    Past {
        /// The height asked for.
        height: u64,
        /// The lowest height that may be signed.
        floor: u64,
    },
}

/// What was signed at a height, round and step: the polka's round and the block.
type Content = (Option<u32>, Option<BlockId>);

/// What may still be signed.
#[derive(Clone, Debug, Default)]
pub struct SignGuard {
    floor: u64,
    signed: BTreeMap<(u64, u32, SignStep), Content>,
}

impl SignGuard {
    /// A guard that refuses every height below `floor`.
    #[must_use]
    pub fn from_floor(floor: u64) -> Self {
        Self {
            floor,
            signed: BTreeMap::new(),
        }
    }

    /// Takes note of a signature made before a restart.
    pub fn remember(&mut self, signed: &Signed) {
        let key = (signed.height, signed.round, signed.step);
        self.signed
            .entry(key)
            .or_insert((signed.pol_round, signed.value));
    }

    /// Decides on a signature; `true` means it is new and must be on disk before it leaves, `false`
    /// that the very same was signed before.
    ///
    /// # Errors
    /// Where it would conflict with an earlier one.
    pub fn admit(&mut self, signed: &Signed) -> Result<bool, Conflict> {
        if signed.height < self.floor {
            return Err(Conflict::Past {
                height: signed.height,
                floor: self.floor,
            });
        }
        let key = (signed.height, signed.round, signed.step);
        let content = (signed.pol_round, signed.value);
        match self.signed.get(&key) {
            None => {
                self.signed.insert(key, content);
                Ok(true)
            }
            Some(earlier) if *earlier == content => Ok(false),
            Some(_) => Err(Conflict::Different {
                height: signed.height,
                round: signed.round,
                step: signed.step,
            }),
        }
    }

    /// Forgets what lies below `height` and refuses it from now on.
    pub fn raise_floor(&mut self, height: u64) {
        self.floor = self.floor.max(height);
        self.signed.retain(|(at, _, _), _| *at >= height);
    }

    /// The highest height signed at, or the floor.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.signed
            .last_key_value()
            .map_or(self.floor, |((height, _, _), _)| *height)
    }
}

#[cfg(test)]
mod tests;
