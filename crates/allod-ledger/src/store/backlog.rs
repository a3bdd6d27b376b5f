//! Decided blocks that are not in the file yet: several go into it together.
//!
//! A row that several of them change is then written once, and a page of the index of transactions is found and
//! changed once for all that belong on it. Nothing is at risk: the log holds these blocks. Readers look here first,
//! and write nothing, so that they go on where the disk takes no more. A block leaves the backlog after the file has
//! it: who does not find it here finds it there.

use std::collections::BTreeMap;
use std::sync::Arc;

use allod_state::TransactionId;
use allod_state::state::Write;
use redb::WriteTransaction;

use super::error::During;
use super::{
    BLOCKS, CERTIFICATES, HANDOVERS, OUTCOMES, StoreError, TIP, TRANSACTIONS, put, put_meta,
    write_rows,
};

/// What one block leaves, encoded.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) height: u64,
    pub(super) block: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) outcome: Vec<u8>,
    pub(super) handover: Option<Vec<u8>>,
    pub(super) tip: Vec<u8>,
    pub(super) ids: Vec<TransactionId>,
    pub(super) rows: Vec<Write>,
}

/// Blocks in the order of their heights.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog {
    entries: Vec<Arc<Entry>>,
    bytes: usize,
}

impl Backlog {
    /// The last block.
    pub(super) fn last(&self) -> Option<Arc<Entry>> {
        self.entries.last().cloned()
    }

    /// The block of a height.
    pub(super) fn at(&self, height: u64) -> Option<Arc<Entry>> {
        let at = self
            .entries
            .binary_search_by_key(&height, |entry| entry.height);
        at.ok().and_then(|at| self.entries.get(at)).cloned()
    }

    /// The height and place of a transaction.
    pub(super) fn place(&self, id: &TransactionId) -> Option<(u64, u32)> {
        self.entries.iter().find_map(|entry| {
            let mut ids = (0u32..).zip(&entry.ids);
            ids.find(|(_, found)| *found == id)
                .map(|(index, _)| (entry.height, index))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|entry| &**entry)
    }

    /// Bytes of blocks and outcomes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(entry.bytes());
        self.entries.push(Arc::new(entry));
    }

    /// Forgets what the file has.
    pub(super) fn forget_to(&mut self, height: u64) {
        self.entries.retain(|entry| entry.height > height);
        let bytes = self.entries.iter().map(|entry| entry.bytes());
        self.bytes = bytes.sum();
    }

    /// Every row that is changed, as the last block leaves it.
    pub(super) fn rows(&self) -> BTreeMap<&[u8], Option<&[u8]>> {
        let rows = self.entries.iter().flat_map(|entry| &entry.rows);
        rows.map(|(key, value)| (&key[..], value.as_deref()))
            .collect()
    }

    /// Writes everything, so that the file is at the height of the last block once `change` is committed.
    pub(super) fn write(&self, change: &WriteTransaction) -> Result<(), StoreError> {
        for entry in self.iter() {
            let height = entry.height;
            put(change, BLOCKS, height, &entry.block)?;
            put(change, CERTIFICATES, height, &entry.certificate)?;
            put(change, OUTCOMES, height, &entry.outcome)?;
            if let Some(handover) = &entry.handover {
                put(change, HANDOVERS, height, handover)?;
            }
        }
        write_rows(change, self.rows())?;
        // In the order of the keys, so that each page is found and changed once.
        let mut places: Vec<(&TransactionId, u64, u32)> = Vec::new();
        for entry in self.iter() {
            let ids = entry.ids.iter().zip(0u32..);
            places.extend(ids.map(|(id, index)| (id, entry.height, index)));
        }
        places.sort_unstable();
        let mut table = change.open_table(TRANSACTIONS).during("writing")?;
        for (id, height, index) in places {
            let place = (height, index);
            table.insert(id.as_bytes(), place).during("writing")?;
        }
        match self.last() {
            Some(last) => put_meta(change, TIP, &last.tip),
            None => Ok(()),
        }
    }
}

impl Entry {
    const fn bytes(&self) -> usize {
        self.block.len().saturating_add(self.outcome.len())
    }
}
