//! What a workload is, as plain data: its identity, what it asks for, how it is doing, how it ended.

use std::fmt;
use std::net::Ipv4Addr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

mod check;
mod id;

pub use check::InvalidSpec;
pub use id::{InstallationId, InvalidId, LayerId, VolumeName, WorkloadId};

/// Bytes that are never shown: zeroised when dropped, without contents in `Debug`. They are
/// serialised for one purpose, the request to the root process over its own socket.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = BASE64
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)?;
        Ok(Self::new(bytes))
    }
}

/// What an image says about itself, with its layers already unpacked in this installation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The digest of the manifest, for people: `sha256:…`.
    pub manifest: String,
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// The image's `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// The image's `Cmd`.
    pub command: Vec<String>,
    /// The image's `Env`, each `NAME=value`.
    pub env: Vec<String>,
    /// The image's `User`, possibly empty: `name`, `uid`, `name:group`, `uid:gid`.
    pub user: String,
    /// The image's `WorkingDir`, possibly empty.
    pub working_dir: String,
    /// The image's `StopSignal`, possibly empty.
    pub stop_signal: String,
}

/// What a workload may use at most; also what it is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor time in thousandths of a core.
    pub cpu_milli: u32,
    /// Memory in bytes; there is no swap beside it.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
}

/// A volume, seen at a path of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Which volume; it must have been made before.
    pub name: VolumeName,
    /// Where, as an absolute path.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
    /// What the volume may hold before its workload is ended; absent: no limit.
    pub bytes_max: Option<u64>,
}

/// A secret or configuration file. It lives in memory only, and is read-only inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMount {
    /// Where, as an absolute path.
    pub target: String,
    /// What it says.
    pub contents: Secret,
    /// Permission bits, for example `0o400`.
    pub mode: u32,
    /// Owner inside the container; absent: the user that the workload runs as.
    pub owner: Option<(u32, u32)>,
}

/// An empty file system in memory; it counts against the memory limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TmpfsMount {
    /// Where, as an absolute path.
    pub target: String,
    /// How much it holds.
    pub bytes_max: u64,
    /// Permission bits of its root, for example `0o1777`.
    pub mode: u32,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvVar {
    /// The name; no `=` and no NUL.
    pub name: String,
    /// The value; no NUL.
    pub value: Secret,
}

/// How much of the output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLimits {
    /// Size of one file.
    pub file_bytes_max: u64,
    /// Files kept, the one being written included.
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 4 * 1024 * 1024,
            files: 4,
        }
    }
}

/// All that the root process needs to know to run a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Which run of which lease.
    pub id: WorkloadId,
    /// Workloads with the same tag share one private network.
    pub app: [u8; 32],
    /// The host name inside.
    pub hostname: String,
    /// The service's name, for people.
    pub service: String,
    /// The image, unpacked.
    pub image: Image,
    /// Replaces the image's entrypoint, and drops its command.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Wins over the image's variables.
    pub env: Vec<EnvVar>,
    /// Replaces the image's user.
    pub user: Option<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Limits.
    pub resources: Resources,
    /// What it may write beside its volumes before it is ended; absent: no limit.
    pub storage_bytes_max: Option<u64>,
    /// Volumes.
    pub volumes: Vec<VolumeMount>,
    /// Secret and configuration files.
    pub files: Vec<FileMount>,
    /// File systems in memory.
    pub tmpfs: Vec<TmpfsMount>,
    /// Capabilities beside the default ones, such as `CAP_NET_RAW`; see [`crate::CAPABILITIES_ADDABLE`].
    pub cap_add: Vec<String>,
    /// Whether the root file system refuses writing.
    pub read_only_root: bool,
    /// The signal that asks it to stop; absent: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed.
    pub stop_grace_ms: u64,
    /// How much of its output is kept.
    pub logs: LogLimits,
    /// Until when it may run unless that is renewed, in milliseconds since the machine was booted, its sleep included (see
    /// [`crate::boot_ms`]): then it stands still. Absent: for ever.
    #[serde(default)]
    pub until_boot_ms: Option<u64>,
}

impl WorkloadSpec {
    /// The arguments of the first process: overrides first, then what the image says.
    pub fn args(&self) -> Vec<String> {
        let image_command = match (&self.entrypoint, &self.command) {
            (_, Some(command)) => command.clone(),
            (Some(_), None) => Vec::new(),
            (None, None) => self.image.command.clone(),
        };
        let mut args = self
            .entrypoint
            .clone()
            .unwrap_or_else(|| self.image.entrypoint.clone());
        args.extend(image_command);
        args
    }
}

/// How far a workload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Being made; its first process does not run yet.
    Created,
    /// Its first process runs.
    Running {
        /// The first process, as the host numbers it.
        pid: i32,
        /// The address inside the app's network.
        address: Ipv4Addr,
        /// When it started, in milliseconds since 1970.
        started_ms: u64,
    },
    /// It ended; its logs and its writable layer are kept until it is deleted.
    Exited {
        /// Why.
        cause: EndCause,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// How a workload is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which.
    pub id: WorkloadId,
    /// The app's tag, as given.
    pub app: [u8; 32],
    /// The service's name, as given.
    pub service: String,
    /// Until when it may run, in boot time, where it may for a time only.
    pub until_boot_ms: Option<u64>,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
}

