//! Every bound on a deploy file, in one place: what a foreign text can make this module hold or do.
//! The law's own bounds (services, replicas, ports, volumes) are those of `allod_state::limits`.

/// Largest deploy file, extended file or env file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest secret or config, in bytes.
pub const CONTENT_BYTES_MAX: u64 = 512 * 1024;
/// Deepest nesting of lists and maps.
pub const DEPTH_MAX: usize = 32;
/// Most nodes of a document after its aliases are expanded.
pub const NODES_MAX: usize = 50_000;
/// Most bytes of text of a document after its aliases are expanded.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest value after its variables are replaced, in bytes.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;
/// Most bytes that replacing variables may add to one document.
pub const REPLACED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting of `${A:-${B}}`.
pub const VARIABLE_DEPTH_MAX: usize = 8;
/// Longest chain of `extends`.
pub const EXTENDS_DEPTH_MAX: usize = 16;
/// Most files that one deploy file may draw in through `extends`, and through `include`.
pub const FILES_MAX: usize = 32;
/// Deepest folder inside a folder that travels with the app.
pub const FOLDER_DEPTH_MAX: usize = 8;
/// Most env files that one service may read.
pub const ENV_FILES_MAX: usize = 32;
/// Most bytes of text of all services together, what they extend merged in.
pub const MERGED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most problems reported for one deploy file.
pub const DIAGNOSTICS_MAX: usize = 200;
/// Most characters of a source line that a diagnostic shows.
pub const SHOWN_CHARS_MAX: usize = 160;
/// Most CPU of one replica, in thousandths, as the law has it.
pub const CPU_MILLI_MAX: u64 = 1_000_000;
/// Most memory of one replica, as the law has it.
pub const MEMORY_BYTES_MAX: u64 = 1 << 44;
/// Most storage of one replica or volume, as the law has it.
pub const STORAGE_BYTES_MAX: u64 = 1 << 50;
/// Longest duration, in milliseconds: ten years.
pub const DURATION_MS_MAX: u64 = 10 * 365 * 24 * 3_600_000;

// What a node's runtime takes of one service; beyond it a deployment would be signed and then fail.

/// Least memory of one replica.
pub const MEMORY_BYTES_MIN: u64 = 4 << 20;
/// Least CPU of one replica, in thousandths.
pub const CPU_MILLI_MIN: u64 = 10;
/// Longest grace between the stop signal and the kill.
pub const STOP_GRACE_MS_MAX: u64 = 10 * 60_000;
/// Smallest size of a log file.
pub const LOG_BYTES_MIN: u64 = 16 << 10;
/// Largest size of a log file.
pub const LOG_BYTES_MAX: u64 = 256 << 20;
/// Most log files kept.
pub const LOG_FILES_MAX: u32 = 16;
/// Most secrets and configs together.
pub const CONTENTS_MAX: usize = 64;
/// Most bytes of secrets and configs together.
pub const CONTENTS_BYTES_MAX: usize = 1 << 20;
/// Most folders held in memory.
pub const TMPFS_MAX: usize = 16;
/// Most environment variables.
pub const ENV_MAX: usize = 512;
/// Most bytes of all environment variables, or of all words of a command, together.
pub const WORDS_BYTES_MAX: usize = 128 << 10;
/// Longest path inside a container.
pub const PATH_BYTES_MAX: usize = 1_024;
