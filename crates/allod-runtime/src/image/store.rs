//! Where images lie on disk, in two directories with two owners.
//!
//! ```text
//! <blobs root>/                 the network process' own
//!   blobs/sha256/<hex>          manifests, configurations, compressed layers
//!   partial/<hex>               downloads that may be resumed
//!   images/<digest hex>.json    one ImageRecord each, by manifest and, where the reference was
//!                               pinned to an index, by that; mtime is when it was last used
//!   lock                        shared while a pull runs, exclusive while collecting
//! <layers root>/layers/         root's own, mode 0700
//!   <diff id hex>/fs/           the unpacked tree: an overlayfs lower directory
//!   <diff id hex>/layer.json    what unpacking counted; its presence says the tree is whole;
//!                               mtime is when it was last used
//!   staging-<pid>-<n>/          an unpacking in progress, or one that died
//!   removed-<pid>-<n>/          a removal in progress, or one that died
//!   lock
//! ```
//!
//! The mode of `layers/` matters: the trees hold set-uid files owned by user 0, written by
//! strangers. Nobody but root may reach them; containers see them through idmapped mounts.
//! Those mounts pin nothing: unmount the views of a layer before collecting it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags};

use super::digest::Digest;
use super::limits::DOCUMENT_BYTES_MAX;
use super::record::{ImageRecord, RecordError};

mod collect;

pub use collect::{Budget, Freed, Removed};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The blob is not there.
    #[error("{digest} is not in the image store; pull the image again")]
    Missing {
        /// What was asked for.
        digest: Digest,
    },
    /// The bytes under this name are other bytes.
    #[error("the blob stored as {expected} hashes to {actual}; pull the image again")]
    BadDigest {
        /// The name.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The documents do not make an image.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A pull or an unpacking is running.
    #[error("the image store at {path} is in use; collect again when the pull has ended")]
    Busy {
        /// The store.
        path: PathBuf,
    },
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Holds a store open for adding; collecting waits until it is dropped.
#[derive(Debug)]
pub struct InUse {
    _lock: File,
}

fn lock(root: &Path, operation: FlockOperation) -> Result<InUse, StoreError> {
    let path = root.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(InUse { _lock: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy {
            path: root.to_owned(),
        }),
        Err(errno) => Err(io_error("lock", &path)(errno.into())),
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(io_error("create", path))
}

/// The network process' half: everything that was fetched.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: PathBuf,
}

impl BlobStore {
    /// Opens the store below `root`, creating what is missing.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for directory in ["blobs/sha256", "partial", "images"] {
            // Private images are nobody else's business; root can read them all the same.
            make_dir(&root.join(directory), 0o700)?;
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Opens a store that another process owns, creating nothing.
    #[must_use]
    pub fn foreign(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Keeps [`BlobStore::collect`] away while blobs are added.
    pub fn in_use(&self) -> Result<InUse, StoreError> {
        lock(&self.root, FlockOperation::LockShared)
    }

    /// Where the bytes with this digest lie, or would lie.
    #[must_use]
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether there is a blob of this name; its bytes are checked where they are used.
    #[must_use]
    pub fn has_blob(&self, digest: Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    pub(super) fn partial_path(&self, digest: Digest) -> PathBuf {
        self.root.join("partial").join(digest.hex())
    }

    pub(super) fn partial_dir(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// A new private directory that goes with the unfinished downloads.
    pub(super) fn partial_subdirectory(&self, prefix: &str) -> Result<PathBuf, StoreError> {
        let path = self.partial_dir().join(unique_name(prefix));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(io_error("create", &path))?;
        Ok(path)
    }

    /// Throws away a blob that proved to be damaged, so that the next pull fetches it again.
    pub fn discard(&self, digest: Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn record_path(&self, manifest: Digest) -> PathBuf {
        self.root
            .join("images")
            .join(format!("{}.json", manifest.hex()))
    }

    /// Stores bytes under their own digest, atomically.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(digest);
        if !path.is_file() {
            self.write_atomically(&path, bytes)?;
        }
        Ok(digest)
    }

    /// Opens a blob for reading, as root may: never through a link, never a pipe or device.
    pub fn open_blob(&self, digest: Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        let root = File::open(&self.root).map_err(io_error("open", &self.root))?;
        let opened = rustix::fs::openat2(
            &root,
            Path::new("blobs/sha256").join(digest.hex()),
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        );
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Err(StoreError::Missing { digest }),
            Err(errno) => return Err(io_error("open", &path)(errno.into())),
        };
        let metadata = file.metadata().map_err(io_error("inspect", &path))?;
        if !metadata.is_file() {
            let source = io::Error::other("it is not a regular file");
            return Err(io_error("open", &path)(source));
        }
        Ok(file)
    }

    /// Reads a manifest or configuration and checks that it is what its name says.
    pub fn document(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &path))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(StoreError::Record(RecordError::TooLarge {
                what: "stored document",
                bytes: bytes.len() as u64,
                limit: DOCUMENT_BYTES_MAX,
            }));
        }
        let actual = Digest::of(&bytes);
        if actual != digest {
            return Err(StoreError::BadDigest {
                expected: digest,
                actual,
            });
        }
        Ok(bytes)
    }

    /// Rebuilds the record of an image from its blobs, trusting only `manifest`.
    ///
    /// Root calls this before it unpacks; the result does not depend on `images/`.
    pub fn verified_record(&self, manifest: Digest) -> Result<ImageRecord, StoreError> {
        let manifest = self.document(manifest)?;
        let super::manifest::Document::Image(parsed) = super::manifest::Document::parse(&manifest)?
        else {
            return Err(StoreError::Record(RecordError::Malformed {
                what: "manifest",
                why: "it is an index, which names no layers".to_owned(),
            }));
        };
        let config = self.document(parsed.config.digest)?;
        Ok(ImageRecord::from_documents(&manifest, &config)?)
    }

    /// Remembers an image whose blobs are all here.
    pub fn save_record(&self, record: &ImageRecord) -> Result<(), StoreError> {
        self.save_record_as(record.manifest_digest, record)
    }

    /// Remembers it under another name too: the digest of the index that led to it.
    pub(super) fn save_record_as(
        &self,
        name: Digest,
        record: &ImageRecord,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).expect("a record is plain data");
        self.write_atomically(&self.record_path(name), &bytes)
    }

    /// The image with this manifest or index, if it was pulled; marks it as just used.
    ///
    /// This is the network process' own note; root uses [`BlobStore::verified_record`].
    pub fn record(&self, name: Digest) -> Result<Option<ImageRecord>, StoreError> {
        let path = self.record_path(name);
        let Some(record) = read_record(&path)? else {
            return Ok(None);
        };
        if !record.blobs().all(|blob| self.has_blob(blob)) {
            return Ok(None);
        }
        touch(&path)?;
        Ok(Some(record))
    }

    /// Every image that was pulled, as far as its note can be read.
    pub fn records(&self) -> Result<Vec<ImageRecord>, StoreError> {
        let images = self.root.join("images");
        let mut records = Vec::new();
        for note in fs::read_dir(&images).map_err(io_error("list", &images))? {
            let note = note.map_err(io_error("list", &images))?;
            records.extend(read_record(&note.path())?);
        }
        Ok(records)
    }

    fn write_atomically(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temporary = NewFile::create(&self.partial_dir())?;
        temporary
            .file
            .write_all(bytes)
            .and_then(|()| temporary.file.sync_data())
            .map_err(io_error("write", path))?;
        temporary.keep_as(path)
    }
}

