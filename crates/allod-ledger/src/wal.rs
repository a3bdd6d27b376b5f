//! The write-ahead log: what must be on disk before a signature leaves or a decision is told.
//!
//! # The format
//! The log is a row of segment files. A segment is a header and frames. A frame is a mark, its
//! payload's length, the offset known to be synced when it was written, a checksum, the payload,
//! and zeros up to a multiple of 16. The header says how long the file was when it was made: a file
//! only grows, so one that is shorter was cut. The checksum is BLAKE3 keyed by segment and owner over the
//! frame's offset and everything in it: a frame left over from another place or another use of the
//! file never passes.
//!
//! Behind the last frame lies what was written before, much of it blocks that others chose. So mark and key come from a
//! secret of the owner ([`Owner::secret`]): nobody can put into a block what looks like a frame here. Where frames are
//! looked for, only true ones are hashed, which do not overlap, so that opening takes time in proportion to the file,
//! whatever it holds.
//!
//! # What a damaged log means
//! A crash may leave frames that were not synced in any state. So where the first bad frame is
//! followed by nothing that claims to have been written after it was synced, the log ends there,
//! and the rest is cut off: nobody was told of it. Where a later good frame does claim so, synced
//! bytes have changed on the disk. That is damage, not a crash, and the log is refused by name.
//! Damage to the very last frame cannot be told from a crash; so a while after a sync an empty frame
//! is written ([`Wal::mark`]), which says that everything before it had been synced. It lies on a page
//! of its own, where nothing that harms the last frame's page takes it along, and the next frames are
//! written over it.
//!
//! # What a failed sync leaves behind
//! A kernel may drop what it could not write, take its pages for written, and go on showing them. The process ends
//! then, and the next one reads what is not on the disk. So a start writes once more, as it is, all that no frame says had
//! been synced, with the zeros behind it; what one does say was synced by a process that had written it, or written it
//! again, and had not failed. Earlier segments need nothing: a process that fails begins no other one.

mod frame;

use std::fmt;
use std::io;
use std::sync::Arc;

use allod_state::{NetworkId, codec};

use crate::disk::{self, Disk, DiskFile};
use crate::limits::WAL_SEGMENT_BYTES_MAX;
use crate::store::MENDING;
use frame::{FrameKey, beginning, claims_synced, decode_frame, encode_frame, frames_from, key_of};

const MAGIC: &[u8; 8] = b"ALLODWAL";
const VERSION: u32 = 2;
const HEADER: usize = 96;
/// Where the header says how long the file was; zero in segments that do not say it.
const LENGTH_AT: usize = 84;
/// Where it says whose secret its frames need.
const OWNER_AT: usize = 92;
/// What a drive loses at once.
const PAGE: u64 = 4_096;
/// A first segment that is being made; no segment has this name.
const UNMADE: &str = "wal-new";

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused.
    #[error("{what} the log segment {segment}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which segment.
        segment: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Synced bytes have changed.
    #[error(
        "the log segment {segment} is damaged at byte {offset}: data that was safely on disk has changed; \
         {MENDING}"
    )]
    Damaged {
        /// Which segment.
        segment: u64,
        /// Where.
        offset: u64,
    },
    /// It belongs to another network, key or version.
    #[error("the log segment {segment} is of another network, key or version")]
    Foreign {
        /// Which segment.
        segment: u64,
    },
}

impl WalError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if disk::is_full(source))
    }
}

/// Whose log it is.
#[derive(Clone, Copy)]
pub struct Owner {
    /// The network.
    pub network: NetworkId,
    /// What nobody else knows, and what is the same for as long as the log is kept.
    pub secret: [u8; 32],
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({})", self.network)
    }
}

/// What a log held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The payloads, in order.
    pub frames: Vec<Vec<u8>>,
    /// Whether the segment that had to be there was not.
    pub is_missing: bool,
}

/// An open log.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    owner: Owner,
    file: Box<dyn DiskFile>,
    segment: u64,
    key: FrameKey,
    end: u64,
    synced: u64,
    /// Up to where the last frame written says that everything is synced.
    claimed: u64,
    /// How much of a new segment is written with zeros at once, so that a sync later only has to
    /// move data and no file-system metadata.
    prepared_bytes: u64,
}

