//! Every bound of this crate, with the reason for its size.

/// Longest request or answer frame on the root socket.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Descriptors that one frame may carry.
pub const FRAME_FDS_MAX: usize = 4;
/// Connections whose request has not arrived whole yet.
pub const PENDING_CONNECTIONS_MAX: usize = 64;
/// How long a connection may take to send its request.
pub const REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Requests worked on at once, each by a child of its own; further ones wait in the socket's backlog. Those of long requests
/// below leave some for all others.
pub const WORKERS_MAX: usize = 192;
/// Processes run beside workloads at once: as many as the API lets people run, and some for health checks.
pub const EXECS_MAX: usize = 80;
/// Workloads asked to stop at once: each may take its grace, which may be ten minutes.
pub const STOPS_MAX: usize = 64;
/// Volumes packed and filled at once: whoever is at the other end may be slow.
pub const VOLUMES_MOVED_MAX: usize = 8;
/// Layers unpacked at once: more would only make each slower.
pub const UNPACKINGS_MAX: usize = 8;
/// Long requests that wait for their turn, each with its connection and what was sent along.
pub const TURNS_MAX: usize = 256;
/// How long a command that is run beside a workload may take to begin: as long as whoever asked waits.
pub const EXEC_START_WAIT_MS: u64 = ANSWER_TIMEOUT_MS;
/// How long whoever ran a process beside a workload waits for what stood outside of it to end.
pub const EXEC_END_WAIT_MS: u64 = 1_000;
/// Longest report of a command that cannot begin: a number, and the name of a step.
pub const EXEC_REPORT_BYTES_MAX: usize = 256;
/// Long-lived `Watch` connections.
pub const WATCHERS_MAX: usize = 16;
/// How long a client waits for the answer to a quick request.
pub const ANSWER_TIMEOUT_MS: u64 = 30_000;
/// How long a client waits for a workload to start.
pub const CREATE_TIMEOUT_MS: u64 = 120_000;
/// How long a client waits while files are removed.
pub const REMOVE_TIMEOUT_MS: u64 = 10 * 60_000;
/// How long a client waits for a layer to be unpacked.
pub const UNPACK_TIMEOUT_MS: u64 = 30 * 60_000;

/// How long after the end of a workload what it left in the private network is removed, together
/// with what others left meanwhile.
pub const SWEEP_DELAY_MS: u64 = 1_000;

/// How long workloads that could not be stopped at first are tried again, when all are to be stopped; a grace may make it
/// longer.
pub const STOP_ALL_WAIT_MS: u64 = 5_000;
/// How soon one is tried again.
pub const STOP_AGAIN_MS: u64 = 50;
/// How often the private network is looked at while workloads run.
pub const TEND_PERIOD_MS: u64 = 3_000;
/// How seldom at most, where each look fails, or means writing all rules: beside the older packet filters.
pub const TEND_PERIOD_MS_MAX: u64 = 60_000;

/// Workloads that one installation keeps at most.
pub const WORKLOADS_MAX: usize = 1_000;
/// Layers of one image: overlayfs takes its list in one page of mount options.
pub const LAYERS_MAX: usize = 64;
/// Volumes of one workload.
pub const VOLUMES_MAX: usize = 32;
/// Files of one workload, and their size together: they lie in memory.
pub const FILES_MAX: usize = 64;
/// Bytes of all files of one workload together.
pub const FILES_BYTES_MAX: usize = 1024 * 1024;
/// Tmpfs mounts of one workload.
pub const TMPFS_MAX: usize = 16;
/// Environment variables of one workload.
pub const ENV_MAX: usize = 512;
/// Arguments of one command.
pub const ARGS_MAX: usize = 1_024;
/// Bytes of all arguments, or of all environment variables, together.
pub const ARGS_BYTES_MAX: usize = 128 * 1024;
/// Longest path that a specification may name inside a container.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Bytes of `/etc/passwd` or `/etc/group` of an image that are read to find a user.
pub const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

