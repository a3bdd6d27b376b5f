//! Snapshots: all rows at one height, in content-addressed chunks.
//!
//! A newcomer who trusts a validator set needs nothing else from whoever serves the chunks: the
//! certificate proves the header, the header holds the root, and the rows must have that root. A
//! chunk that is not what its hash says is refused before it is read.

use allod_state::block::Header;
use allod_state::certificate::{Certificate, CertificateError};
use allod_state::genesis::Genesis;
use allod_state::state::RestoreError;
use allod_state::validator::ValidatorSet;
use allod_state::{Digest, State, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use redb::{Durability, ReadableDatabase, ReadableTable};

use super::{During, ROWS, Store, StoreError, TIP, Tip, put_meta, write_rows};
use crate::disk::Disk;
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_MAX};

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The header of the snapshot's height.
    pub header: Header,
    /// The proof that it was decided.
    pub certificate: Certificate,
    /// The chunks, in order of their rows.
    pub chunks: Vec<Digest>,
}

/// Why a snapshot was not taken or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no decided block yet.
    #[error("there is nothing to take a snapshot of: no block has been decided")]
    Empty,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller's sink or source failed.
    #[error("{what} the snapshot chunk {digest}: {source}")]
    Chunk {
        /// What was attempted.
        what: &'static str,
        /// Which chunk.
        digest: Digest,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A chunk is not what its hash says, or not a list of rows.
    #[error("the snapshot chunk {0} is not what its digest says; fetch it from another peer")]
    BadChunk(Digest),
    /// The certificate does not prove the header.
    #[error("the snapshot's certificate proves nothing: {0}")]
    Certificate(#[from] CertificateError),
    /// The rows are not the state that the header commits to.
    #[error("the snapshot's rows are not its header's state: {0}")]
    Rows(#[from] RestoreError),
    /// More chunks than any state has.
    #[error("the snapshot lists {0} chunks; at most {SNAPSHOT_CHUNKS_MAX} are allowed")]
    TooLarge(usize),
    /// The store holds a chain already.
    #[error("a snapshot can only be imported into an empty store")]
    NotEmpty,
}

type Row = (Vec<u8>, Vec<u8>);

impl Store {
    /// Takes a snapshot of the tip; `keep` receives every chunk before the manifest names it.
    ///
    /// # Errors
    /// Where there is no block, a chunk cannot be kept, or the store cannot be read.
    pub fn snapshot(
        &self,
        mut keep: impl FnMut(Digest, &[u8]) -> std::io::Result<()>,
    ) -> Result<Manifest, SnapshotError> {
        // The tip is read in the same transaction as the rows, so that both are of one height.
        let read = self.database.begin_read().during("reading")?;
        let meta = read.open_table(super::META).during("reading")?;
        let tip = meta
            .get(TIP)
            .during("reading")?
            .ok_or(SnapshotError::Empty)?;
        let damaged = |_| StoreError::Damaged {
            what: "tip",
            height: 0,
        };
        let tip =
            super::unseal("meta", TIP.as_bytes(), tip.value()).ok_or(StoreError::Damaged {
                what: "tip",
                height: 0,
            })?;
        let tip: Tip = codec::decode("tip", super::READ_MAX, tip).map_err(damaged)?;
        let rows = read.open_table(ROWS).during("reading")?;
        let mut chunks = Vec::new();
        let mut chunk: Vec<Row> = Vec::new();
        let mut bytes: usize = 0;
        for row in rows.iter().during("reading")? {
            let (key, value) = row.during("reading")?;
            let (key, value) = (key.value().to_vec(), value.value().to_vec());
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            chunk.push((key, value));
            if bytes >= SNAPSHOT_CHUNK_BYTES {
                chunks.push(keep_chunk(&mut keep, &std::mem::take(&mut chunk))?);
                bytes = 0;
            }
        }
        if !chunk.is_empty() {
            chunks.push(keep_chunk(&mut keep, &chunk)?);
        }
        Ok(Manifest {
            header: tip.header,
            certificate: tip.certificate,
            chunks,
        })
    }

    /// Founds a store of `genesis`'s network from a snapshot that `validators` are trusted to have
    /// certified; `fetch` finds chunks by their digest.
    ///
    /// # Errors
    /// Where anything in the snapshot is not what the validators decided.
    pub fn import(
        disk: &dyn Disk,
        genesis: &Genesis,
        manifest: &Manifest,
        validators: &ValidatorSet,
        mut fetch: impl FnMut(&Digest) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, SnapshotError> {
        manifest
            .certificate
            .verify(&genesis.network(), validators, &manifest.header)?;
        if manifest.chunks.len() > SNAPSHOT_CHUNKS_MAX {
            return Err(SnapshotError::TooLarge(manifest.chunks.len()));
        }
        let mut rows: Vec<Row> = Vec::new();
        for digest in &manifest.chunks {
            let bytes = fetch(digest).map_err(|source| {
                let (what, digest) = ("fetching", *digest);
                SnapshotError::Chunk {
                    what,
                    digest,
                    source,
                }
            })?;
            if Digest::of(&bytes) != *digest {
                return Err(SnapshotError::BadChunk(*digest));
            }
            let chunk: Vec<Row> = codec::decode("chunk", super::READ_MAX, &bytes)
                .map_err(|_| SnapshotError::BadChunk(*digest))?;
            rows.extend(chunk);
        }
        State::restore(&manifest.header, rows.iter().cloned())?;
        let store = Self::open(disk, genesis)?;
        if store.tip()?.is_some() {
            return Err(SnapshotError::NotEmpty);
        }
        store.replace_rows(manifest, rows)?;
        Ok(store)
    }

    fn replace_rows(&self, manifest: &Manifest, rows: Vec<Row>) -> Result<(), StoreError> {
        let change = self.begin(Durability::Immediate)?;
        change.delete_table(ROWS).during("importing")?;
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        write_rows(&change, &rows)?;
        let tip = Tip {
            header: manifest.header.clone(),
            certificate: manifest.certificate.clone(),
        };
        put_meta(&change, TIP, &codec::encode(&tip))?;
        change.commit().during("importing")
    }
}

fn keep_chunk(
    keep: &mut impl FnMut(Digest, &[u8]) -> std::io::Result<()>,
    rows: &[Row],
) -> Result<Digest, SnapshotError> {
    let bytes = codec::encode(rows);
    let digest = Digest::of(&bytes);
    keep(digest, &bytes).map_err(|source| SnapshotError::Chunk {
        what: "keeping",
        digest,
        source,
    })?;
    Ok(digest)
}
