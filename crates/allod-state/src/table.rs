//! Tables: ordered maps that share structure between versions and remember which rows changed.
//!
//! What a transaction changed is taken back from a list of what was there before, not by keeping a copy: while a copy
//! is held, every change to a shared map copies the nodes on its path, and most transactions succeed.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use imbl::OrdMap;

use crate::codec;

/// One kind of row, with the tag that its stored keys begin with.
pub(crate) trait Row: BorshSerialize + BorshDeserialize + Clone + PartialEq {
    /// What rows of this kind are found by.
    type Key: BorshSerialize + BorshDeserialize + Ord + Clone;
    /// The first byte of every stored key. Never reused.
    const TAG: u8;
}

/// One table. Cloning shares everything.
#[derive(Debug)]
pub(crate) struct Table<R: Row> {
    rows: OrdMap<R::Key, Arc<R>>,
    /// The keys changed since the last drain, in the order of the changes; a key may stand here more than once.
    touched: Vec<R::Key>,
    /// What stood at the last so many of `touched` before: what came since the last mark.
    before: Vec<Option<Arc<R>>>,
}

impl<R: Row> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            touched: self.touched.clone(),
            before: self.before.clone(),
        }
    }
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: OrdMap::new(),
            touched: Vec::new(),
            before: Vec::new(),
        }
    }
}

/// A stored key and its new value, or nothing where the row went.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

impl<R: Row> Table<R> {
    pub(crate) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.rows.get(key)
    }

    /// Sets a row and gives back the one before it.
    pub(crate) fn put(&mut self, key: R::Key, row: Arc<R>) -> Option<Arc<R>> {
        let before = self.rows.insert(key.clone(), row);
        self.touched.push(key);
        self.before.push(before.clone());
        before
    }

    pub(crate) fn remove(&mut self, key: &R::Key) -> Option<Arc<R>> {
        let row = self.rows.remove(key)?;
        self.touched.push(key.clone());
        self.before.push(Some(Arc::clone(&row)));
        Some(row)
    }

    /// Makes everything so far final: [`Table::undo`] goes back to here.
    pub(crate) fn mark(&mut self) {
        self.before.clear();
    }

    /// Takes back every change since the last mark, the newest first, and tells each: key, what stood and what stands.
    pub(crate) fn undo(&mut self, mut told: impl FnMut(&R::Key, Option<&Arc<R>>, Option<&Arc<R>>)) {
        while let Some(before) = self.before.pop() {
            let Some(key) = self.touched.pop() else {
                return;
            };
            let stood = match &before {
                Some(row) => self.rows.insert(key.clone(), Arc::clone(row)),
                None => self.rows.remove(&key),
            };
            told(&key, stood.as_ref(), before.as_ref());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&R::Key, &Arc<R>)> {
        self.rows.iter()
    }

    pub(crate) fn range(
        &self,
        range: impl std::ops::RangeBounds<R::Key>,
    ) -> impl DoubleEndedIterator<Item = (&R::Key, &Arc<R>)> {
        self.rows.range(range)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The stored key of a row.
    pub(crate) fn stored_key(key: &R::Key) -> Vec<u8> {
        let mut bytes = vec![R::TAG];
        bytes.extend_from_slice(&codec::encode(key));
        bytes
    }

    /// The rows that changed since the last call, as writes in the order of their keys; forgets them.
    pub(crate) fn drain(&mut self, writes: &mut Vec<Write>) {
        self.mark();
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for key in touched {
            let value = self.rows.get(&key).map(|row| codec::encode(row.as_ref()));
            writes.push((Self::stored_key(&key), value));
        }
    }

    /// Puts back a row that was stored; the key comes without its tag. A row that is there already is refused: the root
    /// would be of the one and the table of the other.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Option<(R::Key, Arc<R>)> {
        let key: R::Key = borsh::from_slice(key).ok()?;
        if self.rows.contains_key(&key) {
            return None;
        }
        let row = Arc::new(borsh::from_slice::<R>(value).ok()?);
        self.rows.insert(key.clone(), Arc::clone(&row));
        Some((key, row))
    }
}

#[cfg(test)]
mod tests;
