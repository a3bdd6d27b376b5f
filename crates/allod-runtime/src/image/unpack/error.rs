//! Why a layer is not unpacked. A layer is taken whole or not at all.

use std::io;
use std::path::PathBuf;

use crate::image::digest::Digest;
use crate::image::limits::QUOTED_CHARS_MAX;
use crate::image::room::NoRoom;
use crate::image::store::StoreError;

/// Why a layer was not unpacked; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The blob is not the one that was asked for.
    #[error("the layer blob {expected} hashes to {actual}; pull the image again")]
    BadDigest {
        /// The blob's name.
        expected: Digest,
        /// What its bytes are.
        actual: Digest,
    },
    /// The archive inside the blob is not the one the image's configuration names.
    #[error(
        "the archive in layer {layer} hashes to {actual}, but the image says {expected}; \
             the image was built wrongly or tampered with"
    )]
    BadDiffId {
        /// The blob's name.
        layer: Digest,
        /// As the image says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The archive breaks a rule.
    #[error("layer {layer} is refused: {refusal} (entry {number}: {entry:?})")]
    Refused {
        /// The blob's name.
        layer: Digest,
        /// The entry's number, from 1.
        number: u64,
        /// The entry's name, as far as it is known.
        entry: String,
        /// The rule.
        refusal: Refusal,
    },
    /// The compressed stream does not decode.
    #[error("layer {layer} does not decompress; pull the image again")]
    Damaged {
        /// The blob's name.
        layer: Digest,
        /// What the decoder says.
        source: io::Error,
    },
    /// The blob is of a kind that does not unpack.
    #[error("layer {layer} has the media type {media_type:?}, which does not unpack")]
    Unsupported {
        /// The blob's name.
        layer: Digest,
        /// What it is said to be.
        media_type: String,
    },
    /// This machine's file system refused.
    #[error("cannot {action} {path} while unpacking; is the disk full?")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk has no room for it.
    #[error("no room to unpack layer {layer}")]
    NoRoom {
        /// The blob's name.
        layer: Digest,
        /// What was needed, and what there is.
        source: NoRoom,
    },
    /// The layers of the image are too large together.
    #[error(
        "the image unpacks to more than {limit} bytes, which is what this machine takes; \
             use a smaller image"
    )]
    ImageTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The image store refused.
    #[error("the image store cannot give or take a layer")]
    Store(#[from] StoreError),
}

/// The rule an archive breaks. The names are stable: they are part of what a user is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The archive ends inside an entry.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// A header whose checksum is wrong.
    #[error("an entry's header has a wrong checksum")]
    BadChecksum,
    /// A header in no known dialect.
    #[error("an entry's header is not in a tar format")]
    BadMagic,
    /// A number field that is not a number, or out of range.
    #[error("the field {0} of an entry's header is not a valid number")]
    BadNumber(&'static str),
    /// Something after the end of the archive.
    #[error("there is data after the end of the archive")]
    TrailingData,
    /// Extension records in an order that readers disagree on.
    #[error("extension records contradict each other or belong to no entry")]
    ContradictoryRecords,
    /// An extension record longer than allowed.
    #[error("an extension record is too long")]
    RecordTooLong,
    /// A PAX record that does not parse.
    #[error("a PAX record is malformed")]
    BadPax,
    /// A global PAX record that would change the entries after it.
    #[error("a global PAX record changes the meaning of other entries")]
    GlobalPax,
    /// The two places for a size disagree: entries could be smuggled past one reader.
    #[error("the PAX size and the header size disagree")]
    SizeConflict,
    /// Contents on an entry that has none.
    #[error("a directory, link or pipe claims to have contents")]
    UnexpectedContents,
    /// Sparse files.
    #[error("sparse entries are not supported")]
    Sparse,
    /// A type that is not a file, directory, link or pipe.
    #[error("an entry is of an unknown type")]
    UnknownType,
    /// A character or block device.
    #[error("device nodes do not belong in an image")]
    DeviceNode,
    /// An absolute path.
    #[error("a path is absolute")]
    AbsolutePath,
    /// A path with `..`.
    #[error("a path climbs out with \"..\"")]
    ParentPath,
    /// A path that names nothing, or a file named as a directory.
    #[error("a path is empty or ends like a directory")]
    EmptyPath,
    /// A zero byte inside a name.
    #[error("a name contains a zero byte")]
    ZeroInName,
    /// One name longer than the file system allows.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// A path longer than the system allows.
    #[error("a path is longer than 4095 bytes")]
    PathTooLong,
    /// Too many directories one inside the other.
    #[error("directories are nested too deeply")]
    TooDeep,
    /// A path that leads through a symbolic link of the same layer.
    #[error("a path leads through a symbolic link")]
    ThroughSymlink,
    /// A path that leads through something that is not a directory.
    #[error("a path leads through something that is not a directory")]
    ThroughFile,
    /// A directory over a file, or a file over a directory.
    #[error("an entry replaces a directory by something else, or something else by a directory")]
    KindChanged,
    /// A symbolic link to nowhere in particular.
    #[error("a symbolic link has no target, or one that is too long")]
    BadSymlink,
    /// A hard link that leaves the layer.
    #[error("a hard link points outside the layer")]
    LinkOutside,
    /// A hard link to something that is not in the layer yet.
    #[error("a hard link points to nothing in this layer")]
    LinkMissing,
    /// A hard link to a directory, a whiteout or itself.
    #[error("a hard link points to a directory, a whiteout or itself")]
    LinkKind,
    /// A whiteout that hides nothing nameable, or is not an empty file.
    #[error("a whiteout is malformed")]
    BadWhiteout,
    /// `.wh.` where only a last name may have it.
    #[error("a name reserved for whiteouts is used as a directory")]
    ReservedName,
    /// An extended attribute that overlayfs would obey.
    #[error("an extended attribute would forge file system metadata")]
    ForgedXattr,
    /// Too many extended attributes, or one that is too long.
    #[error("an entry has too many or too long extended attributes")]
    XattrTooLong,
    /// A capability attribute that is not one.
    #[error("a file capability is malformed")]
    BadCapability,
    /// An owner outside the range of user ids.
    #[error("an owner is not a valid user or group id")]
    BadOwner,
    /// More entries than allowed.
    #[error("the archive has more entries than this machine takes")]
    TooManyEntries,
    /// More bytes than allowed.
    #[error("the archive is larger than this machine takes")]
    TooManyBytes,
    /// A decompression bomb.
    #[error("the archive expands suspiciously far")]
    Bomb,
}

/// A name from the archive as it may be shown: escaped, and cut.
pub(in crate::image) fn shown(name: &[u8]) -> String {
    let kept = &name[..name.len().min(QUOTED_CHARS_MAX)];
    kept.escape_ascii().to_string()
}
