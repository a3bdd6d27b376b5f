//! Making room: what is pinned stays, the rest goes oldest first until the budget is met.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{BlobStore, LayerStore, StoreError, io_error, lock, read_record, touch, unique_name};
use crate::image::digest::Digest;
use crate::image::record::ImageRecord;
use crate::image::unpack::LayerStats;

/// How long an unfinished download may wait to be resumed.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How much may stay that nobody is known to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The longest unused goes until what is left fits in so many bytes.
    pub bytes_max: u64,
    /// What was unused for as long goes, also where all would fit.
    pub idle_max: Duration,
    /// What was used as recently stays, also where it does not fit: somebody may be about to use it.
    pub idle_min: Duration,
}

impl Budget {
    /// Room for so many bytes, whatever their age.
    #[must_use]
    pub fn bytes(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            idle_max: Duration::MAX,
            idle_min: Duration::ZERO,
        }
    }

    /// Whether something is to go that was last used then, while there are so many bytes in all.
    fn lets_go(&self, used: SystemTime, total: u64) -> bool {
        // A clock that was set back makes everything young.
        let idle = SystemTime::now().duration_since(used).unwrap_or_default();
        idle >= self.idle_min && (total > self.bytes_max || idle > self.idle_max)
    }
}

/// What one collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Images forgotten.
    pub images: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// Unpacked layers removed.
    pub layers: u64,
    /// Unfinished downloads and unpackings removed.
    pub leftovers: u64,
    /// Bytes given back.
    pub bytes: u64,
}

struct Entry {
    path: PathBuf,
    name: String,
    bytes: u64,
    used: SystemTime,
}

fn list(directory: &Path) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(io_error("list", directory))? {
        let entry = entry.map_err(io_error("list", directory))?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(io_error("inspect", &path))?;
        entries.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: metadata.len(),
            used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            path,
        });
    }
    Ok(entries)
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(io_error("remove", path))
}

impl BlobStore {
    /// Forgets images until the blobs fit in the budget, the longest unused first.
    ///
    /// Images whose manifest digest is in `keep` stay whatever the budget says. Blobs of no
    /// image go always. A blob shared by two images stays as long as one of them does.
    pub fn collect(&self, keep: &BTreeSet<Digest>, budget: &Budget) -> Result<Freed, StoreError> {
        let _alone = lock(&self.root, FlockOperation::NonBlockingLockExclusive)?;
        let mut freed = Freed::default();
        let mut images = self.images(&mut freed)?;
        let blobs: BTreeMap<String, Entry> = list(&self.root.join("blobs/sha256"))?
            .into_iter()
            .map(|blob| (blob.name.clone(), blob))
            .collect();
        let size_of = |digest: &Digest| blobs.get(&digest.hex()).map_or(0, |blob| blob.bytes);
        images.sort_by_key(|(note, _)| note.used);
        let mut users: BTreeMap<Digest, u64> = BTreeMap::new();
        for (_, record) in &images {
            for blob in record.blobs().collect::<BTreeSet<_>>() {
                *users.entry(blob).or_default() += 1;
            }
        }
        let mut total: u64 = users.keys().map(size_of).sum();
        for (note, record) in &images {
            if keep.contains(&record.manifest_digest) || !budget.lets_go(note.used, total) {
                continue;
            }
            remove_file(&note.path)?;
            freed.images += 1;
            for blob in record.blobs().collect::<BTreeSet<_>>() {
                let left = users
                    .get_mut(&blob)
                    .expect("every blob of every record was counted");
                *left -= 1;
                if *left == 0 {
                    users.remove(&blob);
                    total = total.saturating_sub(size_of(&blob));
                }
            }
        }
        let wanted: BTreeSet<String> = users.keys().map(Digest::hex).collect();
        for blob in blobs.values().filter(|blob| !wanted.contains(&blob.name)) {
            remove_file(&blob.path)?;
            freed.blobs += 1;
            freed.bytes += blob.bytes;
        }
        self.sweep_partial(total >= budget.bytes_max, &mut freed)?;
        Ok(freed)
    }

    /// Every readable record with its note on disk; unreadable notes are removed.
    fn images(&self, freed: &mut Freed) -> Result<Vec<(Entry, ImageRecord)>, StoreError> {
        let mut images = Vec::new();
        for note in list(&self.root.join("images"))? {
            match read_record(&note.path)? {
                Some(record) => images.push((note, record)),
                None => {
                    remove_file(&note.path)?;
                    freed.leftovers += 1;
                }
            }
        }
        Ok(images)
    }

    fn sweep_partial(&self, is_full: bool, freed: &mut Freed) -> Result<(), StoreError> {
        let now = SystemTime::now();
        for partial in list(&self.partial_dir())? {
            let age = now.duration_since(partial.used).unwrap_or_default();
            if is_full || age > PARTIAL_AGE_MAX {
                if partial.path.is_dir() {
                    fs::remove_dir_all(&partial.path).map_err(io_error("remove", &partial.path))?;
                } else {
                    remove_file(&partial.path)?;
                }
                freed.leftovers += 1;
                freed.bytes += partial.bytes;
            }
        }
        Ok(())
    }
}

