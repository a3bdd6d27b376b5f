//! Disk space kept for the moment when there is none.
//!
//! A file of zeros lies beside the ledger's own. Where the system has no room for a write or a new
//! file, it is removed and the same is tried again: so whatever is under way can be finished, be it
//! in the log, the store or the sign-state. Whoever drives the ledger sees that the reserve was used,
//! and takes nothing more until there is room for a new one.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Disk, DiskFile};

const FILE: &str = "reserve";

/// A disk with a reserve. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    disk: Arc<dyn Disk>,
    bytes: u64,
    /// Whether there may be a file to remove: an earlier process can have left one.
    is_held: Arc<AtomicBool>,
    is_used: Arc<AtomicBool>,
}

impl Reserved {
    /// `disk` with a reserve of so many bytes, which is not taken yet.
    pub(crate) fn new(disk: Arc<dyn Disk>, bytes: u64) -> Self {
        Self {
            disk,
            bytes,
            is_held: Arc::new(AtomicBool::new(true)),
            is_used: Arc::default(),
        }
    }

    /// Whether the disk was full since the reserve was last taken.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Acquire)
    }

    /// Takes the reserve, where there is room for it.
    ///
    /// # Errors
    /// Where the system refuses for another reason.
    pub(crate) fn take(&self) -> io::Result<()> {
        match self.write() {
            Err(error) if is_full(&error) => self.disk.remove(FILE)?,
            other => {
                other?;
                self.is_held.store(true, Ordering::Release);
            }
        }
        self.is_used.store(false, Ordering::Release);
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        let file = self.disk.open(FILE)?;
        let zeros = vec![0; 1 << 16];
        let mut len = file.len()?;
        while len < self.bytes {
            file.write_at(len, &zeros)?;
            len = file.len()?;
        }
        Ok(())
    }

    /// Does something that needs room; where there is none, once more without the reserve.
    fn with_room<T>(&self, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error) if is_full(&error) => {
                self.is_used.store(true, Ordering::Release);
                if !self.is_held.swap(false, Ordering::AcqRel) {
                    return Err(error);
                }
                self.disk.remove(FILE)?;
                act()
            }
            other => other,
        }
    }
}

/// Whether the system said that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Disk for Reserved {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.with_room(|| self.disk.open(name))?;
        let disk = self.clone();
        Ok(Box::new(ReservedFile { file, disk }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.with_room(|| self.disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.with_room(|| self.disk.lock())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn free_files(&self) -> io::Result<u64> {
        self.disk.free_files()
    }
}

#[derive(Debug)]
struct ReservedFile {
    file: Box<dyn DiskFile>,
    disk: Reserved,
}

impl DiskFile for ReservedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.with_room(|| self.file.write_at(offset, bytes))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.with_room(|| self.file.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
