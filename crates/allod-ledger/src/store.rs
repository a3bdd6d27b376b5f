//! The decided chain and its state's rows, in one redb file.
//!
//! One transaction writes everything that a block, or several in a row, leave: rows, the blocks
//! themselves, their certificates and receipts, where their transactions are, and the tip. So the file
//! is always at exactly one height. It is a cache of the log: a block is safe once the log holds it, so
//! it need not be written here at once (`backlog.rs`), nor synced, and [`Store::flush`] does both before
//! the log is cut.
//!
//! Reading trusts nothing: on opening, the rows must have the root of the tip's header, and every
//! block that is read is checked against the id in its certificate.

mod backend;
mod backlog;
mod error;
mod handle;
mod history;
mod rows;
mod snapshot;

use std::sync::Arc;

use allod_state::block::{Block, Header};
use allod_state::certificate::{Certificate, Handover};
use allod_state::event::Event;
use allod_state::genesis::Genesis;
use allod_state::receipt::Receipt;
use allod_state::{BlockId, Executed, NetworkId, State, TransactionId, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use redb::{
    Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use crate::bft::DecidedBlock;
use crate::disk::{self, Disk};
use crate::limits::{BACKLOG_BYTES_MAX, STORE_CACHE_BYTES, SYNC_BLOCKS_MAX, SYNC_BYTES_MAX};
use backend::Backend;
use backlog::Entry;
use error::{During, guarded};
use handle::Handle;
use rows::write_rows;

pub(crate) use error::MENDING;
pub use error::{StoreError, expects_panic};
pub use snapshot::{Anchor, Manifest, Snapshot, SnapshotError};

const FILE: &str = "store.redb";
/// With what redb's files begin.
const REDB_MARK: &[u8] = b"redb";
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const CERTIFICATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("certificates");
const OUTCOMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outcomes");
/// Blocks after which others vote: kept for good, as the way from the genesis document to the newest header.
const HANDOVERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("handovers");
const TRANSACTIONS: TableDefinition<'_, &[u8; 32], (u64, u32)> =
    TableDefinition::new("transactions");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const GENESIS: &str = "genesis";
const TIP: &str = "tip";
const SEAL_DOMAIN: &str = "allod store value v1";
const READ_MAX: usize = 256 * 1024 * 1024;

/// The last decided block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tip {
    /// Its header.
    pub header: Header,
    /// The proof that it was decided.
    pub certificate: Certificate,
}

/// What a block's transactions and last steps did.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Outcome {
    /// One receipt for each transaction.
    pub receipts: Vec<Receipt>,
    /// What the block's last steps did.
    pub events: Vec<Event>,
}

/// A decided block as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block.
    pub block: Block,
    /// The proof that it was decided.
    pub certificate: Certificate,
}

/// The open store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Handle>,
    network: NetworkId,
}

impl Store {
    /// Opens the store of `genesis`'s network; founds it where it is new.
    ///
    /// # Errors
    /// Where it is damaged, of another network, or the file system refuses.
    pub fn open(disk: &dyn Disk, genesis: &Genesis) -> Result<Self, StoreError> {
        let file = disk.open(FILE).map_err(redb::Error::Io).during("opening")?;
        let database = guarded("file structure", 0, || {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(STORE_CACHE_BYTES);
            builder
                .create_with_backend(Backend::new(file))
                .during("opening")
        })?;
        let network = genesis.network();
        let store = Self {
            database: Arc::new(Handle::new(database)),
            network,
        };
        match meta(&store.read()?, GENESIS)? {
            Some(bytes) => store.check_network(&bytes)?,
            None => store.found(genesis)?,
        }
        Ok(store)
    }

    /// Removes the file of a store that the machine stopped making: redb writes its mark once the rest
    /// is on disk. Only for a folder where nothing can have been decided yet.
    pub(crate) fn forget_unmade(disk: &dyn Disk) -> Result<(), StoreError> {
        let read = || match disk::read_whole(disk, FILE)? {
            Some(bytes) if !bytes.starts_with(REDB_MARK) => disk.remove(FILE),
            _ => Ok(()),
        };
        read().map_err(redb::Error::Io).during("opening")
    }

