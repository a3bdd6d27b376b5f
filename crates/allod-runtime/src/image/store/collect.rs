//! Making room: what is pinned stays, the rest goes oldest first until the budget is met.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use super::{BlobStore, LayerStore, StoreError, io_error, lock, read_record};
use crate::image::digest::Digest;
use crate::image::record::ImageRecord;
use crate::image::unpack::LayerStats;

/// How long an unfinished download may wait to be resumed.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What one collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// Forgets images until the blobs fit in `bytes_max`, the longest unused first.
    ///
    /// Images whose manifest digest is in `keep` stay whatever the budget says. Blobs of no
    /// image go always. A blob shared by two images stays as long as one of them does.
    pub fn collect(&self, keep: &BTreeSet<Digest>, bytes_max: u64) -> Result<Freed, StoreError> {
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
            if total <= bytes_max || keep.contains(&record.manifest_digest) {
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
        self.sweep_partial(total >= bytes_max, &mut freed)?;
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

impl LayerStore {
    /// Removes unpacked layers until they fit in `bytes_max`, the oldest first.
    ///
    /// Layers whose diff id is in `keep` stay whatever the budget says; dead unpackings go
    /// always. Every mounted view of a layer must be gone before: pass what is mounted in `keep`.
    pub fn collect(&self, keep: &BTreeSet<Digest>, bytes_max: u64) -> Result<Freed, StoreError> {
        let _alone = lock(&self.directory, FlockOperation::NonBlockingLockExclusive)?;
        let mut freed = Freed::default();
        let mut layers = Vec::new();
        for entry in list(&self.directory)?
            .into_iter()
            .filter(|entry| entry.name != "lock")
        {
            let diff_id = Digest::from_hex(&entry.name).ok();
            match (diff_id, self.stats_at(&entry.path)) {
                (Some(diff_id), Some(stats)) => layers.push((entry, diff_id, stats.bytes)),
                // A staging tree, or a layer whose marker is gone: nobody may use either.
                _ => {
                    remove_tree(&entry.path)?;
                    freed.leftovers += 1;
                }
            }
        }
        layers.sort_by_key(|(entry, ..)| entry.used);
        let mut total: u64 = layers.iter().map(|(_, _, bytes)| bytes).sum();
        for (entry, diff_id, bytes) in layers {
            if total <= bytes_max || keep.contains(&diff_id) {
                continue;
            }
            // The marker first: a removal that is cut short leaves no half layer behind.
            remove_file(&entry.path.join("layer.json"))?;
            remove_tree(&entry.path)?;
            freed.layers += 1;
            freed.bytes += bytes;
            total = total.saturating_sub(bytes);
        }
        Ok(freed)
    }

    /// What unpacking counted in this layer, if it is here, whole.
    #[must_use]
    pub fn stats(&self, diff_id: Digest) -> Option<LayerStats> {
        self.stats_at(&self.layer(diff_id))
    }

    fn stats_at(&self, layer: &Path) -> Option<LayerStats> {
        serde_json::from_slice(&fs::read(layer.join("layer.json")).ok()?).ok()
    }
}

fn remove_tree(path: &Path) -> Result<(), StoreError> {
    fs::remove_dir_all(path).map_err(io_error("remove", path))
}
