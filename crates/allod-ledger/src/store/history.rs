//! What is kept of old blocks and what is not: handovers for good, blocks for their retention.

use std::collections::BTreeMap;

use allod_state::block::Block;
use allod_state::certificate::Handover;
use redb::{Durability, ReadableTable};

use super::{
    BLOCKS, CERTIFICATES, During, HANDOVERS, OUTCOMES, Store, StoreError, TRANSACTIONS, decode,
    guarded, open_at,
};
use crate::limits::PRUNED_PER_CALL_MAX;

impl Store {
    /// The handovers from one validator set to the next, oldest first.
    ///
    /// # Errors
    /// Where one is damaged or cannot be read.
    pub fn handovers(&self) -> Result<Vec<Handover>, StoreError> {
        guarded("handover", 0, || self.handovers_unguarded())
    }

    fn handovers_unguarded(&self) -> Result<Vec<Handover>, StoreError> {
        // In this order: what leaves the backlog in between is in the file.
        let backlog = self.database.backlog().clone();
        let read = self.read()?;
        let table = read.open_table(HANDOVERS).during("reading")?;
        let mut handovers = BTreeMap::new();
        for row in table.iter().during("reading")? {
            let (height, sealed) = row.during("reading")?;
            let height = height.value();
            let bytes = open_at(HANDOVERS, height, sealed.value(), "handover")?;
            handovers.insert(height, decode("handover", height, bytes)?);
        }
        for entry in backlog.iter() {
            if let Some(handover) = &entry.handover {
                handovers.insert(entry.height, decode("handover", entry.height, handover)?);
            }
        }
        Ok(handovers.into_values().collect())
    }

    /// Removes blocks with a time before `before_ms`, oldest first and never the tip's; at most a
    /// bounded number per call. Says how many went. It survives a crash after the next flush.
    ///
    /// # Errors
    /// Where a block is damaged or the file system refuses.
    pub fn prune(&self, before_ms: u64) -> Result<usize, StoreError> {
        self.database.write()?;
        let tip = self.tip()?.map_or(0, |tip| tip.header.height);
        let change = self.database.begin(Durability::None)?;
        let mut pruned = 0;
        {
            let mut blocks = change.open_table(BLOCKS).during("pruning")?;
            let mut certificates = change.open_table(CERTIFICATES).during("pruning")?;
            let mut outcomes = change.open_table(OUTCOMES).during("pruning")?;
            let mut places = change.open_table(TRANSACTIONS).during("pruning")?;
            while pruned < PRUNED_PER_CALL_MAX {
                let Some((height, block)) = first(&blocks)? else {
                    break;
                };
                if height >= tip || block.header.time_ms >= before_ms {
                    break;
                }
                for transaction in &block.transactions {
                    let id = transaction.body.id();
                    places.remove(id.as_bytes()).during("pruning")?;
                }
                blocks.remove(height).during("pruning")?;
                certificates.remove(height).during("pruning")?;
                outcomes.remove(height).during("pruning")?;
                pruned = pruned.saturating_add(1);
            }
        }
        change.commit().during("pruning")?;
        Ok(pruned)
    }

    /// Reads some of the kept blocks again, from a height on: about so many transactions. Nobody else notices damage in
    /// the index, where a transaction is simply not found. Says at which height to go on; nothing after the newest.
    ///
    /// # Errors
    /// Where something is damaged or cannot be read.
    pub fn scrub(&self, from: u64, transactions_max: usize) -> Result<Option<u64>, StoreError> {
        let mut height = from.max(self.oldest_height()?.unwrap_or(0));
        let mut read: usize = 0;
        while read < transactions_max {
            let Some(kept) = self.block(height)? else {
                return Ok(None);
            };
            self.outcome(height)?;
            for (index, transaction) in (0u32..).zip(&kept.block.transactions) {
                let is_found = self.place(&transaction.body.id())? == Some((height, index));
                if !is_found && self.block(height)?.is_some() {
                    let what = "place of a transaction";
                    return Err(StoreError::Damaged { what, height });
                }
            }
            // One without transactions is read, too.
            let transactions = kept.block.transactions.len();
            read = read.saturating_add(transactions.max(1));
            height = height.saturating_add(1);
        }
        Ok(Some(height))
    }

    /// The lowest height whose block is kept.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn oldest_height(&self) -> Result<Option<u64>, StoreError> {
        let waiting = self
            .database
            .backlog()
            .iter()
            .next()
            .map(|entry| entry.height);
        let read = self.read()?;
        let blocks = read.open_table(BLOCKS).during("reading")?;
        let written = blocks.first().during("reading")?;
        Ok(written.map(|(height, _)| height.value()).or(waiting))
    }
}

fn first(
    blocks: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Option<(u64, Block)>, StoreError> {
    let Some((height, bytes)) = blocks.first().during("pruning")? else {
        return Ok(None);
    };
    let height = height.value();
    let damaged = |_| StoreError::Damaged {
        what: "block",
        height,
    };
    Ok(Some((
        height,
        Block::from_bytes(open_at(BLOCKS, height, bytes.value(), "block")?).map_err(damaged)?,
    )))
}