    fn check_network(&self, genesis: &[u8]) -> Result<(), StoreError> {
        let genesis: Genesis = decode("genesis", 0, genesis)?;
        let (found, wanted) = (genesis.network(), self.network);
        if found == wanted {
            Ok(())
        } else {
            Err(StoreError::Foreign { found, wanted })
        }
    }

    fn found(&self, genesis: &Genesis) -> Result<(), StoreError> {
        let (_, rows) = genesis.state();
        let change = self.database.begin(Durability::Immediate)?;
        let rows = rows.iter().map(|(key, value)| (&key[..], value.as_deref()));
        write_rows(&change, rows)?;
        for table in [BLOCKS, CERTIFICATES, OUTCOMES, HANDOVERS] {
            change.open_table(table).during("founding")?;
        }
        change.open_table(TRANSACTIONS).during("founding")?;
        put_meta(&change, GENESIS, &codec::encode(genesis))?;
        change.commit().during("founding")
    }

    /// The state at the tip, rebuilt from its rows, and the tip; no tip means genesis.
    ///
    /// # Errors
    /// Where what is stored is not what a quorum decided.
    pub fn load(&self) -> Result<(State, Option<Tip>), StoreError> {
        guarded("state", 0, || self.load_unguarded())
    }

    fn load_unguarded(&self) -> Result<(State, Option<Tip>), StoreError> {
        let mut failed = None;
        let restored = self.read_rows(|tip, rows| {
            let rows = rows.map_while(|row| row.map_err(|error| failed = Some(error)).ok());
            State::restore(&tip.header, rows).map(|state| (state, Some(tip)))
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(restored) = restored {
            return Ok(restored?);
        }
        let bytes = meta(&self.read()?, GENESIS)?.unwrap_or_default();
        let genesis: Genesis = decode("genesis", 0, &bytes)?;
        Ok((genesis.state().0, None))
    }

    /// The last decided block's header and certificate.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn tip(&self) -> Result<Option<Tip>, StoreError> {
        let last = self.database.backlog().last();
        tip_of(last.as_deref(), &self.read()?)
    }

    /// Takes everything a decided block leaves; its writes are taken out of `executed`. Whoever reads finds it from
    /// then on, and it survives a crash after the next [`Store::flush`].
    ///
    /// # Errors
    /// Where it does not follow the tip, or the file system refuses.
    pub fn commit(
        &self,
        executed: &mut Executed,
        bytes: &[u8],
        certificate: &Certificate,
    ) -> Result<(), StoreError> {
        let header = &executed.block.header;
        let height = header.height;
        let tip = self.tip()?.map_or(0, |tip| tip.header.height);
        if height != tip.saturating_add(1) {
            return Err(StoreError::OutOfOrder { height, tip });
        }
        let is_handover = header.next_validators_hash != header.validators_hash;
        let handover = is_handover.then(|| {
            codec::encode(&Handover {
                header: header.clone(),
                certificate: certificate.clone(),
                next: executed.state.validators().clone(),
            })
        });
        let entry = Entry {
            height,
            block: bytes.to_vec(),
            certificate: codec::encode(certificate),
            outcome: codec::encode(&(&executed.receipts, &executed.events)),
            handover,
            tip: codec::encode(&Tip {
                header: header.clone(),
                certificate: certificate.clone(),
            }),
            ids: executed.ids.clone(),
            rows: std::mem::take(&mut executed.writes),
        };
        let mut backlog = self.database.backlog();
        backlog.push(entry);
        let is_due = backlog.bytes() >= BACKLOG_BYTES_MAX;
        drop(backlog);
        if is_due {
            self.database.write()
        } else {
            Ok(())
        }
    }

    /// Puts everything committed on the disk.
    ///
    /// # Errors
    /// After an error nothing is known about the file: end the process.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.database.write()?;
        let mut change = self.database.begin(Durability::Immediate)?;
        // Two phases: half a commit can never pass for a whole one; and reopening needs no full walk.
        change.set_two_phase_commit(true);
        change.set_quick_repair(true);
        change.commit().during("syncing")
    }

