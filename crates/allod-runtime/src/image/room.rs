//! Room on the disk for images and imported volumes: asked for again and again while one is written, so that none fills
//! the disk.
//!
//! What stays free is what the machine itself needs, and a little more: whoever writes most is ended once less than that
//! is left ([`crate::root`]), and no workload shall be ended for an image.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::limits::{Limits, ROOM_STEP_BYTES};
use crate::storage;

/// Why something of an image is not written: the disk has no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct NoRoom {
    /// What was still to be written, at least.
    pub needed_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
    /// How much of that images leave free.
    pub kept_bytes: u64,
    /// How many files can still be made.
    pub free_files: u64,
    /// How many of them images do not make.
    pub kept_files: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        if self.free_files < self.kept_files {
            write!(
                to,
                "the disk is nearly full: {} more files can be made, and {} are left to the machine",
                self.free_files, self.kept_files
            )?;
        } else {
            write!(
                to,
                "the disk is nearly full: {} MiB more are needed, {} MiB are free, and {} MiB are left to the machine",
                mib(self.needed_bytes),
                self.free_bytes / (1024 * 1024),
                mib(self.kept_bytes)
            )?;
        }
        write!(
            to,
            "; delete what is not needed there (allod delete APP --volumes), or add a machine (allod invite)"
        )
    }
}

/// The room for one thing that is being written.
pub(crate) struct Room {
    directory: PathBuf,
    bytes_min: u64,
    files_min: u64,
    /// What was written since it was asked last.
    unasked_bytes: u64,
}

impl Room {
    pub(crate) fn on_disk_of(directory: &Path, limits: &Limits) -> Self {
        Self {
            directory: directory.to_owned(),
            bytes_min: limits.free_bytes_min,
            files_min: limits.free_files_min,
            unasked_bytes: 0,
        }
    }

    /// Asks whether so many bytes fit.
    pub(crate) fn fits(&self, bytes: u64) -> Result<(), NoRoom> {
        self.leaves_enough(bytes, bytes)
    }

    /// Before so many bytes are written of `needed` that are still to be written: asks, whenever enough has come
    /// together.
    pub(crate) fn take(&mut self, bytes: u64, needed: u64) -> Result<(), NoRoom> {
        self.unasked_bytes = self.unasked_bytes.saturating_add(bytes);
        if self.unasked_bytes < ROOM_STEP_BYTES {
            return Ok(());
        }
        self.unasked_bytes = 0;
        self.leaves_enough(bytes, needed)
    }

    fn leaves_enough(&self, bytes: u64, needed_bytes: u64) -> Result<(), NoRoom> {
        // A file system that tells nothing about itself says by its errors that it is full.
        let Ok(disk) = storage::disk(&self.directory) else {
            return Ok(());
        };
        let free = disk.free;
        if free.bytes >= self.bytes_min.saturating_add(bytes) && free.files >= self.files_min {
            return Ok(());
        }
        Err(NoRoom {
            needed_bytes,
            free_bytes: free.bytes,
            kept_bytes: self.bytes_min,
            free_files: free.files,
            kept_files: self.files_min,
        })
    }
}
