//! A volume's data out of an archive, by the rules of layers: no name leads out, and nobody is believed.
//!
//! There are no whiteouts: names are names. Blocks of nothing but zeros become holes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use flate2::bufread::GzDecoder;

use super::error::Refusal;
use super::tar::{Archive, ReadError};
use super::tree::{Tree, TreeError};
use super::{Stop, shown};
use crate::image::room::NoRoom;
use crate::limits::{USER_RANGE, VOLUME_ENTRIES_MAX};

/// A block of a file that is left out where it holds nothing.
const HOLE: usize = 4096;

/// Why an archive did not become a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// It breaks a rule.
    #[error("it is refused: {refusal} (entry {number}: {entry:?})")]
    Refused {
        /// The entry's number, from 1.
        number: u64,
        /// The entry's name, as far as it is known.
        entry: String,
        /// The rule.
        refusal: Refusal,
    },
    /// It does not decompress.
    #[error("it is damaged: {0}")]
    Damaged(io::Error),
    /// The disk has no room for it.
    #[error("there is no room for it: {0}")]
    NoRoom(NoRoom),
    /// The file system refused.
    #[error("could not {action} {entry:?}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which entry.
        entry: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Fills the empty directory `root`. `has_room` is asked again and again. Where it fails,
/// the directory is to be removed.
pub(crate) fn fill(
    archive: File,
    root: OwnedFd,
    has_room: impl Fn() -> Result<(), NoRoom>,
) -> Result<(), VolumeError> {
    let unpacked = GzDecoder::new(io::BufReader::new(archive));
    let mut archive = Archive::new(unpacked);
    let mut tree = Tree::without_whiteouts(root);
    let filled = take_entries(&mut archive, &mut tree, has_room);
    let filled = filled.and_then(|()| tree.finish().map(drop).map_err(Stop::from));
    filled.map_err(|stop| {
        let (name, number) = archive.place();
        let entry = shown(name);
        match stop {
            Stop::Read(ReadError::Refused(refusal)) | Stop::Tree(TreeError::Refused(refusal)) => {
                VolumeError::Refused {
                    number,
                    entry,
                    refusal,
                }
            }
            Stop::Read(ReadError::Stream(source)) => VolumeError::Damaged(source),
            Stop::Tree(TreeError::Io(action, source)) => VolumeError::Io {
                action,
                entry,
                source,
            },
            Stop::Room(full) => VolumeError::NoRoom(full),
        }
    })
}

fn take_entries<R: Read>(
    archive: &mut Archive<R>,
    tree: &mut Tree,
    has_room: impl Fn() -> Result<(), NoRoom>,
) -> Result<(), Stop> {
    let mut buffer = vec![0; 1024 * 1024];
    let mut count = 0_u64;
    while let Some(entry) = archive.next()? {
        count += 1;
        if count > VOLUME_ENTRIES_MAX {
            return Err(TreeError::from(Refusal::TooManyEntries).into());
        }
        if entry.uid >= USER_RANGE || entry.gid >= USER_RANGE {
            return Err(TreeError::from(Refusal::BadOwner).into());
        }
        if count.is_multiple_of(1024) {
            has_room()?;
        }
        tree.place(&entry, |file| -> Result<(), Stop> {
            let written = |error| TreeError::Io("write", error);
            loop {
                let filled = read_full(archive, &mut buffer)?;
                let Some(read) = buffer.get(..filled).filter(|read| !read.is_empty()) else {
                    // What ends with a hole is as long as it was.
                    return Ok(file.set_len(entry.size).map_err(written)?);
                };
                if filled == buffer.len() {
                    has_room()?;
                }
                write_sparse(file, read).map_err(written)?;
            }
        })?;
    }
    Ok(())
}

/// Reads until the buffer is full or the entry ends, so that blocks are whole ones.
fn read_full<R: Read>(archive: &mut Archive<R>, buffer: &mut [u8]) -> Result<usize, ReadError> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match archive.read_contents(room)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for block in bytes.chunks(HOLE) {
        if block.iter().all(|byte| *byte == 0) {
            let length = i64::try_from(block.len()).map_err(io::Error::other)?;
            file.seek(SeekFrom::Current(length))?;
        } else {
            file.write_all(block)?;
        }
    }
    Ok(())
}