/// Why a workload runs no longer. A closed list: each has its consequence for the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum EndCause {
    /// The first process ended by itself.
    #[error("exited with code {code}")]
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal that nobody here sent ended the first process.
    #[error("ended by signal {signal}")]
    Signaled {
        /// Which.
        signal: i32,
    },
    /// It used more memory than its limit.
    #[error("ended for want of memory: raise its memory limit")]
    OutOfMemory,
    /// It wrote more than it may.
    #[error(
        "ended for want of storage: {place} took {} KiB of {} KiB: {}",
        used_bytes.div_ceil(1024),
        limit_bytes / 1024,
        place.next_step()
    )]
    StorageExceeded {
        /// Where.
        place: StoragePlace,
        /// How much it took when that was noticed, or what of it was counted.
        used_bytes: u64,
        /// How much it may take.
        limit_bytes: u64,
    },
    /// It made more files than its part of the disk has room for.
    #[error(
        "ended for want of storage: {place} held {used_files} files of {limit_files}: {}, or keep fewer files",
        place.next_step()
    )]
    FilesExceeded {
        /// Where.
        place: StoragePlace,
        /// How many it had when that was noticed, or how many of them were counted.
        used_files: u64,
        /// How many it may have.
        limit_files: u64,
    },
    /// The disk of this machine was nearly full, and it was who wrote most.
    #[error(
        "ended because the machine's disk is nearly full ({} MiB left): its operator has to make room",
        free_bytes >> 20
    )]
    DiskFull {
        /// What was left.
        free_bytes: u64,
    },
    /// A layer of its image is not unpacked here.
    #[error("layer {layer} is not on this machine: pull the image again")]
    ImageMissing {
        /// Which.
        layer: LayerId,
    },
    /// Contents did not match their digest.
    #[error("{what} does not match its digest: pull the image again")]
    BadDigest {
        /// What was read.
        what: String,
    },
    /// Its first process could not be started.
    #[error("could not start: {fault}")]
    StartFailed {
        /// What was wrong.
        fault: StartFault,
    },
    /// It was stopped by request.
    #[error("stopped")]
    Stopped,
    /// Its shim and the root process died before it: how it ended is not known.
    #[error("lost: the machine or the process that watched it went away")]
    Lost,
}

/// A place that a workload writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum StoragePlace {
    /// Its own files.
    #[error("what it wrote beside its volumes")]
    Scratch,
    /// A volume.
    #[error("its volume at {target}")]
    Volume {
        /// Where the volume is seen.
        target: String,
    },
    /// All of it, with files that it has deleted and still holds open.
    #[error("what it wrote, with deleted files that it holds open,")]
    Deleted,
}

impl StoragePlace {
    /// What to try next.
    fn next_step(&self) -> &'static str {
        match self {
            Self::Scratch => "raise the service's `storage` (x-allod), or write less",
            Self::Volume { .. } => "raise the volume's `size` (x-allod), or write less to it",
            Self::Deleted => "close what is deleted, or raise the service's `storage` (x-allod)",
        }
    }
}

/// What kept a workload from starting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum StartFault {
    /// Neither the specification nor the image names a command.
    #[error("there is no command: set `command` or `entrypoint`")]
    NoCommand,
    /// The command is not in the image.
    #[error("command `{command}` not found in the image: check `command` and `entrypoint`")]
    CommandNotFound {
        /// As asked for.
        command: String,
    },
    /// The command is there, but cannot be executed.
    #[error("command `{command}` cannot be executed: {why}")]
    CommandNotExecutable {
        /// As asked for.
        command: String,
        /// What the kernel says.
        why: String,
    },
    /// The image has no such user.
    #[error("user `{user}` is not in the image's /etc/passwd or /etc/group")]
    UnknownUser {
        /// As asked for.
        user: String,
    },
    /// The working directory is a file, or cannot be made.
    #[error("working directory `{path}` cannot be used: {why}")]
    WorkingDirectory {
        /// As asked for.
        path: String,
        /// What was wrong.
        why: String,
    },
    /// Something cannot be mounted where it should be.
    #[error("`{target}` cannot be mounted: {why}")]
    Mount {
        /// The path inside the container.
        target: String,
        /// What was wrong.
        why: String,
    },
    /// The host refused a step that does not depend on the workload.
    #[error("the host refused to {step}: {why}")]
    Host {
        /// Which step.
        step: String,
        /// What was wrong.
        why: String,
    },
}

/// What a workload has used, as the host measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time since its start.
    pub cpu_ns: u64,
    /// Memory now.
    pub memory_bytes: u64,
    /// Most memory at any time.
    pub memory_peak_bytes: u64,
    /// Processes and threads now.
    pub pids: u64,
    /// Bytes received from the network since its start.
    pub net_rx_bytes: u64,
    /// Bytes sent to the network since its start.
    pub net_tx_bytes: u64,
    /// Bytes read from block devices since its start.
    pub block_read_bytes: u64,
    /// Bytes written to block devices since its start.
    pub block_write_bytes: u64,
    /// What it takes on disk, where that was asked for: finding out walks its files.
    pub storage: Option<StorageUsage>,
}

/// What a workload takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageUsage {
    /// Bytes of its writable layer.
    pub upper_bytes: u64,
    /// Bytes of its volumes.
    pub volume_bytes: u64,
}

#[cfg(test)]
mod tests;
