//! Blocks and their headers.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{self, DecodeError};
use crate::id::{BlockId, NetworkId, Root};
use crate::key::PublicKey;
use crate::limits::BLOCK_BYTES_MAX;
use crate::money::Credits;
use crate::transaction::Transaction;

/// What validators sign, through its hash. The header of height h commits to the state *after* h, so that what is
/// committed can be proved at once.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The protocol version under which the block was executed.
    pub version: u16,
    /// The ledger.
    pub network: NetworkId,
    /// 1 for the first block; the genesis state is height 0.
    pub height: u64,
    /// Block time in milliseconds since 1970; always above the parent's.
    pub time_ms: u64,
    /// The block before.
    pub parent: BlockId,
    /// Who proposed it.
    pub proposer: PublicKey,
    /// The hash of the transactions, in order.
    pub transactions_hash: [u8; 32],
    /// The hash of the receipts and end-of-block events.
    pub receipts_hash: [u8; 32],
    /// The state after this block.
    pub root: Root,
    /// The validators who vote on this block.
    pub validators_hash: [u8; 32],
    /// The validators who vote on the next one.
    pub next_validators_hash: [u8; 32],
    /// The sum over everything that holds credits; it never changes.
    pub supply: Credits,
}

/// A header and the transactions under it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions, in the order in which they apply.
    pub transactions: Vec<Arc<Transaction>>,
}

impl Header {
    /// The block's id.
    #[must_use]
    pub fn id(&self) -> BlockId {
        BlockId(codec::hash("allod block v1", self))
    }
}

impl Block {
    /// Reads a block from outside.
    ///
    /// # Errors
    /// Where the bytes are too many or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("block", BLOCK_BYTES_MAX, bytes)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// What [`Header::transactions_hash`] holds.
#[must_use]
pub fn transactions_hash<'a>(ids: impl Iterator<Item = &'a crate::id::TransactionId>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("allod transactions v1");
    for id in ids {
        hasher.update(id.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
