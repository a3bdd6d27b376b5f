//! Unpacking one layer, as root, believing nobody.
//!
//! [`layer`] reads the blob once. While it streams, three things are computed at the same time:
//! the digest of the compressed bytes, the digest of the archive, and the tree. The tree grows in
//! a staging directory and gets its name only after both digests were right and every entry was
//! accepted; a crash leaves a staging directory, which the next collection removes.
//!
//! Call it in a short-lived child: it is synchronous, uses no network, and may be killed at any
//! moment.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::limits::Limits;
use super::record::{ImageRecord, LayerRecord};
use super::room::{NoRoom, Room};
use super::store::{BlobStore, LayerStore};

pub(super) mod decompress;
mod error;
pub(super) mod path;
mod pax;
pub(super) mod tar;
mod tree;
mod volume;
mod xattr;

pub use error::{Refusal, UnpackError};
pub use volume::VolumeError;

pub(crate) use volume::fill;

pub(super) use error::shown;

use decompress::{Passed, Unpacked};
use tar::{Archive, Entry, Kind, ReadError};
use tree::{Placed, Tree, TreeError};

/// What a layer turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerStats {
    /// Entries of the archive, all kinds together.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Names hidden from the layers below.
    pub whiteouts: u64,
    /// Directories that hide everything below them.
    pub opaque_directories: u64,
    /// Entries that replaced an earlier one of the same name.
    pub replaced: u64,
    /// AUFS notes that were left out.
    pub left_out: u64,
    /// Extended attributes that were dropped; see the module on them.
    pub dropped_xattrs: u64,
    /// The highest user or group id: what an id mapping has to cover.
    pub highest_id: u32,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of the blob.
    pub blob_bytes: u64,
}

/// Unpacks every layer of an image that is not here yet, trusting only the manifest's digest.
///
/// This is what root is asked for: the documents and the layers come from `blobs`, which the
/// network process fills, and every one of them is hashed again on the way.
pub fn image(
    manifest: Digest,
    blobs: &BlobStore,
    layers: &LayerStore,
    limits: &Limits,
) -> Result<ImageRecord, UnpackError> {
    let record = blobs.verified_record(manifest)?;
    let limit = limits.image_unpacked_bytes_max;
    let mut left = limit;
    for wanted in &record.layers {
        let stats = match layers.stats(wanted.diff_id) {
            Some(stats) => stats,
            None => {
                let bytes_max = limits.unpacked_bytes_max.min(left);
                let unpacked = Limits {
                    unpacked_bytes_max: bytes_max,
                    ..limits.clone()
                };
                let blob = blobs.open_blob(wanted.digest)?;
                layer(blob, wanted, layers, &unpacked).map_err(|error| match error {
                    UnpackError::Refused {
                        refusal: Refusal::TooManyBytes,
                        ..
                    } if left < limits.unpacked_bytes_max => UnpackError::ImageTooLarge { limit },
                    error => error,
                })?
            }
        };
        left = left
            .checked_sub(stats.bytes)
            .ok_or(UnpackError::ImageTooLarge { limit })?;
    }
    Ok(record)
}

/// Unpacks one layer from its blob, unless it is in `store` already.
///
/// `blob` should come from [`super::BlobStore::open_blob`], `layer` from
/// [`super::BlobStore::verified_record`].
pub fn layer(
    blob: File,
    layer: &LayerRecord,
    store: &LayerStore,
    limits: &Limits,
) -> Result<LayerStats, UnpackError> {
    if !super::manifest::is_layer(&layer.media_type) {
        let media_type = layer.media_type.chars().take(200).collect();
        return Err(UnpackError::Unsupported {
            layer: layer.digest,
            media_type,
        });
    }
    let _in_use = store.in_use()?;
    if let Some(stats) = store.stats(layer.diff_id) {
        return Ok(stats);
    }
    let staging = Staging::new(store)?;
    let stats = Unpacking {
        layer,
        limits,
        staging: &staging.path,
    }
    .run(blob)?;
    staging.keep(store, layer, &stats)?;
    Ok(stats)
}

/// A directory that is removed unless it is kept.
struct Staging {
    path: std::path::PathBuf,
    is_kept: bool,
}

impl Staging {
    fn new(store: &LayerStore) -> Result<Self, UnpackError> {
        Ok(Self {
            path: store.staging()?,
            is_kept: false,
        })
    }

