//! Two planted bugs: a real folder whose files are never synced, or whose failed syncs nobody minds. The power cuts
//! must notice.

use std::any::Any;
use std::io;
use std::path::Path;

use allod_ledger::disk::{Disk, DiskFile, RealDisk};

/// What is wrong with the syncs of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// They do nothing.
    Missing,
    /// They are done, and nobody looks at what came of it.
    Unheeded,
}

/// A folder as [`RealDisk`] has it, but for the syncs of its files.
#[derive(Debug)]
pub(crate) struct Unsynced(RealDisk, Bug);

impl Unsynced {
    pub(crate) fn new(folder: &Path, bug: Bug) -> io::Result<Self> {
        Ok(Self(RealDisk::new(folder)?, bug))
    }
}

impl Disk for Unsynced {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(UnsyncedFile(self.0.open(name)?, self.1)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

#[derive(Debug)]
struct UnsyncedFile(Box<dyn DiskFile>, Bug);

impl DiskFile for UnsyncedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        match self.1 {
            Bug::Missing => {}
            Bug::Unheeded => drop(self.0.sync()),
        }
        Ok(())
    }
}