impl Wal {
    /// Opens the log from segment `first` on. Where there is none it stays away: who opens it has something to
    /// remember before a new one ([`Wal::create`]) could pass for it.
    ///
    /// # Errors
    /// Where it is damaged, foreign, or the file system refuses.
    pub fn open(
        disk: Arc<dyn Disk>,
        owner: Owner,
        first: u64,
        prepared_bytes: u64,
    ) -> Result<(Option<Self>, Recovered), WalError> {
        let io = |source| WalError::Io {
            what: "listing",
            segment: first,
            source,
        };
        let mut segments: Vec<u64> = disk
            .list()
            .map_err(io)?
            .iter()
            .filter_map(|name| segment_of(name))
            .collect();
        segments.retain(|segment| *segment >= first);
        let mut recovered = Recovered {
            is_missing: segments.first() != Some(&first),
            ..Recovered::default()
        };
        let Some((last, earlier)) = segments.split_last() else {
            return Ok((None, recovered));
        };
        for segment in earlier {
            let (_, read) = read_segment(&*disk, owner, *segment)?;
            recovered.take(read.ok_or(damaged_from_the_start(*segment))?);
        }
        let (file, read) = match read_segment(&*disk, owner, *last)? {
            (file, Some(read)) => (file, read),
            (_, None) if *last > first => {
                let wal = Self::begin(disk, owner, *last, prepared_bytes)?;
                return Ok((Some(wal), recovered));
            }
            (_, None) => return Err(damaged_from_the_start(*last)),
        };
        let end = read.end;
        let mut wal = Self {
            disk,
            owner,
            file,
            segment: *last,
            key: key_of(&owner, *last),
            end,
            synced: end,
            claimed: 0,
            prepared_bytes,
        };
        wal.settle(&read)?;
        recovered.take(read);
        match wal.mark() {
            // A log that cannot be vouched for yet is no worse than one that was just written.
            Err(error) if error.is_full() => {}
            other => other?,
        }
        Ok((Some(wal), recovered))
    }

