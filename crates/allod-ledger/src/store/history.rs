//! What is kept of old blocks and what is not: handovers for good, blocks for their retention.

use allod_state::block::Block;
use allod_state::certificate::Handover;
use allod_state::codec;
use redb::{Durability, ReadableDatabase, ReadableTable};

use super::{
    BLOCKS, CERTIFICATES, During, HANDOVERS, OUTCOMES, READ_MAX, Store, StoreError, TRANSACTIONS,
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
        let read = self.database.begin_read().during("reading")?;
        let table = read.open_table(HANDOVERS).during("reading")?;
        let mut handovers = Vec::new();
        for row in table.iter().during("reading")? {
            let (height, sealed) = row.during("reading")?;
            let (height, what) = (height.value(), "handover");
            let bytes = open_at(HANDOVERS, height, sealed.value(), what)?;
            let handover = codec::decode(what, READ_MAX, bytes);
            handovers.push(handover.map_err(|_| StoreError::Damaged { what, height })?);
        }
        Ok(handovers)
    }

    /// Removes blocks with a time before `before_ms`, oldest first and never the tip's; at most a
    /// bounded number per call. Says how many went. It survives a crash after the next flush.
    ///
    /// # Errors
    /// Where a block is damaged or the file system refuses.
    pub fn prune(&self, before_ms: u64) -> Result<usize, StoreError> {
        let tip = self.tip()?.map_or(0, |tip| tip.header.height);
        let change = self.begin(Durability::None)?;
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

    /// The lowest height whose block is kept.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn oldest_height(&self) -> Result<Option<u64>, StoreError> {
        use redb::ReadableDatabase;
        let read = self.database.begin_read().during("reading")?;
        let blocks = read.open_table(BLOCKS).during("reading")?;
        Ok(blocks
            .first()
            .during("reading")?
            .map(|(height, _)| height.value()))
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