/// A layer that is here, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerUse {
    /// Which.
    pub diff_id: Digest,
    /// The bytes of its files.
    pub bytes: u64,
    /// When it was last used, or unpacked.
    pub used: SystemTime,
}

impl LayerStore {
    /// Removes unpacked layers until they fit in the budget, the longest unused first.
    ///
    /// Layers whose diff id is in `keep` stay whatever the budget says; dead unpackings and removals
    /// that were cut short go always. Every mounted view of a layer must be gone before: `keep` is
    /// asked under the lock that makers of workloads hold, and has to name what is mounted.
    pub fn collect<E: From<StoreError>>(
        &self,
        keep: impl FnOnce() -> Result<BTreeSet<Digest>, E>,
        budget: &Budget,
    ) -> Result<Freed, E> {
        let (freed, gone) = {
            let _alone = lock(&self.directory, FlockOperation::NonBlockingLockExclusive)?;
            self.take_out(&keep()?, budget)?
        };
        // Nobody can find these any more, so nobody has to wait for their removal.
        for path in gone {
            remove_tree(&path)?;
        }
        Ok(freed)
    }

    /// Takes from the layers what is to go, and says where it lies now.
    fn take_out(
        &self,
        keep: &BTreeSet<Digest>,
        budget: &Budget,
    ) -> Result<(Freed, Vec<PathBuf>), StoreError> {
        let mut freed = Freed::default();
        let (mut layers, mut gone) = self.entries()?;
        freed.leftovers = gone.len() as u64;
        layers.sort_by_key(|layer| layer.used);
        let mut total: u64 = layers.iter().map(|layer| layer.bytes).sum();
        for layer in layers {
            if keep.contains(&layer.diff_id) || !budget.lets_go(layer.used, total) {
                continue;
            }
            gone.push(self.set_aside(layer.diff_id)?);
            freed.layers += 1;
            freed.bytes += layer.bytes;
            total = total.saturating_sub(layer.bytes);
        }
        Ok((freed, gone))
    }

    /// Removes one layer, if it is here; `is_used` is asked under the lock that makers of workloads
    /// hold. Does not wait for them.
    pub fn take_away<E: From<StoreError>>(
        &self,
        diff_id: Digest,
        is_used: impl FnOnce() -> Result<(), E>,
    ) -> Result<Removed, E> {
        let _alone = lock(&self.directory, FlockOperation::NonBlockingLockExclusive)?;
        is_used()?;
        let path = self.set_aside(diff_id)?;
        Ok(Removed { path })
    }

    /// Gives a layer a name under which nobody looks for one: half of it never counts as one.
    fn set_aside(&self, diff_id: Digest) -> Result<PathBuf, StoreError> {
        let (from, to) = (
            self.layer(diff_id),
            self.directory.join(unique_name("removed")),
        );
        fs::rename(&from, &to).map_err(io_error("set aside", &from))?;
        Ok(to)
    }

    /// The layers that are here, whole.
    pub fn uses(&self) -> Result<Vec<LayerUse>, StoreError> {
        let mut layers = self.entries()?.0;
        layers.sort_by_key(|layer| layer.diff_id);
        Ok(layers)
    }

    /// What is neither a layer nor part of the store: unpackings and removals, under way or dead.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, StoreError> {
        Ok(self.entries()?.1)
    }

    fn entries(&self) -> Result<(Vec<LayerUse>, Vec<PathBuf>), StoreError> {
        let (mut layers, mut others) = (Vec::new(), Vec::new());
        let entries = list(&self.directory)?;
        for entry in entries.into_iter().filter(|entry| entry.name != "lock") {
            let used = fs::metadata(entry.path.join(MARKER)).and_then(|marker| marker.modified());
            match (Digest::from_hex(&entry.name), used) {
                (Ok(diff_id), Ok(used)) => layers.push(LayerUse {
                    diff_id,
                    bytes: self.stats_at(&entry.path).unwrap_or_default().bytes,
                    used,
                }),
                // Nobody may use a layer whose marker is gone.
                _ => others.push(entry.path),
            }
        }
        Ok((layers, others))
    }

    /// Notes that a layer is used now.
    pub fn mark_used(&self, diff_id: Digest) -> Result<(), StoreError> {
        touch(&self.layer(diff_id).join(MARKER))
    }

    /// What unpacking counted in this layer, if it is here, whole.
    #[must_use]
    pub fn stats(&self, diff_id: Digest) -> Option<LayerStats> {
        self.stats_at(&self.layer(diff_id))
    }

    fn stats_at(&self, layer: &Path) -> Option<LayerStats> {
        serde_json::from_slice(&fs::read(layer.join(MARKER)).ok()?).ok()
    }
}

/// Says what unpacking counted, and by being there that the layer is whole.
const MARKER: &str = "layer.json";

/// Another collection may remove the same leftovers.
/// A layer that is none any more. What it held is on the disk still.
#[derive(Debug)]
pub struct Removed {
    path: PathBuf,
}

impl Removed {
    /// Removes what it held, which takes long where that is much. What is left is found another time.
    pub fn finish(self) -> Result<(), StoreError> {
        remove_tree(&self.path)
    }
}

fn remove_tree(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}