    /// Makes the first segment of a log, whole or not at all.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn create(
        disk: Arc<dyn Disk>,
        owner: Owner,
        segment: u64,
        prepared_bytes: u64,
    ) -> Result<Self, WalError> {
        let name = name_of(segment);
        let io = |source| WalError::Io {
            what: "creating",
            segment,
            source,
        };
        let left_over = disk.open(UNMADE).map_err(io)?;
        left_over.set_len(0).map_err(io)?;
        let mut wal = Self::make(disk, UNMADE, owner, segment, prepared_bytes)?;
        wal.disk
            .rename(UNMADE, &name)
            .map_err(wal.io("beginning"))?;
        wal.file = wal.disk.open(&name).map_err(wal.io("opening"))?;
        Ok(wal)
    }

    /// Makes a segment behind others, in its own place: until it is whole, they are the log.
    fn begin(
        disk: Arc<dyn Disk>,
        owner: Owner,
        segment: u64,
        prepared_bytes: u64,
    ) -> Result<Self, WalError> {
        let name = name_of(segment);
        Self::make(disk, &name, owner, segment, prepared_bytes)
    }

    fn make(
        disk: Arc<dyn Disk>,
        name: &str,
        owner: Owner,
        segment: u64,
        prepared_bytes: u64,
    ) -> Result<Self, WalError> {
        let io = |source| WalError::Io {
            what: "creating",
            segment,
            source,
        };
        let file = disk.open(name).map_err(io)?;
        let zeros = vec![0; 1 << 16];
        while file.len().map_err(io)? < prepared_bytes {
            match file.write_at(file.len().map_err(io)?, &zeros) {
                // Preparing only saves time.
                Err(error) if disk::is_full(&error) => break,
                other => other.map_err(io)?,
            }
        }
        let end = to_u64(HEADER);
        let key = key_of(&owner, segment);
        let mut wal = Self {
            disk,
            owner,
            file,
            segment,
            key,
            end,
            synced: end,
            claimed: end,
            prepared_bytes,
        };
        wal.write_header()?;
        Ok(wal)
    }

    fn write_header(&mut self) -> Result<(), WalError> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&self.segment.to_le_bytes());
        header.extend_from_slice(self.owner.network.as_bytes());
        let sum = codec::hash_parts("allod wal header v1", &[&header]);
        header.extend_from_slice(&sum);
        let len = self.file.len().map_err(self.io("measuring"))?;
        header.extend_from_slice(&len.max(to_u64(HEADER)).to_le_bytes());
        header.extend_from_slice(&name_of_owner(&self.owner));
        self.file.write_at(0, &header).map_err(self.io("writing"))?;
        self.file.sync().map_err(self.io("syncing"))
    }

    /// Puts on the disk what was read back, and zeros behind it, so that nothing there can ever be read again. The
    /// file keeps its length all the while, and the room that was prepared.
    fn settle(&mut self, read: &SegmentRead) -> Result<(), WalError> {
        self.file
            .write_at(read.synced, &read.unsynced)
            .map_err(self.io("writing again the end of"))?;
        self.clear(self.end, read.dirty_end)?;
        match self.clear(read.dirty_end.max(self.end), read.len) {
            // What is shown as zeros is on the disk as well, unless a sync has failed here before.
            Err(error) if error.is_full() => {}
            other => other?,
        }
        self.file.sync().map_err(self.io("syncing"))
    }

    fn clear(&self, from: u64, to: u64) -> Result<(), WalError> {
        let zeros = [0; 1 << 16];
        let mut at = from;
        while at < to {
            let left = usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX);
            let piece = zeros.get(..left).unwrap_or(&zeros);
            self.file
                .write_at(at, piece)
                .map_err(self.io("clearing the end of"))?;
            at = at.saturating_add(to_u64(piece.len()));
        }
        Ok(())
    }

    fn io(&self, what: &'static str) -> impl Fn(io::Error) -> WalError + use<> {
        let segment = self.segment;
        move |source| WalError::Io {
            what,
            segment,
            source,
        }
    }

    /// Writes one frame with something in it; it is on disk after the next [`Wal::sync`]. After an error the same frame
    /// may be written again.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), WalError> {
        let frame = encode_frame(&self.key, self.end, self.synced, payload);
        self.file
            .write_at(self.end, &frame)
            .map_err(self.io("appending to"))?;
        self.end = self.end.saturating_add(to_u64(frame.len()));
        self.claimed = self.synced;
        Ok(())
    }

    /// Writes an empty frame that vouches for everything synced, unless the last frame does. It
    /// needs no sync of its own: until it is on disk, nothing is worse than without it.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn mark(&mut self) -> Result<(), WalError> {
        if self.claimed == self.synced || self.synced != self.end {
            return Ok(());
        }
        let at = self.end.next_multiple_of(PAGE);
        let frame = encode_frame(&self.key, at, self.synced, &[]);
        self.file
            .write_at(at, &frame)
            .map_err(self.io("marking the end of"))?;
        self.claimed = self.synced;
        Ok(())
    }

    /// Puts every frame on the disk.
    ///
    /// # Errors
    /// After an error nothing is known about the file: end the process.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.file.sync().map_err(self.io("syncing"))?;
        self.synced = self.end;
        Ok(())
    }

    /// Bytes in the open segment.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// The open segment's number.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Begins a new, empty segment, which is on disk when this returns. Segments from
    /// `needed_from` on stay; the file of an earlier one may be used again.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn rotate(&mut self, needed_from: u64) -> Result<(), WalError> {
        let next = self.segment.saturating_add(1);
        if let Some(spare) = self.segments_before(needed_from)?.first() {
            let (from, to) = (name_of(*spare), name_of(next));
            self.disk
                .rename(&from, &to)
                .map_err(self.io("reusing a file for"))?;
        }
        let (disk, owner) = (Arc::clone(&self.disk), self.owner);
        *self = Self::begin(disk, owner, next, self.prepared_bytes)?;
        Ok(())
    }

    /// Lets go of the segments before `needed_from`: one stays as the next segment's file.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn forget(&mut self, needed_from: u64) -> Result<(), WalError> {
        for old in self.segments_before(needed_from)?.iter().rev().skip(1) {
            self.disk
                .remove(&name_of(*old))
                .map_err(self.io("removing files before"))?;
        }
        Ok(())
    }

    fn segments_before(&self, needed_from: u64) -> Result<Vec<u64>, WalError> {
        let names = self.disk.list().map_err(self.io("listing"))?;
        let segments = names.iter().filter_map(|name| segment_of(name));
        let bound = needed_from.min(self.segment);
        Ok(segments.filter(|segment| *segment < bound).collect())
    }
}

