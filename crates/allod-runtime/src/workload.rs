//! What a workload is, as plain data: its identity, what it asks for, how it is doing, how it ended.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

mod check;

pub use check::InvalidSpec;

/// Text that is not an identity of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(96).collect(),
            expected,
        }
    }
}

/// Tells the installations on one machine apart. It is part of the name of everything they put
/// on the host, so that each finds, and removes, only its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstallationId([u8; 4]);

impl InstallationId {
    /// The identity that follows from bytes which are unique to the installation, for example
    /// the public key of its node.
    pub fn derive(seed: &[u8]) -> Self {
        let hash = blake3::derive_key("allod runtime installation 1", seed);
        Self([hash[0], hash[1], hash[2], hash[3]])
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for InstallationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| InvalidId::new(text, "an installation: 8 hexadecimal digits"))
    }
}

impl TryFrom<String> for InstallationId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<InstallationId> for String {
    fn from(id: InstallationId) -> Self {
        id.to_string()
    }
}

/// One run of one replica: the lease and its epoch. Written `<lease in hex>-<epoch>`, which is
/// also the name of its directory and of its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadId {
    /// The lease that this workload serves.
    pub lease: [u8; 32],
    /// The fencing token: a higher epoch of the same lease supersedes a lower one.
    pub epoch: u64,
}

impl WorkloadId {
    /// Ten characters that stand for this workload where the kernel allows only fifteen.
    pub fn tag(&self, installation: InstallationId) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("allod runtime workload tag 1");
        hasher.update(&installation.0);
        hasher.update(&self.lease);
        hasher.update(&self.epoch.to_le_bytes());
        HEXLOWER.encode(&hasher.finalize().as_bytes()[..5])
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", HEXLOWER.encode(&self.lease), self.epoch)
    }
}

impl FromStr for WorkloadId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a workload: <lease in hex>-<epoch>");
        let (lease, epoch) = text.split_once('-').ok_or_else(invalid)?;
        let id = Self {
            lease: decode_hex(lease).ok_or_else(invalid)?,
            epoch: epoch.parse().map_err(|_| invalid())?,
        };
        // One identity has one name; "007" or upper case would be a second one.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for WorkloadId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<WorkloadId> for String {
    fn from(id: WorkloadId) -> Self {
        id.to_string()
    }
}

/// SHA-256 of an uncompressed layer (its `diff_id`), and the name of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(pub [u8; 32]);

impl LayerId {
    /// The hexadecimal digits alone, as used for the name of the layer's directory.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for LayerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("sha256:")
            .and_then(decode_hex)
            .map(Self)
            .ok_or_else(|| InvalidId::new(text, "a layer: sha256: and 64 hexadecimal digits"))
    }
}

impl TryFrom<String> for LayerId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.to_string()
    }
}

/// The name of a volume of this installation: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or
/// digit. Whoever calls makes it unique, for example from the app and the volume's own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

impl VolumeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| plain(byte) || b"._-".contains(&byte))
            && text.bytes().next().is_some_and(plain);
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(text, "a volume: 1 to 64 of a-z 0-9 . _ -"))
        }
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VolumeName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

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

fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !is_lower {
        return None;
    }
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
