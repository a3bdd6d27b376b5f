//! Starting: what the disk holds becomes a running replica.
//!
//! 1. Claim the folder, so that two processes never sign with one key.
//! 2. Read the sign-state; open the store and the log.
//! 3. Apply the decisions that the log holds and the store does not.
//! 4. Hand the rest of the log to the core, which replays the height that was under way.
//!
//! Where the sign-state or its log segment is missing, something was rolled back, and the key may
//! have signed what nobody here remembers. Then the replica follows without voting until a block
//! is decided that is certainly younger than this start (`quarantine.rs`). A network of one validator
//! has nobody to wait for: it goes on above its store's tip.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use allod_state::transaction::Verified;
use allod_state::{BlockId, Transaction, TransactionId};

use super::{Clock, Replica, ReplicaError, Room, Settings};
use crate::bft::{Config, Core, Record, SignGuard, Signer, Start, decode_frame};
use crate::disk::{Disk, Reserved};
use crate::law::{Known, Law};
use crate::limits::{PROPOSED_BYTES_MAX, PROPOSED_BYTES_MIN, RESERVE_BYTES, WAL_FIRST_SEGMENT};
use crate::mempool::Mempool;
use crate::sign_state::{Found, SignState};
use crate::store::Store;
use crate::wal::{self, Owner, Recovered, Wal, WalError};

/// Knows no transaction: every signature is checked.
struct Nothing;

impl Known for Nothing {
    fn verified(&self, _: &TransactionId, _: &Transaction) -> Option<Verified> {
        None
    }
}

impl<S: Signer> Replica<S> {
    /// Opens the replica that lives on `disk`, or founds it.
    ///
    /// # Errors
    /// Where the folder is in use, damaged, or belongs to another key or network.
    pub fn open(
        disk: Arc<dyn Disk>,
        signer: S,
        settings: Settings,
        clock: Clock,
    ) -> Result<Self, ReplicaError> {
        let disk = reserved(disk, &settings);
        let lock = claim(&disk)?;
        let (network, key) = (settings.genesis.network(), signer.public_key());
        let secret = signer.secret();
        let owner = Owner { network, secret };
        let found = SignState::load(&disk, network, key)?;
        if found == Found::Missing {
            forget_unfinished_founding(&disk, owner)?;
        }
        let store = Store::open(&disk, &settings.genesis)?;
        let (state, _) = store.load()?;
        let first = match &found {
            Found::Whole(state) => state.segment,
            Found::Missing | Found::Damaged => oldest_segment(&disk)?,
        };
        let (log, prepared_bytes) = (Arc::new(disk.clone()), settings.wal_prepared_bytes);
        let (wal, recovered) = Wal::open(log.clone(), owner, first, prepared_bytes)?;
        let mut records = records_of(&recovered)?;
        let mut law = Law::new(state);
        let redone = redo(&mut law, &store, &records)?;
        let tip = law.state().tip();
        records.retain(|record| record.height() > tip.height);

        let validators = law.state().validators();
        let is_lost = recovered.is_missing || !matches!(found, Found::Whole(_));
        let is_fresh = settings.is_new_key && found == Found::Missing;
        // Who decides alone has nobody to be shown anything by.
        let decides_alone = validators.count() == 1 && validators.power(&key) > 0;
        let is_alone = decides_alone && has_decided(&found, &recovered, &store)?;
        let must_wait = is_lost && !is_fresh && !is_alone;
        let (sign_state, wal) = match (found, wal) {
            (Found::Whole(state), Some(wal)) if !is_lost => (state, wal),
            (_, wal) => {
                let segment = wal.as_ref().map_or(first, Wal::segment);
                let mut state = SignState::new(network, key, tip.height.saturating_add(1), segment);
                state.quarantined_since_ms = must_wait.then_some(clock.wall_ms);
                (
                    state,
                    begin_anew(&disk, &state, wal, || {
                        Wal::create(log, owner, first, prepared_bytes)
                    })?,
                )
            }
        };
        let start = Start {
            height: tip.height,
            validators,
            guard: SignGuard::from_floor(sign_state.floor),
            records,
            is_waiting: law.state().next_due_ms().is_some(),
            is_quarantined: sign_state.quarantined_since_ms.is_some(),
        };
        let core = Core::new(config_of(&settings), signer, start);
        let mut replica = Self {
            core,
            key,
            law,
            mempool: Mempool::default(),
            wal,
            store,
            disk,
            sign_state,
            settings,
            // The next block makes a checkpoint, so that what was redone is not redone again.
            blocks_since_checkpoint: if redone > 0 { u64::MAX } else { 0 },
            queue: VecDeque::new(),
            is_read_only: false,
            space_checked_ms: None,
            _lock: lock,
        };
        replica.take_reserve_if_room()?;
        Ok(replica)
    }