    /// The decided block of a height, where it is kept.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        let Some((bytes, certificate)) = self.block_bytes(height)? else {
            return Ok(None);
        };
        let damaged = || StoreError::Damaged {
            what: "block",
            height,
        };
        let block = Block::from_bytes(&bytes).map_err(|_| damaged())?;
        if block.header.id() != certificate.block {
            return Err(damaged());
        }
        Ok(Some(StoredBlock { block, certificate }))
    }

    /// The decided block of a height as its canonical bytes.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn block_bytes(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, StoreError> {
        guarded("block", height, || self.block_bytes_unguarded(height))
    }

    fn block_bytes_unguarded(
        &self,
        height: u64,
    ) -> Result<Option<(Vec<u8>, Certificate)>, StoreError> {
        let waiting = self.database.backlog().at(height);
        if let Some(entry) = waiting {
            let certificate = decode("certificate", height, &entry.certificate)?;
            return Ok(Some((entry.block.clone(), certificate)));
        }
        let read = self.read()?;
        let blocks = read.open_table(BLOCKS).during("reading")?;
        let certificates = read.open_table(CERTIFICATES).during("reading")?;
        let block = blocks.get(height).during("reading")?;
        let certificate = certificates.get(height).during("reading")?;
        let (Some(block), Some(certificate)) = (block, certificate) else {
            let ends = (blocks.first(), blocks.last());
            let (first, last) = (ends.0.during("reading")?, ends.1.during("reading")?);
            let is_between = first.is_some_and(|first| first.0.value() <= height)
                && last.is_some_and(|last| height <= last.0.value());
            // Blocks are let go from the oldest on: none is missing between two.
            let what = "block";
            return match is_between {
                true => Err(StoreError::Damaged { what, height }),
                false => Ok(None),
            };
        };
        let block = open_at(BLOCKS, height, block.value(), "block")?.to_vec();
        let certificate = open_at(CERTIFICATES, height, certificate.value(), "certificate")?;
        Ok(Some((block, decode("certificate", height, certificate)?)))
    }

    /// Decided blocks from a height on, as many as one answer to a peer holds.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn blocks_from(&self, from: u64) -> Result<Vec<DecidedBlock>, StoreError> {
        self.blocks_within(from, SYNC_BYTES_MAX)
    }

    /// As many as are within so many bytes, and one at least: whoever is far away has so long for an answer.
    fn blocks_within(&self, from: u64, bytes_max: usize) -> Result<Vec<DecidedBlock>, StoreError> {
        let mut blocks = Vec::new();
        let mut bytes: usize = 0;
        let mut height = from;
        while blocks.len() < SYNC_BLOCKS_MAX {
            let Some((block, certificate)) = self.block_bytes(height)? else {
                break;
            };
            bytes = bytes.saturating_add(block.len());
            if bytes > bytes_max && !blocks.is_empty() {
                break;
            }
            blocks.push(DecidedBlock { certificate, block });
            height = height.saturating_add(1);
        }
        Ok(blocks)
    }

    /// What the block of a height did, where it is kept.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn outcome(&self, height: u64) -> Result<Option<Outcome>, StoreError> {
        guarded("outcome", height, || self.outcome_unguarded(height))
    }

    fn outcome_unguarded(&self, height: u64) -> Result<Option<Outcome>, StoreError> {
        let waiting = self.database.backlog().at(height);
        if let Some(entry) = waiting {
            return decode("outcome", height, &entry.outcome).map(Some);
        }
        let read = self.read()?;
        let outcomes = read.open_table(OUTCOMES).during("reading")?;
        let Some(bytes) = outcomes.get(height).during("reading")? else {
            return Ok(None);
        };
        let bytes = open_at(OUTCOMES, height, bytes.value(), "outcome")?;
        decode("outcome", height, bytes).map(Some)
    }

    /// The height, place and receipt of a committed transaction, where it is kept.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn receipt(&self, id: &TransactionId) -> Result<Option<(u64, u32, Receipt)>, StoreError> {
        let Some((height, index)) = self.place(id)? else {
            return Ok(None);
        };
        let damaged = || StoreError::Damaged {
            what: "receipt",
            height,
        };
        let outcome = self.outcome(height)?.ok_or_else(damaged)?;
        let receipt = usize::try_from(index)
            .ok()
            .and_then(|at| outcome.receipts.get(at).cloned());
        let receipt = receipt
            .filter(|receipt| receipt.transaction == *id)
            .ok_or_else(damaged)?;
        Ok(Some((height, index, receipt)))
    }

    /// The height and index of a committed transaction.
    fn place(&self, id: &TransactionId) -> Result<Option<(u64, u32)>, StoreError> {
        let waiting = self.database.backlog().place(id);
        guarded("place of a transaction", 0, || {
            if waiting.is_some() {
                return Ok(waiting);
            }
            let read = self.read()?;
            let places = read.open_table(TRANSACTIONS).during("reading")?;
            Ok(places
                .get(id.as_bytes())
                .during("reading")?
                .map(|place| place.value()))
        })
    }

    /// What is in the file, which may lie behind.
    fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.database.begin_read().during("reading")
    }
}

