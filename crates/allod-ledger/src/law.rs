//! Runs the law on proposed blocks, and keeps what came out until one of them is decided.
//!
//! A state shares its structure with its parent, so executing a proposal costs what it changes, and
//! a proposal that loses is simply dropped.

use std::collections::BTreeMap;

use allod_state::block::{Block, transactions_hash};
use allod_state::transaction::Verified;
use allod_state::{
    BlockId, Executed, InvalidBlock, Proposal, PublicKey, Rejection, State, Transaction,
    TransactionId, build, check,
};
use bytes::Bytes;

use crate::bft::Verdict;
use crate::limits::{CLOCK_AHEAD_MS_MAX, EXECUTED_MAX};

/// The committed state and the proposals executed on it.
pub(crate) struct Law {
    state: State,
    executed: BTreeMap<BlockId, Executed>,
    order: Vec<BlockId>,
}

/// A block this node proposes.
pub(crate) struct Built {
    pub(crate) block: BlockId,
    pub(crate) bytes: Bytes,
    pub(crate) left_out: Vec<(TransactionId, Rejection)>,
}

/// A decided block cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The bytes are not that block, or a signature in it is false.
    #[error("the bytes kept for the decided block {block} are not that block")]
    Foreign {
        /// The block.
        block: BlockId,
    },
    /// The law finds it invalid.
    #[error("the decided block {block} is invalid on this node: {source}")]
    Invalid {
        /// The block.
        block: BlockId,
        /// The law's reason.
        source: InvalidBlock,
    },
}

/// Finds an already verified transaction, so that its signature need not be checked again.
pub(crate) trait Known {
    /// The transaction of this id, if its signature is the very same.
    fn verified(&self, id: &TransactionId, transaction: &Transaction) -> Option<Verified>;
}

impl Law {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            executed: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Builds a block of at most `bytes_max` bytes; transactions that find no room stay waiting.
    pub(crate) fn build(
        &mut self,
        proposer: PublicKey,
        wall_ms: u64,
        candidates: &[Verified],
    ) -> Result<Built, InvalidBlock> {
        let time_ms = wall_ms.max(self.state.tip().time_ms.saturating_add(1));
        let proposal = Proposal {
            time_ms,
            proposer,
            transactions: candidates,
        };
        let (executed, left_out) = build(&self.state, &proposal)?;
        let (block, bytes) = (
            executed.block.header.id(),
            Bytes::from(executed.block.to_bytes()),
        );
        self.keep(block, executed);
        Ok(Built {
            block,
            bytes,
            left_out,
        })
    }

    /// Judges a block; `wall_ms` is this node's clock, or nothing where a quorum has decided.
    pub(crate) fn check(
        &mut self,
        block: BlockId,
        bytes: &[u8],
        wall_ms: Option<u64>,
        known: &impl Known,
    ) -> Verdict {
        if self.executed.contains_key(&block) {
            return Verdict::Valid;
        }
        let Some((decoded, transactions)) = open(block, bytes, known) else {
            return Verdict::Foreign;
        };
        let latest_ms = wall_ms.map(|now_ms| now_ms.saturating_add(CLOCK_AHEAD_MS_MAX));
        if latest_ms.is_some_and(|latest_ms| decoded.header.time_ms > latest_ms) {
            return Verdict::Invalid;
        }
        match check(&self.state, &decoded.header, &transactions) {
            Ok(executed) => {
                self.keep(block, executed);
                Verdict::Valid
            }
            Err(reason) => {
                tracing::warn!(block = %block, %reason, "proposed block is invalid");
                Verdict::Invalid
            }
        }
    }

    /// Moves to the state after a decided block and says what it did.
    pub(crate) fn commit(
        &mut self,
        block: BlockId,
        bytes: &[u8],
        known: &impl Known,
    ) -> Result<Executed, ApplyError> {
        let executed = match self.executed.remove(&block) {
            Some(executed) => executed,
            None => {
                let opened = open(block, bytes, known).ok_or(ApplyError::Foreign { block })?;
                check(&self.state, &opened.0.header, &opened.1)
                    .map_err(|source| ApplyError::Invalid { block, source })?
            }
        };
        self.executed.clear();
        self.order.clear();
        self.state = executed.state.clone();
        Ok(executed)
    }

    fn keep(&mut self, block: BlockId, executed: Executed) {
        if self.executed.insert(block, executed).is_none() {
            self.order.push(block);
        }
        if self.order.len() > EXECUTED_MAX {
            let oldest = self.order.remove(0);
            self.executed.remove(&oldest);
        }
    }
}

/// Reads a block and verifies everything that makes the bytes this block's: the id, the list of
/// transactions, and their signatures.
fn open(block: BlockId, bytes: &[u8], known: &impl Known) -> Option<(Block, Vec<Verified>)> {
    let mut decoded = Block::from_bytes(bytes).ok()?;
    if decoded.header.id() != block {
        return None;
    }
    let mut verified: Vec<Option<Verified>> = Vec::with_capacity(decoded.transactions.len());
    let mut unknown = Vec::new();
    for transaction in std::mem::take(&mut decoded.transactions) {
        let id = transaction.body.id();
        let found = known.verified(&id, &transaction);
        if found.is_none() {
            unknown.push(transaction);
        }
        verified.push(found);
    }
    let mut fresh = Verified::batch(unknown).ok()?.into_iter();
    let mut transactions = Vec::with_capacity(verified.len());
    for one in verified {
        transactions.push(one.or_else(|| fresh.next())?);
    }
    let ids: Vec<TransactionId> = transactions.iter().map(Verified::id).collect();
    let is_whole = transactions_hash(ids.iter()) == decoded.header.transactions_hash;
    is_whole.then_some((decoded, transactions))
}
