//! Snapshots: all rows at one height, in content-addressed chunks.
//!
//! A newcomer who knows the genesis document needs to trust nobody who serves the chunks: handovers
//! lead from its validators to those whose certificate proves the header, the header holds the root,
//! and the rows must have that root. A chunk that is not what its hash says is refused before it is
//! read. Validators who left long ago could still sign another history; so the newcomer also brings a
//! block that it was told of by somebody whom it trusts, an [`Anchor`], and the handovers have to lead
//! past it.
//!
//! Whoever was away for longer than others keep blocks puts a snapshot in the place of what it has, in one transaction of the
//! store: stopped anywhere, it has the one or the other. Its log and its sign-state stay, which hold all that its key has
//! signed; so the key goes on, for heights that lie above.

use allod_state::block::Header;
use allod_state::certificate::{Certificate, CertificateError, Handover, successors};
use allod_state::genesis::Genesis;
use allod_state::state::RestoreError;
use allod_state::validator::ValidatorSet;
use allod_state::{BlockId, Digest, State, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use redb::Durability;

use super::rows::Row;
use super::{
    BLOCKS, CERTIFICATES, During, HANDOVERS, OUTCOMES, ROWS, Store, StoreError, TIP, TRANSACTIONS,
    Tip, put, put_meta, write_rows,
};
use crate::disk::Disk;
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_MAX};

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The header of the snapshot's height.
    pub header: Header,
    /// The proof that it was decided.
    pub certificate: Certificate,
    /// How its validators came to be those of the network, oldest first.
    pub handovers: Vec<Handover>,
    /// The chunks, in order of their rows.
    pub chunks: Vec<Digest>,
}

/// A snapshot that is what the network decided.
#[derive(Debug)]
pub struct Snapshot {
    manifest: Manifest,
    rows: Vec<Row>,
}

impl Snapshot {
    /// Its height.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.manifest.header.height
    }
}

