//! Tables: ordered maps that share structure between versions and remember which rows changed.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use imbl::{OrdMap, OrdSet};

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
    touched: OrdSet<R::Key>,
}

impl<R: Row> Clone for Table<R> {
    fn clone(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            touched: self.touched.clone(),
        }
    }
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: OrdMap::new(),
            touched: OrdSet::new(),
        }
    }
}

/// A stored key and its new value, or nothing where the row went.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

impl<R: Row> Table<R> {
    pub(crate) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        self.rows.get(key)
    }

    pub(crate) fn put(&mut self, key: R::Key, row: R) {
        self.touched.insert(key.clone());
        self.rows.insert(key, Arc::new(row));
    }

    pub(crate) fn remove(&mut self, key: &R::Key) -> Option<Arc<R>> {
        let row = self.rows.remove(key)?;
        self.touched.insert(key.clone());
        Some(row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&R::Key, &Arc<R>)> {
        self.rows.iter()
    }

    pub(crate) fn range(
        &self,
        range: impl std::ops::RangeBounds<R::Key>,
    ) -> impl Iterator<Item = (&R::Key, &Arc<R>)> {
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

    /// The rows that changed since the last call, as writes; forgets them.
    pub(crate) fn drain(&mut self, writes: &mut Vec<Write>) {
        for key in std::mem::take(&mut self.touched) {
            let value = self.rows.get(&key).map(|row| codec::encode(row.as_ref()));
            writes.push((Self::stored_key(&key), value));
        }
    }

    /// Puts back a row that was stored; the key comes without its tag.
    pub(crate) fn restore(&mut self, key: &[u8], value: &[u8]) -> Option<(R::Key, Arc<R>)> {
        let key: R::Key = borsh::from_slice(key).ok()?;
        let row = Arc::new(borsh::from_slice::<R>(value).ok()?);
        self.rows.insert(key.clone(), Arc::clone(&row));
        Some((key, row))
    }
}