    fn take_reserve_if_room(&mut self) -> Result<(), ReplicaError> {
        let io = |source| ReplicaError::Io {
            what: "asking for free disk space",
            source,
        };
        let room = Room::on(&self.disk).map_err(io)?;
        if room.is_below(self.settings.space_low_bytes, 2) {
            return Ok(());
        }
        self.take_reserve()
    }
}

/// Whether what is left is of one that decided: a store alone may be a snapshot, and an empty log is what an earlier start
/// after a loss has left.
fn has_decided(found: &Found, recovered: &Recovered, store: &Store) -> Result<bool, ReplicaError> {
    Ok(match found {
        Found::Whole(state) => state.quarantined_since_ms.is_none(),
        Found::Damaged => true,
        Found::Missing if recovered.is_missing => false,
        Found::Missing => !recovered.frames.is_empty() || store.oldest_height()?.is_some(),
    })
}

/// The disk with a reserve, for a replica that keeps space free.
fn reserved(disk: Arc<dyn Disk>, settings: &Settings) -> Reserved {
    let bytes = match settings.space_low_bytes {
        0 => 0,
        _ => RESERVE_BYTES,
    };
    Reserved::new(disk, bytes)
}

/// A machine can stop while its first start is making the files. The sign-state comes last: without
/// it nothing was signed here, and a file without even its beginning holds nothing.
fn forget_unfinished_founding(disk: &dyn Disk, owner: Owner) -> Result<(), ReplicaError> {
    wal::forget_unmade(disk, owner)?;
    // The store was whole before the log was begun.
    if segments(disk)?.is_empty() {
        Store::forget_unmade(disk)?;
    }
    Ok(())
}

/// Claims the folder for this process.
fn claim(disk: &dyn Disk) -> Result<Box<dyn Any + Send + Sync>, ReplicaError> {
    disk.lock().map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => ReplicaError::InUse,
        _ => ReplicaError::Io {
            what: "claiming the data folder",
            source: error,
        },
    })
}

/// Writes a new sign-state, and begins the log where there is none.
///
/// A log that was just begun passes for the lost one at the next start. So whoever has to wait writes that down first. Whoever
/// may vote writes its sign-state last: until it is there, nothing was signed here.
fn begin_anew(
    disk: &dyn Disk,
    state: &SignState,
    wal: Option<Wal>,
    create: impl FnOnce() -> Result<Wal, WalError>,
) -> Result<Wal, ReplicaError> {
    let must_wait = state.quarantined_since_ms.is_some();
    if must_wait {
        tracing::warn!(
            "the log or sign-state is missing; this node's key does not vote until the ledger holds its report of that"
        );
        state.save(disk)?;
    }
    let wal = wal.map_or_else(create, Ok)?;
    if !must_wait {
        state.save(disk)?;
    }
    Ok(wal)
}

fn records_of(recovered: &Recovered) -> Result<Vec<Record>, ReplicaError> {
    let mut records = Vec::new();
    for frame in &recovered.frames {
        records.extend(decode_frame(frame)?);
    }
    Ok(records)
}

fn config_of(settings: &Settings) -> Config {
    Config {
        network: settings.genesis.network(),
        timing: settings.timing,
        block_bytes_max: settings
            .block_bytes_max
            .clamp(PROPOSED_BYTES_MIN, PROPOSED_BYTES_MAX),
    }
}

/// Applies the decisions in the log that the store does not hold, and says how many there were.
fn redo(law: &mut Law, store: &Store, records: &[Record]) -> Result<usize, ReplicaError> {
    let mut bytes_of: BTreeMap<BlockId, &[u8]> = BTreeMap::new();
    let mut redone: usize = 0;
    for record in records {
        match record {
            Record::Value { block, bytes, .. } => {
                bytes_of.insert(*block, bytes);
            }
            Record::Decided(certificate)
                if certificate.height == law.state().tip().height.saturating_add(1) =>
            {
                let height = certificate.height;
                let bytes = bytes_of
                    .get(&certificate.block)
                    .ok_or(ReplicaError::NoBlock { height })?;
                let mut executed = law.commit(certificate.block, bytes, &Nothing)?;
                store.commit(&mut executed, bytes, certificate)?;
                redone = redone.saturating_add(1);
            }
            _ => {}
        }
    }
    if redone > 0 {
        tracing::info!(blocks = redone, "applied decided blocks from the log");
    }
    Ok(redone)
}

/// Where the sign-state does not say where the log begins: the oldest segment there is.
fn oldest_segment(disk: &dyn Disk) -> Result<u64, ReplicaError> {
    let first = segments(disk)?.into_iter().min();
    Ok(first.unwrap_or(WAL_FIRST_SEGMENT))
}

fn segments(disk: &dyn Disk) -> Result<Vec<u64>, ReplicaError> {
    let io = |source| ReplicaError::Io {
        what: "listing the data folder",
        source,
    };
    let names = disk.list().map_err(io)?;
    let segments = names.iter().filter_map(|name| wal::segment_of(name));
    Ok(segments.collect())
}
