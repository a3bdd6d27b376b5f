//! Snapshots of the ledger for whoever joins: blocks are kept for a month, and a newcomer must not need older ones.
//!
//! One is taken when somebody asks for it and the last one is older than [`SNAPSHOT_AGE_MAX`], or too old for the invite.
//! Its chunks lie in a folder of their own beside those of the one before, which others may still be fetching.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use allod_ledger::Chain;
use allod_ledger::store::{Manifest, SnapshotError};
use allod_state::Digest;

use crate::limits::{SNAPSHOT_AGE_MAX, SNAPSHOT_PAUSE_MIN, SNAPSHOT_SHARE_INVERSE};
use crate::whole;

/// The last snapshots of this machine's ledger.
#[derive(Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    manifest: Manifest,
    taken: Instant,
    /// How soon the next one may be taken: however often one is asked for, this machine has little to do with it.
    pause: Duration,
    /// The chunks of this one and of the one before.
    kept: BTreeSet<Digest>,
}

impl Snapshots {
    /// Begins with none: what a former process took is removed.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            last: Mutex::default(),
        })
    }

    /// A snapshot, of that height where there is one; it may take a while.
    pub(crate) fn manifest(&self, chain: &Chain, height: u64) -> Result<Manifest, SnapshotError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref() {
            let age = last.taken.elapsed();
            let is_old = age > SNAPSHOT_AGE_MAX || last.manifest.header.height < height;
            if !is_old || age < last.pause {
                return Ok(last.manifest.clone());
            }
        }
        let began = Instant::now();
        let manifest = chain.snapshot(|digest, bytes| {
            let path = path(&self.dir, &digest);
            if path.exists() {
                return Ok(());
            }
            whole::write(&path, bytes)
        })?;
        let chunks = manifest.chunks.iter().copied();
        let before = last.take().map(|last| last.manifest.chunks);
        let kept: BTreeSet<Digest> = chunks.chain(before.into_iter().flatten()).collect();
        // What stays is of no harm, and goes with the next one.
        if let Err(error) = remove_others(&self.dir, &kept) {
            tracing::warn!(%error, "chunks of old snapshots are still there");
        }
        *last = Some(Last {
            manifest: manifest.clone(),
            taken: Instant::now(),
            pause: SNAPSHOT_PAUSE_MIN.max(began.elapsed() * SNAPSHOT_SHARE_INVERSE),
            kept,
        });
        Ok(manifest)
    }

    /// How long it takes until one of that height may be taken, where the last one is older and was just taken.
    pub(crate) fn pause(&self, height: u64) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last
            .as_ref()
            .filter(|last| last.manifest.header.height < height);
        let pause = last.map(|last| last.pause.saturating_sub(last.taken.elapsed()));
        pause.unwrap_or_default()
    }

    /// A chunk of one of the last snapshots.
    pub(crate) fn chunk(&self, digest: &Digest) -> Option<Vec<u8>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = last.as_ref().is_some_and(|last| last.kept.contains(digest));
        drop(last);
        is_kept.then(|| std::fs::read(path(&self.dir, digest)).ok())?
    }
}

fn path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(digest.to_string())
}

fn remove_others(dir: &Path, kept: &BTreeSet<Digest>) -> io::Result<()> {
    let kept: BTreeSet<String> = kept.iter().map(ToString::to_string).collect();
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if !kept.contains(&*file.file_name().to_string_lossy()) {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}