/// The tip after the last block of the backlog, or that of the file where there is none.
fn tip_of(last: Option<&Entry>, read: &ReadTransaction) -> Result<Option<Tip>, StoreError> {
    let bytes = match last {
        Some(last) => Some(last.tip.clone()),
        None => meta(read, TIP)?,
    };
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let tip: Tip = decode("tip", 0, &bytes)?;
    if tip.header.id() == tip.certificate.block {
        Ok(Some(tip))
    } else {
        let (what, height) = ("tip", 0);
        Err(StoreError::Damaged { what, height })
    }
}

fn meta(read: &ReadTransaction, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let table = match read.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        other => other.during("reading")?,
    };
    let Some(sealed) = table.get(name).during("reading")? else {
        return Ok(None);
    };
    let value = unseal("meta", name.as_bytes(), sealed.value());
    let damaged = StoreError::Damaged {
        what: "entry of the tip or genesis",
        height: 0,
    };
    value.map(|value| Some(value.to_vec())).ok_or(damaged)
}

fn decode<T: BorshDeserialize>(
    what: &'static str,
    height: u64,
    bytes: &[u8],
) -> Result<T, StoreError> {
    codec::decode(what, READ_MAX, bytes).map_err(|_| StoreError::Damaged { what, height })
}

/// Takes the seal off a value of a height.
fn open_at<'a>(
    table: TableDefinition<'_, u64, &[u8]>,
    height: u64,
    sealed: &'a [u8],
    what: &'static str,
) -> Result<&'a [u8], StoreError> {
    let value = unseal(
        redb::TableHandle::name(&table),
        &height.to_le_bytes(),
        sealed,
    );
    value.ok_or(StoreError::Damaged { what, height })
}

fn put(
    change: &WriteTransaction,
    table: TableDefinition<'_, u64, &[u8]>,
    height: u64,
    bytes: &[u8],
) -> Result<(), StoreError> {
    let sealed = seal(
        redb::TableHandle::name(&table),
        &height.to_le_bytes(),
        bytes,
    );
    let mut table = change.open_table(table).during("writing")?;
    table.insert(height, &sealed[..]).during("writing")?;
    Ok(())
}

fn put_meta(change: &WriteTransaction, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let sealed = seal("meta", name.as_bytes(), bytes);
    let mut table = change.open_table(META).during("writing")?;
    table.insert(name, &sealed[..]).during("writing")?;
    Ok(())
}

/// Adds a checksum over a value and the place it is stored at, which redb does not check on reading.
fn seal(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = value.to_vec();
    sealed.extend_from_slice(&codec::hash_parts(
        SEAL_DOMAIN,
        &[table.as_bytes(), key, value],
    ));
    sealed
}

/// The value under a seal, where the seal is whole.
fn unseal<'a>(table: &str, key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = sealed.split_last_chunk::<32>()?;
    let is_whole = codec::hash_parts(SEAL_DOMAIN, &[table.as_bytes(), key, value]) == *sum;
    is_whole.then_some(value)
}

/// The id of the block a tip stands for; genesis has its network's.
#[must_use]
pub fn tip_block(tip: Option<&Tip>, network: NetworkId) -> BlockId {
    tip.map_or(BlockId(network.0), |tip| tip.certificate.block)
}

#[cfg(test)]
mod tests;
