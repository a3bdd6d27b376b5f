//! Every bound on images: what a registry, an archive or a layer may make this machine do.

use std::time::Duration;

use crate::limits::{DISK_RESERVE_BYTES, DISK_RESERVE_FILES};

/// The largest manifest, index or image configuration that is read into memory.
pub const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most layers one image may have; overlayfs takes 128 and one is the container's own.
pub const LAYERS_MAX: usize = 127;
/// The longest image reference that is parsed.
pub const REFERENCE_BYTES_MAX: usize = 512;
/// The most entries one image index may list.
pub const INDEX_ENTRIES_MAX: usize = 1024;
/// The most redirects followed for one request.
pub const REDIRECTS_MAX: usize = 5;
/// The most addresses of one host that are dialled in turn.
pub const ADDRESSES_MAX: usize = 4;
/// The most bytes of an error answer that are read for its message.
pub const ERROR_BODY_BYTES_MAX: u64 = 16 * 1024;
/// The largest answer of a token service.
pub const TOKEN_BODY_BYTES_MAX: u64 = 256 * 1024;
/// The longest piece of peer-supplied text repeated in an error or a log line.
pub const QUOTED_CHARS_MAX: usize = 200;

/// The longest path inside a layer, as the kernel has it (`PATH_MAX` less the final zero).
pub const PATH_BYTES_MAX: usize = 4095;
/// The longest single name inside a layer (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// The most directories one inside the other.
pub const PATH_DEPTH_MAX: usize = 256;
/// The largest PAX header of one entry (extended attributes live there).
pub const PAX_BYTES_MAX: u64 = 1024 * 1024;
/// The largest GNU long name or long link record: a path and its zero.
pub const GNU_NAME_BYTES_MAX: u64 = 4096;
/// The most extended attributes on one entry.
pub const XATTRS_MAX: usize = 64;
/// Compression ratios are only judged beyond this many unpacked bytes.
pub const RATIO_FLOOR_BYTES: u64 = 256 * 1024 * 1024;
/// The most files an image archive given to `import` may hold.
pub const IMPORT_ENTRIES_MAX: u64 = 4096;
/// How much of an image is written before it is asked again whether the disk has room: with all that may be written at once
/// it is less than [`Limits::free_bytes_min`] has beyond the reserve.
pub const ROOM_STEP_BYTES: u64 = 2 * 1024 * 1024;
/// The largest zstd window that is decoded: what `zstd --long=27` writes.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The bounds an operator may move. [`Limits::default`] suits one ordinary machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest single compressed layer.
    pub layer_bytes_max: u64,
    /// The largest sum of an image's compressed layers.
    pub image_bytes_max: u64,
    /// The most entries in one layer.
    pub entries_max: u64,
    /// The largest single layer once unpacked, headers and padding included.
    pub unpacked_bytes_max: u64,
    /// The largest sum of an image's layers once unpacked, the bytes of their files.
    pub image_unpacked_bytes_max: u64,
    /// What images leave free of the disk.
    pub free_bytes_min: u64,
    /// How many files images leave to be made.
    pub free_files_min: u64,
    /// How many unpacked bytes one compressed byte may become, beyond [`RATIO_FLOOR_BYTES`].
    pub ratio_max: u64,
    /// How many layers of one image are fetched at once.
    pub parallel_layers: usize,
    /// How often one request is tried in all.
    pub attempts: u32,
    /// The first wait between two tries; it doubles, with jitter.
    pub backoff: Duration,
    /// The longest wait between two tries, also when a registry asks for a longer one.
    pub backoff_max: Duration,
    /// How long resolving a name, connecting and the TLS handshake may take, each.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin, and a body may stay silent.
    pub idle_timeout: Duration,
    /// How long one whole pull may take.
    pub pull_timeout: Duration,
    /// Whether image references may name a registry on this very machine (plain HTTP).
    /// An operator who takes strangers' workloads turns it off: it reaches local services.
    pub loopback_registries: bool,
    /// Whether registries and their redirects may live at private addresses (the owner's LAN).
    pub private_registries: bool,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        const GIB: u64 = 1024 * MIB;
        Self {
            layer_bytes_max: 8 * GIB,
            image_bytes_max: 16 * GIB,
            entries_max: 1_000_000,
            unpacked_bytes_max: 32 * GIB,
            // Four times what may be fetched for it; the largest known, of machine learning, take half.
            image_unpacked_bytes_max: 64 * GIB,
            // Room for what is written before it is asked again, so that no workload is ended for it.
            free_bytes_min: DISK_RESERVE_BYTES + 32 * MIB,
            free_files_min: 2 * DISK_RESERVE_FILES,
            ratio_max: 200,
            parallel_layers: 4,
            attempts: 4,
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            pull_timeout: Duration::from_secs(30 * 60),
            loopback_registries: true,
            private_registries: false,
        }
    }
}
