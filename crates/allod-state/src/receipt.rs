//! What a transaction did.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::event::Event;
use crate::id::TransactionId;
use crate::money::Credits;
use crate::reject::Rejection;

/// The lasting answer to one transaction. The block header commits to the hash of all of a block's receipts.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Receipt {
    /// Which transaction.
    pub transaction: TransactionId,
    /// Nothing, or why it changed nothing.
    pub outcome: Result<(), Rejection>,
    /// Work units used.
    pub work: u64,
    /// The fee paid.
    pub fee: Credits,
    /// What happened.
    pub events: Vec<Event>,
}