/// A block that a newcomer knows to be decided, and what it was shown of it.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// Its height; 0 is genesis, which needs no header.
    pub height: u64,
    /// The block.
    pub block: BlockId,
    /// Its header, as whoever gives the snapshot shows it.
    pub header: Option<Header>,
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
    /// The snapshot does not lead past the block that is known to be decided.
    #[error("the snapshot is of another chain than block {0}, or older; ask another member")]
    Unanchored(u64),
    /// The certificate does not prove the header.
    #[error("the snapshot's certificate proves nothing: {0}")]
    Certificate(#[from] CertificateError),
    /// The handovers do not lead to those who decide the next block.
    #[error("the snapshot does not tell who decides after its block; ask another member")]
    Succession,
    /// The rows are not the state that the header commits to.
    #[error("the snapshot's rows are not its header's state: {0}")]
    Rows(#[from] RestoreError),
    /// More chunks than any state has.
    #[error("the snapshot lists {0} chunks; at most {SNAPSHOT_CHUNKS_MAX} are allowed")]
    TooLarge(usize),
    /// The store holds as much already.
    #[error("the snapshot leads to block {0}, and so does what is here")]
    NotNewer(u64),
}

impl Store {
    /// Takes a snapshot of the tip; `keep` receives every chunk before the manifest names it.
    ///
    /// # Errors
    /// Where there is no block, a chunk cannot be kept, or the store cannot be read.
    pub fn snapshot(
        &self,
        mut keep: impl FnMut(Digest, &[u8]) -> std::io::Result<()>,
    ) -> Result<Manifest, SnapshotError> {
        let taken = self.read_rows(|tip, rows| {
            let mut chunks = Vec::new();
            let mut chunk: Vec<Row> = Vec::new();
            let mut bytes: usize = 0;
            for row in rows {
                let (key, value) = row?;
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
            Ok::<_, SnapshotError>((tip, chunks))
        })?;
        let (tip, chunks) = taken.ok_or(SnapshotError::Empty)??;
        let mut handovers = self.handovers()?;
        handovers.retain(|handover| handover.header.height <= tip.header.height);
        Ok(Manifest {
            header: tip.header,
            certificate: tip.certificate,
            handovers,
            chunks,
        })
    }

    /// Founds a store of `genesis`'s network from a snapshot that leads past `anchor`, or puts it in the place of
    /// an older state; `fetch` finds chunks by their digest.
    ///
    /// # Errors
    /// Where anything in the snapshot is not what the validators decided, or what is here is as new.
    pub fn import(
        disk: &dyn Disk,
        genesis: &Genesis,
        manifest: &Manifest,
        anchor: &Anchor,
        fetch: impl FnMut(&Digest) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, SnapshotError> {
        let snapshot = manifest.clone().complete(genesis, anchor, fetch)?;
        Self::begin_with(disk, genesis, snapshot)
    }

    /// As [`Store::import`], from one that is complete.
    ///
    /// # Errors
    /// Where the store refuses, or what is here is as new.
    pub fn begin_with(
        disk: &dyn Disk,
        genesis: &Genesis,
        snapshot: Snapshot,
    ) -> Result<Self, SnapshotError> {
        let Snapshot { manifest, rows } = snapshot;
        let store = Self::open(disk, genesis)?;
        let own = store.tip()?.map_or(0, |tip| tip.header.height);
        if manifest.header.height <= own {
            return Err(SnapshotError::NotNewer(manifest.header.height));
        }
        store.replace(&manifest, rows)?;
        Ok(store)
    }

    fn replace(&self, manifest: &Manifest, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut change = self.database.begin(Durability::Immediate)?;
        change.set_two_phase_commit(true);
        change.delete_table(ROWS).during("importing")?;
        change.delete_table(TRANSACTIONS).during("importing")?;
        change.open_table(TRANSACTIONS).during("importing")?;
        // Older blocks would leave a gap before those that come.
        for table in [BLOCKS, CERTIFICATES, OUTCOMES, HANDOVERS] {
            change.delete_table(table).during("importing")?;
            change.open_table(table).during("importing")?;
        }
        let rows = rows.iter().map(|(key, value)| (&key[..], Some(&value[..])));
        write_rows(&change, rows)?;
        for handover in &manifest.handovers {
            let height = handover.header.height;
            put(&change, HANDOVERS, height, &codec::encode(handover))?;
        }
        let tip = Tip {
            header: manifest.header.clone(),
            certificate: manifest.certificate.clone(),
        };
        put_meta(&change, TIP, &codec::encode(&tip))?;
        change.commit().during("importing")
    }
}

impl Manifest {
    /// Checks everything, and gives the rows; `fetch` finds chunks by their digest.
    ///
    /// # Errors
    /// Where anything is not what the validators decided.
    pub fn complete(
        self,
        genesis: &Genesis,
        anchor: &Anchor,
        mut fetch: impl FnMut(&Digest) -> std::io::Result<Vec<u8>>,
    ) -> Result<Snapshot, SnapshotError> {
        self.verify(genesis, anchor)?;
        let mut rows: Vec<Row> = Vec::new();
        for digest in &self.chunks {
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
        State::restore(&self.header, rows.iter().cloned())?;
        let manifest = self;
        Ok(Snapshot { manifest, rows })
    }

    /// Checks that the network's validators decided the header, and the anchor before it, and that it lists no more chunks
    /// than any state has. It proves nothing of what is in them: only the rows do.
    ///
    /// # Errors
    /// Where a step was not decided by those before it, or the anchor is none of theirs.
    pub fn verify(&self, genesis: &Genesis, anchor: &Anchor) -> Result<(), SnapshotError> {
        if self.chunks.len() > SNAPSHOT_CHUNKS_MAX {
            return Err(SnapshotError::TooLarge(self.chunks.len()));
        }
        let network = genesis.network();
        let deciding = |height: u64| {
            let powers = genesis.validators.iter().map(|(key, power)| (*key, *power));
            let before = self.handovers.iter();
            let before = before.take_while(|handover| handover.header.height < height);
            let before: Vec<Handover> = before.cloned().collect();
            successors(&network, ValidatorSet::new(powers), &before)
        };
        let validators = deciding(self.header.height)?;
        self.certificate
            .verify(&network, &validators, &self.header)?;
        // One in the very last block is decided as well, and not left out: whoever is founded on this gives it to others.
        if deciding(u64::MAX)?.hash() != self.header.next_validators_hash {
            return Err(SnapshotError::Succession);
        }
        if anchor.height == 0 {
            return Ok(());
        }
        let unanchored = SnapshotError::Unanchored(anchor.height);
        let Some(header) = &anchor.header else {
            return Err(unanchored);
        };
        let is_it = header.height == anchor.height && header.id() == anchor.block;
        let is_theirs = header.validators_hash == deciding(anchor.height)?.hash();
        if is_it && is_theirs && anchor.height <= self.header.height {
            Ok(())
        } else {
            Err(unanchored)
        }
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