    /// Writes the marker and gives the layer its name.
    fn keep(
        mut self,
        store: &LayerStore,
        layer: &LayerRecord,
        stats: &LayerStats,
    ) -> Result<(), UnpackError> {
        let marker = self.path.join("layer.json");
        let text = serde_json::to_vec(stats).expect("stats are plain data");
        File::create_new(&marker)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(io_error("write", &marker))?;
        let named = store.layer(layer.diff_id);
        // Between the look and the removal nobody else may put a whole one there.
        let _alone = store.naming().map_err(io_error("lock", &named))?;
        if !store.has(layer.diff_id) && named.exists() {
            // A collection that died half way: its marker is gone, so nobody uses it.
            fs::remove_dir_all(&named).map_err(io_error("remove", &named))?;
        }
        match fs::rename(&self.path, &named) {
            Ok(()) => self.is_kept = true,
            // Somebody else unpacked the same bytes meanwhile.
            Err(_) if store.has(layer.diff_id) => return Ok(()),
            Err(source) => return Err(io_error("create", &named)(source)),
        }
        store.sync().map_err(io_error("write to disk", &named))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed now goes with the next collection.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> UnpackError + 'a {
    move |source| UnpackError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// One layer on its way.
struct Unpacking<'a> {
    layer: &'a LayerRecord,
    limits: &'a Limits,
    staging: &'a Path,
}

/// Why the loop over the entries ended early.
enum Stop {
    Read(ReadError),
    Tree(TreeError),
    Room(NoRoom),
}

impl From<NoRoom> for Stop {
    fn from(error: NoRoom) -> Self {
        Self::Room(error)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl Unpacking<'_> {
    fn run(&self, blob: File) -> Result<LayerStats, UnpackError> {
        let length = blob
            .metadata()
            .map_err(io_error("inspect the blob for", self.staging))?
            .len();
        if length > self.limits.layer_bytes_max {
            return Err(self.refused(b"", 0, Refusal::TooManyBytes));
        }
        let damaged = |source| UnpackError::Damaged {
            layer: self.layer.digest,
            source,
        };
        let blob = Unpacked::new(blob, self.limits).map_err(damaged)?;
        let mut archive = Archive::new(blob);
        let mut tree = Tree::new(self.make_root()?);
        let mut stats = LayerStats::default();
        if let Err(stop) = self.take_entries(&mut archive, &mut tree, &mut stats) {
            let (name, number) = archive.place();
            return Err(self.explain(stop, name, number));
        }
        let root = self.staging.join("fs");
        stats.dropped_xattrs = tree.dropped_xattrs;
        tree.finish()
            .map_err(|error| self.explain(Stop::Tree(error), b".", stats.entries))?;
        self.check(&archive.into_source().finish(), &mut stats)?;
        tracing::debug!(layer = %self.layer.digest, tree = %root.display(), "layer unpacked");
        Ok(stats)
    }

    fn make_root(&self) -> Result<std::os::fd::OwnedFd, UnpackError> {
        let path = self.staging.join("fs");
        let made = rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)).and_then(|()| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let root = rustix::fs::open(&path, flags, Mode::empty())?;
            // The umask of this process must not decide who may enter the container's root.
            rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))?;
            Ok(root)
        });
        made.map_err(|errno| io_error("create", &path)(errno.into()))
    }

    fn take_entries<R: Read>(
        &self,
        archive: &mut Archive<R>,
        tree: &mut Tree,
        stats: &mut LayerStats,
    ) -> Result<(), Stop> {
        let mut buffer = vec![0; 64 * 1024];
        let mut room = Room::on_disk_of(self.staging, self.limits);
        while let Some(entry) = archive.next()? {
            // Each may bring many directories.
            room.fits(0)?;
            let mut left = entry.size;
            stats.entries += 1;
            if stats.entries > self.limits.entries_max {
                return Err(Stop::Tree(Refusal::TooManyEntries.into()));
            }
            let placed = tree.place(&entry, |file| -> Result<(), Stop> {
                loop {
                    let count = archive.read_contents(&mut buffer)?;
                    if count == 0 {
                        return Ok(());
                    }
                    room.take(count as u64, left)?;
                    file.write_all(&buffer[..count])
                        .map_err(|error| TreeError::Io("write", error))?;
                    left = left.saturating_sub(count as u64);
                }
            })?;
            stats.count(&entry, placed);
        }
        Ok(())
    }

    /// Judges both digests of a stream that was read to its end.
    fn check(&self, passed: &Passed, stats: &mut LayerStats) -> Result<(), UnpackError> {
        if passed.packed != self.layer.digest {
            return Err(UnpackError::BadDigest {
                expected: self.layer.digest,
                actual: passed.packed,
            });
        }
        if passed.unpacked != self.layer.diff_id {
            return Err(UnpackError::BadDiffId {
                layer: self.layer.digest,
                expected: self.layer.diff_id,
                actual: passed.unpacked,
            });
        }
        stats.archive_bytes = passed.unpacked_bytes;
        stats.blob_bytes = passed.packed_bytes;
        Ok(())
    }

    fn explain(&self, stop: Stop, name: &[u8], number: u64) -> UnpackError {
        match stop {
            Stop::Read(ReadError::Refused(refusal)) | Stop::Tree(TreeError::Refused(refusal)) => {
                self.refused(name, number, refusal)
            }
            Stop::Read(ReadError::Stream(source)) => UnpackError::Damaged {
                layer: self.layer.digest,
                source,
            },
            Stop::Tree(TreeError::Io(action, source)) => UnpackError::Io {
                action,
                path: shown(name).into(),
                source,
            },
            Stop::Room(source) => UnpackError::NoRoom {
                layer: self.layer.digest,
                source,
            },
        }
    }

    fn refused(&self, name: &[u8], number: u64, refusal: Refusal) -> UnpackError {
        let (layer, entry) = (self.layer.digest, shown(name));
        UnpackError::Refused {
            layer,
            number,
            entry,
            refusal,
        }
    }
}

impl LayerStats {
    fn count(&mut self, entry: &Entry, placed: Placed) {
        match placed {
            Placed::Whiteout => self.whiteouts += 1,
            Placed::Opaque => self.opaque_directories += 1,
            Placed::LeftOut => self.left_out += 1,
            Placed::New | Placed::Replaced => {
                if placed == Placed::Replaced {
                    self.replaced += 1;
                }
                match entry.kind {
                    Kind::File => self.files += 1,
                    Kind::Directory => self.directories += 1,
                    Kind::Symlink(_) => self.symlinks += 1,
                    Kind::HardLink(_) => self.hard_links += 1,
                    Kind::Fifo => {}
                }
                self.bytes += entry.size;
                self.highest_id = self.highest_id.max(entry.uid).max(entry.gid);
            }
        }
    }
}