/// Removes what the machine left that stopped while it was making its first segment. Only for a
/// folder where nothing can have been signed yet.
///
/// # Errors
/// Where a segment is damaged, foreign, or the file system refuses.
pub(crate) fn forget_unmade(disk: &dyn Disk, owner: Owner) -> Result<(), WalError> {
    let io = |source| WalError::Io {
        what: "listing",
        segment: 0,
        source,
    };
    for name in disk.list().map_err(io)? {
        let Some(segment) = segment_of(&name) else {
            continue;
        };
        if let (_, None) = read_segment(disk, owner, segment)? {
            disk.remove(&name).map_err(io)?;
        }
    }
    Ok(())
}

fn damaged_from_the_start(segment: u64) -> WalError {
    WalError::Damaged { segment, offset: 0 }
}

impl Recovered {
    fn take(&mut self, read: SegmentRead) {
        self.frames.extend(read.frames);
    }
}

struct SegmentRead {
    frames: Vec<Vec<u8>>,
    end: u64,
    /// Behind it only zeros are shown.
    dirty_end: u64,
    len: u64,
    /// Up to where it is known to be on the disk, and what follows there up to the end.
    synced: u64,
    unsynced: Vec<u8>,
}

/// Reads a segment; nothing where the machine stopped while it was being made.
fn read_segment(
    disk: &dyn Disk,
    owner: Owner,
    segment: u64,
) -> Result<(Box<dyn DiskFile>, Option<SegmentRead>), WalError> {
    let io = |what| {
        move |source| WalError::Io {
            what,
            segment,
            source,
        }
    };
    let file = disk.open(&name_of(segment)).map_err(io("opening"))?;
    let len = file
        .len()
        .map_err(io("measuring"))?
        .min(WAL_SEGMENT_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(0, &mut bytes).map_err(io("reading"))?;
    let key = key_of(&owner, segment);
    let has_header = has_header(&bytes, &owner, segment)?;
    if !has_header || len < length_when_made(&bytes) {
        // Frames are written only once the header and the whole length are on disk.
        return if frames_from(&key, &bytes, 0).next().is_some() {
            let offset = if has_header { len } else { 0 };
            Err(WalError::Damaged { segment, offset })
        } else {
            Ok((file, None))
        };
    }
    let (mut frames, mut synced) = (Vec::new(), 0);
    let mut at = HEADER;
    while let Some(frame) = decode_frame(&key, &bytes, at) {
        at = frame.next;
        synced = frame.synced.max(synced);
        if !frame.payload.is_empty() {
            frames.push(frame.payload);
        }
    }
    if claims_synced(&key, &bytes, at) {
        return Err(WalError::Damaged {
            segment,
            offset: to_u64(at),
        });
    }
    let dirty = bytes.iter().rposition(|byte| *byte != 0);
    let from = usize::try_from(synced).unwrap_or(usize::MAX);
    let read = SegmentRead {
        frames,
        end: to_u64(at),
        dirty_end: dirty.map_or(0, |last| to_u64(last).saturating_add(1)),
        len,
        synced,
        unsynced: bytes.get(from..at).unwrap_or_default().to_vec(),
    };
    Ok((file, Some(read)))
}

fn length_when_made(bytes: &[u8]) -> u64 {
    let field = bytes.get(LENGTH_AT..).and_then(|field| field.first_chunk());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

/// Whether the segment's own header is there, whole: not where it is torn, and not where the file
/// still has the header of its use before.
fn has_header(bytes: &[u8], owner: &Owner, segment: u64) -> Result<bool, WalError> {
    let Some((fields, rest)) = bytes.split_at_checked(52) else {
        return Ok(false);
    };
    let sum = codec::hash_parts("allod wal header v1", &[fields]);
    if !(rest.starts_with(&sum) && fields.starts_with(MAGIC)) {
        return Ok(false);
    }
    let is_ours = fields.get(8..12) == Some(&VERSION.to_le_bytes()[..])
        && fields.get(20..52) == Some(&owner.network.as_bytes()[..])
        && bytes.get(OWNER_AT..HEADER) == Some(&name_of_owner(owner)[..]);
    if is_ours {
        Ok(fields.get(12..20) == Some(&segment.to_le_bytes()[..]))
    } else {
        Err(WalError::Foreign { segment })
    }
}

/// Tells owners apart, and says nothing about their secrets.
fn name_of_owner(owner: &Owner) -> [u8; 4] {
    beginning(&codec::hash_parts("allod wal owner v2", &[&owner.secret]))
}

fn name_of(segment: u64) -> String {
    format!("wal-{segment:016x}")
}

pub(crate) fn segment_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("wal-")?, 16).ok()
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
