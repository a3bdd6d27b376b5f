//! The few things the ledger needs from a file system, so that a simulator can take its place.
//!
//! The rules a caller may rely on, and the only ones: what was written and then synced survives a
//! crash whole; what was written and not synced may survive whole, in part, or not at all, in any
//! order; a rename is atomic and survives once it has returned. After a failed sync the state of
//! the file is unknown, and the only safe thing is to end the process.

mod memory;
mod real;
mod reserve;

use std::any::Any;
use std::fmt::Debug;
use std::io;

pub use memory::MemoryDisk;
pub use real::RealDisk;
pub(crate) use reserve::{Reserved, is_full};

/// One folder of files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing; creates it where it is missing.
    ///
    /// # Errors
    /// Where the system refuses.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// The names of the files, sorted.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Puts `from` in the place of `to`, for good.
    ///
    /// # Errors
    /// Where the system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; a missing one is no error.
    ///
    /// # Errors
    /// Where the system refuses.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Claims the folder for this process until the returned value is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process holds it.
    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// How many bytes can still be written.
    ///
    /// # Errors
    /// Where the system does not say.
    fn free_bytes(&self) -> io::Result<u64>;

    /// How many files can still be made.
    ///
    /// # Errors
    /// Where the system does not say.
    fn free_files(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// One file.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Where the system does not say.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing.
    ///
    /// # Errors
    /// Where the system does not say.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file is shorter, and what the system refuses.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes at `offset`, growing the file as needed.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] where there is no room, and what the system refuses.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file, or grows it with zeros.
    ///
    /// # Errors
    /// As for [`DiskFile::write_at`].
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Puts everything written on the disk.
    ///
    /// # Errors
    /// After an error nothing is known about the file: end the process.
    fn sync(&self) -> io::Result<()>;
}

/// Reads a whole file; `None` where it is missing or empty.
pub(crate) fn read_whole(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    if !disk.list()?.iter().any(|present| present == name) {
        return Ok(None);
    }
    let file = disk.open(name)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces a file's content in one step that survives a crash.
pub(crate) fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    let file = disk.open(&fresh)?;
    file.set_len(0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&fresh, name)
}

#[cfg(test)]
mod tests;