/// Files and folders of a volume that is filled from an archive.
pub const VOLUME_ENTRIES_MAX: u64 = 10_000_000;
/// How long a client waits while a volume is packed or filled.
pub const VOLUME_TIMEOUT_MS: u64 = 4 * 60 * 60_000;
/// Files that a new volume takes over from an image.
pub const SEED_ENTRIES_MAX: u64 = 200_000;
/// Bytes that a new volume takes over from an image.
pub const SEED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What the guard of the disk has before workloads where processors are busy: below 0 is more (`nice(2)`).
pub const GUARD_NICENESS: i32 = -10;
/// The longest pause between two looks at how full the disk is.
pub const GUARD_PAUSE_MS_MAX: u64 = 1_000;
/// The shortest one, where the disk is nearly full.
pub const GUARD_PAUSE_MS_MIN: u64 = 20;
/// How long a workload is not measured while the disk as a whole does not grow.
pub const GUARD_IDLE_MS: u64 = 30_000;
/// A workload rests so many times as long as measuring it took: that bounds what it costs.
pub const GUARD_REST_FACTOR: u32 = 20;
/// Bytes a second that nobody is thought to write faster than.
pub const WRITE_SPEED_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Files a second that nobody is thought to make faster than.
pub const FILE_SPEED_MAX: u64 = 200_000;
/// What is left of the disk for the machine itself: three times what the ledger needs to go on, so that whoever writes
/// into it can be ended in time.
pub const DISK_RESERVE_BYTES: u64 = 192 * 1024 * 1024;
/// Files that may still be made when only the machine itself shall make any.
pub const DISK_RESERVE_FILES: u64 = 4_096;
/// Growth between two looks that does not make anybody the one who fills the disk.
pub const GROWTH_BYTES_MIN: u64 = 1024 * 1024;
/// What every workload may write beside its volumes: directories that the runtime makes for it count, too.
pub const SCRATCH_BYTES_MIN: u64 = 1024 * 1024;
/// Files that the smallest workload may make.
pub const FILES_SHARE_MIN: u64 = 16_384;
/// Files with several names that one walk remembers, to count each once.
pub const LINKED_FILES_MAX: usize = 100_000;

/// Smallest memory limit: below it the init process of a container cannot even start.
pub const MEMORY_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Smallest processor share, in thousandths of a core.
pub const CPU_MILLI_MIN: u32 = 10;
/// Open files of a workload, where the host itself allows as many.
pub const NOFILE_MAX: u64 = 1_048_576;
/// Open files of a workload before it asks for more.
pub const NOFILE_DEFAULT: u64 = 1_024;
/// Longest grace between the stop signal and the kill.
pub const STOP_GRACE_MS_MAX: u64 = 10 * 60_000;
/// How far ahead a workload may be let run: whoever loses count grants nothing for ever.
pub const UNTIL_AHEAD_MS_MAX: u64 = 10_000;
/// How long a workload whose time is over may take to stand still before it is killed.
pub const FENCE_WAIT_MS: u64 = 1_000;
/// How often it is looked at meanwhile, and whether one that stands still may go on.
pub const FENCE_LOOK_MS: u64 = 25;
/// How long one that is about to start waits until it may.
pub const FENCE_START_WAIT_MS: u64 = 5_000;
/// How long the kernel may take to end everything in a killed cgroup.
pub const KILL_WAIT_MS: u64 = 10_000;

/// Longest log line; a longer one is cut into parts, each marked as such.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// An unfinished line is written out after this silence, so that prompts are seen.
pub const LOG_IDLE_MS: u64 = 250;
/// Reads of each output before a new shim waits for more: a pipe holds less than that.
pub const OUTPUT_READS_MAX: u32 = 64;
/// Smallest size of one log file.
pub const LOG_BYTES_MIN: u64 = 16 * 1024;
/// Largest size of one log file.
pub const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Log files kept of one workload.
pub const LOG_FILES_MAX: u32 = 16;
/// How long the shim still reads logs after the first process has ended.
pub const LOG_DRAIN_MS: u64 = 1_000;

/// Identities in the user namespace of one workload.
pub const USER_RANGE: u32 = 65_536;
/// First slot of [`USER_RANGE`] identities that is given to a workload (0x2000_0000).
pub const USER_SLOT_FIRST: u32 = 8_192;
/// One past the last slot of identities (0xE000_0000).
pub const USER_SLOT_END: u32 = 57_344;

/// Size of the journal at which it is rewritten without what is finished.
pub const JOURNAL_BYTES_MAX: u64 = 1024 * 1024;
/// Longest pause before the end of a workload that could not be written down is tried again: on a full disk that is no busy
/// loop, and soon after there is room, the end is told.
pub const SETTLE_PAUSE_MS_MAX: u64 = 5_000;
/// How often a shim tries to write down an end that nobody knows but itself.
pub const END_AGAIN_MS: u64 = 500;
/// First pause before a dead child process is started again; doubled each time.
pub const RESTART_PAUSE_MS: u64 = 200;
/// From which pause on it is said that a child process is down, whatever ended it.
pub const DOWN_PAUSE_MS: u64 = 1000;
/// Most of a child process's last words that are kept, in bytes.
pub const LAST_WORDS_BYTES_MAX: usize = 4096;
/// Longest pause before a dead child process is started again.
pub const RESTART_PAUSE_MS_MAX: u64 = 30_000;
/// A child process that lived as long starts again without a pause.
pub const RESTART_HEALTHY_MS: u64 = 60_000;
/// How long a starting root process waits for the lock of one that was killed.
pub const LOCK_WAIT_MS: u64 = 3_000;
