//! What this node's key may still sign, on disk, apart from the log.
//!
//! Every signature's record goes into the log, as part of the frame that holds the signed message,
//! and that frame is synced before the signature leaves. This file is the checkpoint beneath the
//! log: the lowest height that may be signed, and the log segment that must be there. If either
//! is missing, something was rolled back, and the node does not vote until that cannot hurt.

use std::io;

use allod_state::{NetworkId, PublicKey, codec};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::disk::{self, Disk};

const FILE: &str = "sign-state";
const DOMAIN: &str = "allod sign-state v1";
const VERSION: u16 = 1;

/// The checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignState {
    version: u16,
    /// The ledger it is for.
    pub network: NetworkId,
    /// The key it is for.
    pub key: PublicKey,
    /// The lowest height that may be signed.
    pub floor: u64,
    /// The first log segment that holds signatures at or above the floor.
    pub segment: u64,
    /// Since when nothing is signed because something may have been rolled back, in milliseconds
    /// since 1970.
    pub quarantined_since_ms: Option<u64>,
}

/// Why the sign-state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignStateError {
    /// The file system refused.
    #[error("{what} the sign-state: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to another key or network: two nodes' folders were mixed up.
    #[error(
        "the sign-state in this folder is for key {found_key} on {found_network}, not for this node's; \
         start with the folder that belongs to this node's key"
    )]
    Foreign {
        /// Its key.
        found_key: PublicKey,
        /// Its network.
        found_network: NetworkId,
    },
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole checkpoint.
    Whole(SignState),
    /// No file.
    Missing,
    /// A file that is not what was written.
    Damaged,
}

impl SignState {
    /// A checkpoint that allows signing from `floor` on.
    #[must_use]
    pub fn new(network: NetworkId, key: PublicKey, floor: u64, segment: u64) -> Self {
        Self {
            version: VERSION,
            network,
            key,
            floor,
            segment,
            quarantined_since_ms: None,
        }
    }

    /// Reads the checkpoint of this network and key.
    ///
    /// # Errors
    /// Where the file cannot be read, or belongs to another key or network.
    pub fn load(
        disk: &dyn Disk,
        network: NetworkId,
        key: PublicKey,
    ) -> Result<Found, SignStateError> {
        let bytes = disk::read_whole(disk, FILE).map_err(|source| SignStateError::Io {
            what: "reading",
            source,
        })?;
        let Some(bytes) = bytes else {
            return Ok(Found::Missing);
        };
        let Some((body, sum)) = bytes.split_last_chunk::<32>() else {
            return Ok(Found::Damaged);
        };
        if codec::hash_parts(DOMAIN, &[body]) != *sum {
            return Ok(Found::Damaged);
        }
        let Ok(state) = codec::decode::<Self>("sign-state", 1_024, body) else {
            return Ok(Found::Damaged);
        };
        if state.version != VERSION {
            return Ok(Found::Damaged);
        }
        if state.network != network || state.key != key {
            let (found_key, found_network) = (state.key, state.network);
            return Err(SignStateError::Foreign {
                found_key,
                found_network,
            });
        }
        Ok(Found::Whole(state))
    }

    /// Puts the checkpoint in place of the one before; it is on the disk when this returns.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn save(&self, disk: &dyn Disk) -> Result<(), SignStateError> {
        let mut bytes = codec::encode(self);
        bytes.extend_from_slice(&codec::hash_parts(DOMAIN, &[&codec::encode(self)]));
        disk::replace(disk, FILE, &bytes).map_err(|source| SignStateError::Io {
            what: "writing",
            source,
        })
    }
}

#[cfg(test)]
mod tests;
