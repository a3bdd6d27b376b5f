//! Snapshots on the victim's disk: chunks under their digests, and manifests that name only what is
//! on disk already.

use std::collections::BTreeSet;
use std::io;

use allod_ledger::Chain;
use allod_ledger::disk::{Disk, MemoryDisk};
use allod_ledger::store::{Anchor, Manifest, SnapshotError, Store};
use allod_state::{BlockId, Digest, codec};

use crate::Failure;
use crate::book::Book;

/// Manifests kept.
const KEPT: usize = 4;
const MANIFEST: &str = "manifest-";
const CHUNK: &str = "chunk-";

/// Takes a snapshot, and gives its height once it is on disk; none where no block is decided yet.
pub(crate) fn take(chain: &Chain, disk: &dyn Disk) -> Result<Option<u64>, SnapshotError> {
    let taken = chain.snapshot(|digest, bytes| put(disk, &format!("{CHUNK}{digest}"), bytes));
    let manifest = match taken {
        Err(SnapshotError::Empty) => return Ok(None),
        other => other?,
    };
    let height = manifest.header.height;
    let bytes = codec::encode(&manifest);
    let kept = put(disk, &format!("{MANIFEST}{height:016x}"), &bytes).and_then(|()| forget(disk));
    let digest = Digest::of(&bytes);
    kept.map_err(|source| SnapshotError::Chunk {
        what: "keeping the manifest of",
        digest,
        source,
    })?;
    Ok(Some(height))
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    let file = disk.open(&fresh)?;
    file.set_len(0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&fresh, name)
}

fn manifests(disk: &dyn Disk) -> io::Result<Vec<(u64, String)>> {
    let height = |name: &str| u64::from_str_radix(name.strip_prefix(MANIFEST)?, 16).ok();
    let names = disk.list()?.into_iter();
    Ok(names
        .filter_map(|name| Some((height(&name)?, name)))
        .collect())
}

/// Removes old manifests, and the chunks that no manifest names.
fn forget(disk: &dyn Disk) -> io::Result<()> {
    let manifests = manifests(disk)?;
    let (old, kept) = manifests.split_at(manifests.len().saturating_sub(KEPT));
    let mut needed = BTreeSet::new();
    for (_, name) in kept {
        if let Ok(manifest) = read(disk, name) {
            needed.extend(
                manifest
                    .chunks
                    .iter()
                    .map(|digest| format!("{CHUNK}{digest}")),
            );
        }
    }
    let names = disk.list()?.into_iter();
    let unneeded = names.filter(|name| name.starts_with(CHUNK) && !needed.contains(name));
    for name in old.iter().map(|(_, name)| name.clone()).chain(unneeded) {
        disk.remove(&name)?;
    }
    Ok(())
}

fn read(disk: &dyn Disk, name: &str) -> Result<Manifest, Failure> {
    let bytes = read_whole(disk, name)?;
    Ok(codec::decode("manifest", bytes.len(), &bytes)?)
}

fn read_whole(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    if !disk.list()?.iter().any(|present| present == name) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = disk.open(name)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Imports every snapshot there is, and gives the stores by height. A manifest that cannot be
/// imported is an error: it was put in its place only when everything it names was synced.
pub(crate) fn import_all(book: &Book, disk: &dyn Disk) -> Result<Vec<(u64, Store)>, Failure> {
    let genesis = Anchor {
        height: 0,
        block: BlockId(*book.genesis.network().as_bytes()),
        header: None,
    };
    let mut imported = Vec::new();
    for (height, name) in manifests(disk)? {
        let manifest = read(disk, &name).map_err(|error| format!("{name}: {error}"))?;
        let into = MemoryDisk::default();
        let fetch = |digest: &Digest| read_whole(disk, &format!("{CHUNK}{digest}"));
        let store = Store::import(&into, &book.genesis, &manifest, &genesis, fetch)
            .map_err(|error| format!("{name}: {error}"))?;
        imported.push((height, store));
    }
    Ok(imported)
}
