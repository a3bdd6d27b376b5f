//! Proofs that a value is, or is not, in the state under a root.
//!
//! A proof is the hashes of the siblings along a key's path and what stands at the path's end. Rules:
//!
//! 1. Hashing the end upwards with the siblings must give the root.
//! 2. An end that is the key's own leaf shows the value's hash.
//! 3. An end that is empty, or the leaf of another key whose path agrees on every bit walked, shows absence: a leaf of
//!    this key would have to stand in that very place.
//!
//! Leaves and branches hash under different domains, so that neither can be shown as the other.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::Domain;
use crate::limits::PROOF_DEPTH_MAX;
use crate::tree::Tree;

static LEAF: Domain = Domain::new("allod tree leaf v1");
static BRANCH: Domain = Domain::new("allod tree branch v1");

/// A path from the root to where a key's leaf stands or would stand.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// Sibling hashes, from the root downwards.
    pub siblings: Vec<[u8; 32]>,
    /// What stands at the end.
    pub terminal: Terminal,
}

/// The end of a path.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Terminal {
    /// Nothing.
    Empty,
    /// A leaf, of this key or of another.
    Leaf {
        /// The leaf's path.
        path: [u8; 32],
        /// The hash of its value.
        value: [u8; 32],
    },
}

/// The proof does not fit the root or the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to this root")]
pub struct BadProof;

impl Proof {
    /// What the state under `root` holds at the stored key `key`: the hash of its value, or nothing.
    ///
    /// # Errors
    /// Where the proof shows neither.
    pub fn lookup(&self, root: &crate::Root, key: &[u8]) -> Result<Option<[u8; 32]>, BadProof> {
        self.value_at(root.as_bytes(), &Tree::path_of(key))
    }

    /// Checks that `value` is stored at `key` under `root`.
    ///
    /// # Errors
    /// Where the proof does not show it.
    pub fn verify_value(
        &self,
        root: &crate::Root,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), BadProof> {
        match self.lookup(root, key)? {
            Some(hash) if hash == Tree::value_of(value) => Ok(()),
            _ => Err(BadProof),
        }
    }

    pub(crate) fn value_at(
        &self,
        root: &[u8; 32],
        path: &[u8; 32],
    ) -> Result<Option<[u8; 32]>, BadProof> {
        if self.siblings.len() > PROOF_DEPTH_MAX {
            return Err(BadProof);
        }
        let depth = u16::try_from(self.siblings.len()).map_err(|_| BadProof)?;
        let (mut hash, found) = match &self.terminal {
            Terminal::Empty => ([0; 32], None),
            Terminal::Leaf { path: other, value } => {
                let agrees = (0..depth).all(|at| bit(other, at) == bit(path, at));
                if !agrees {
                    return Err(BadProof);
                }
                (leaf_hash(other, value), (other == path).then_some(*value))
            }
        };
        for (at, sibling) in (0..depth).zip(&self.siblings).rev() {
            hash = if bit(path, at) {
                branch_hash(sibling, &hash)
            } else {
                branch_hash(&hash, sibling)
            };
        }
        if hash == *root {
            Ok(found)
        } else {
            Err(BadProof)
        }
    }
}

/// Bit `at` of a path, most significant first; false past its end.
pub(crate) fn bit(path: &[u8; 32], at: u16) -> bool {
    let byte = path.get(usize::from(at / 8)).copied().unwrap_or(0);
    let shift = 7_u32.saturating_sub(u32::from(at % 8));
    byte.checked_shr(shift).unwrap_or(0) & 1 == 1
}

pub(crate) fn leaf_hash(path: &[u8; 32], value: &[u8; 32]) -> [u8; 32] {
    LEAF.hash_parts(&[path, value])
}

pub(crate) fn branch_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    BRANCH.hash_parts(&[left, right])
}
