//! With which ledger a node begins: with what lies in its folder, or with a snapshot that a member gives.
//!
//! Members keep blocks for a while only ([`LEDGER_RETENTION_MS`]). Whoever has no ledger, or was away for longer, may need
//! blocks that nobody keeps, and would ask for them in vain for ever; so it asks for a snapshot first, at each start until
//! it has one. One that takes the place of an older ledger leaves the log and the sign-state where they are: nothing that
//! this machine's key has signed is forgotten, and it decides with the others as before.

use std::io;
use std::path::Path;
use std::sync::Arc;

use allod_ledger::disk::RealDisk;
use allod_ledger::replica::{Clock, Replica, ReplicaError};
use allod_ledger::store::{SnapshotError, Store, Tip};
use allod_state::genesis::Genesis;

use super::{BEGUN_FILE, LEDGER_FOLDER, NodeVoter, StartError, ledger_settings};
use crate::identity::Identity;
use crate::limits::LEDGER_RETENTION_MS;
use crate::peers::{self, Fetched};

/// Learns the ledger anew where it is gone, was never learned, or is so old that blocks may no longer lead on from it.
/// Says whether that is so still.
pub(super) async fn learn_if_lost(
    dir: &Path,
    identity: &Arc<Identity>,
    genesis: &Genesis,
    now_ms: u64,
) -> Result<bool, StartError> {
    let folder = dir.join(LEDGER_FOLDER);
    let is_empty = is_empty(&folder).map_err(|source| StartError::File {
        path: folder,
        source,
    })?;
    if !peers::knows_others(dir) {
        let was_there = dir.join(BEGUN_FILE).exists();
        return if is_empty && was_there {
            Err(StartError::LedgerGone)
        } else {
            Ok(false)
        };
    }
    let own = if is_empty {
        None
    } else {
        match newest(dir, identity, genesis, now_ms) {
            Ok(own) => own,
            // Whoever opens it next says what is wrong.
            Err(_) => return Ok(false),
        }
    };
    if own
        .as_ref()
        .is_some_and(|tip| !is_old(tip.header.time_ms, now_ms))
    {
        return Ok(false);
    }
    // Rare, and far larger than the rest of a start.
    let snapshot = Box::pin(peers::learn_anew(dir, identity, genesis, own)).await;
    Ok(!is_taken(snapshot, dir, genesis))
}

/// Begins with a snapshot, where there is one. Without it everything is learned from blocks, as far back as anybody keeps them.
pub(super) fn is_taken(snapshot: Option<Fetched>, dir: &Path, genesis: &Genesis) -> bool {
    let Some(snapshot) = snapshot else {
        tracing::warn!(
            "no member has given this machine a snapshot of the ledger: blocks are asked for instead; where others do not keep \
             them any more, see that this machine reaches a member, and start it again"
        );
        return false;
    };
    match snapshot.found(&dir.join(LEDGER_FOLDER), genesis) {
        Ok(height) => {
            tracing::info!(height, "this machine's ledger begins with a snapshot");
            true
        }
        // Nothing was decided while it was away.
        Err(SnapshotError::NotNewer(_)) => true,
        Err(error) => {
            tracing::warn!(%error, "the snapshot is of no use: blocks are asked for instead");
            false
        }
    }
}

/// Whether nothing is in a folder: it is missing, or a disk is to be mounted there.
fn is_empty(folder: &Path) -> io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut files) => Ok(files.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether members may have let go of the blocks that follow one of that time.
pub(in crate::node) fn is_old(tip_ms: u64, now_ms: u64) -> bool {
    tip_ms.saturating_add(LEDGER_RETENTION_MS) < now_ms
}

/// The newest block of the own ledger; none where it was never learned.
pub(super) fn newest(
    dir: &Path,
    identity: &Arc<Identity>,
    genesis: &Genesis,
    now_ms: u64,
) -> Result<Option<Tip>, ReplicaError> {
    let io = |source| ReplicaError::Io {
        what: "opening the data folder",
        source,
    };
    let disk = RealDisk::new(&dir.join(LEDGER_FOLDER)).map_err(io)?;
    if let Ok(Some(tip)) = Store::open(&disk, genesis).and_then(|store| store.tip())
        && !is_old(tip.header.time_ms, now_ms)
    {
        return Ok(Some(tip));
    }
    // The log may hold more than the store.
    let settings =
        ledger_settings(dir, genesis.clone()).map_err(|error| io(io::Error::other(error)))?;
    let clock = Clock {
        steady_ms: 0,
        wall_ms: now_ms,
    };
    let voter = NodeVoter(Arc::clone(identity));
    let replica = Replica::open(Arc::new(disk), voter, settings, clock)?;
    let tip = replica.store().tip()?;
    replica.close()?;
    Ok(tip)
}