/// Notes that what this file stands for is used now.
fn touch(path: &Path) -> Result<(), StoreError> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty())
        .map_err(|errno| io_error("touch", path)(errno.into()))
}

/// The record in this file, or none when it is absent or not a record.
fn read_record(path: &Path) -> Result<Option<ImageRecord>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// A file without its final name yet; gone when dropped before it gets one.
pub(super) struct NewFile {
    pub(super) file: File,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    pub(super) fn create(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(unique_name("new"));
        let file = File::create_new(&path).map_err(|source| io_error("create", &path)(source))?;
        Ok(Self {
            file,
            path,
            kept: false,
        })
    }

    pub(super) fn keep_as(mut self, name: &Path) -> Result<(), StoreError> {
        fs::rename(&self.path, name).map_err(io_error("create", name))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // A leftover is swept up by the next collection.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A name no other process or thread of this machine is using now.
fn unique_name(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{prefix}-{}-{number}-{nanos:x}", std::process::id())
}

/// Root's half: the unpacked layers.
#[derive(Debug, Clone)]
pub struct LayerStore {
    directory: PathBuf,
}

impl LayerStore {
    /// Opens the store below `root`, creating it for root alone.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let directory = root.join("layers");
        make_dir(&directory, 0o700)?;
        // Also where an earlier version, or a person, left it open.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
            .map_err(io_error("close to others", &directory))?;
        Ok(Self { directory })
    }

    /// Keeps [`LayerStore::collect`] away while a layer is unpacked.
    pub fn in_use(&self) -> Result<InUse, StoreError> {
        lock(&self.directory, FlockOperation::LockShared)
    }

    /// Waits until nobody makes a workload or unpacks a layer, and keeps them waiting as long as the answer is kept.
    pub(crate) fn alone(&self) -> Result<InUse, StoreError> {
        lock(&self.directory, FlockOperation::LockExclusive)
    }

    /// Keeps others from giving a layer its name, as long as the answer is kept.
    pub(super) fn naming(&self) -> io::Result<File> {
        let directory = File::open(&self.directory)?;
        rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    }

    /// The tree of an unpacked layer: an overlayfs `lowerdir`.
    #[must_use]
    pub fn tree(&self, diff_id: Digest) -> PathBuf {
        self.layer(diff_id).join("fs")
    }

    /// Whether this layer is here, whole.
    #[must_use]
    pub fn has(&self, diff_id: Digest) -> bool {
        self.layer(diff_id).join("layer.json").is_file()
    }

    pub(super) fn layer(&self, diff_id: Digest) -> PathBuf {
        self.directory.join(diff_id.hex())
    }

    pub(super) fn staging(&self) -> Result<PathBuf, StoreError> {
        let path = self.directory.join(unique_name("staging"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(io_error("create", &path))?;
        Ok(path)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}
