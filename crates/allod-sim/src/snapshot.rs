//! A snapshot on its way from one machine to another: what is asked for, given, and founded on.

use std::collections::BTreeMap;
use std::io;

use allod_ledger::disk::Disk;
use allod_ledger::store::{Anchor, Manifest, SnapshotError, Store, StoreError};
use allod_state::Digest;
use allod_state::block::Header;
use allod_state::genesis::Genesis;

/// What a giver hands over.
#[derive(Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) manifest: Manifest,
    pub(crate) chunks: BTreeMap<Digest, Vec<u8>>,
    /// The header of the height that was asked for, where the giver keeps it.
    pub(crate) header: Option<Header>,
}

impl Snapshot {
    /// The state that a store is at, with the header of an earlier height.
    pub(crate) fn take(store: &Store, height: u64) -> Result<Self, SnapshotError> {
        let mut chunks = BTreeMap::new();
        let manifest = store.snapshot(|digest, bytes| {
            chunks.insert(digest, bytes.to_vec());
            Ok(())
        })?;
        let header = header_of(store, height)?;
        Ok(Self {
            manifest,
            chunks,
            header,
        })
    }

    /// Whether it is what the network decided, as far as can be told without its rows.
    pub(crate) fn verify(&self, genesis: &Genesis, known: &Anchor) -> Result<(), SnapshotError> {
        self.manifest.verify(genesis, &self.anchor(known))
    }

    /// Founds a ledger on a disk where there is none.
    pub(crate) fn found(
        &self,
        disk: &dyn Disk,
        genesis: &Genesis,
        known: &Anchor,
    ) -> Result<Store, SnapshotError> {
        Store::import(
            disk,
            genesis,
            &self.manifest,
            &self.anchor(known),
            |digest| {
                let chunk = self.chunks.get(digest).cloned();
                chunk.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            },
        )
    }

    /// What the newcomer knows, and what it is shown of it.
    fn anchor(&self, known: &Anchor) -> Anchor {
        Anchor {
            header: self.header.clone(),
            ..known.clone()
        }
    }
}

fn header_of(store: &Store, height: u64) -> Result<Option<Header>, StoreError> {
    if let Some(stored) = store.block(height)? {
        return Ok(Some(stored.block.header));
    }
    let tip = store.tip()?.map(|tip| tip.header);
    Ok(tip.filter(|header| header.height == height))
}
