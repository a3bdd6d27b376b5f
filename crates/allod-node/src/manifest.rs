//! The sealed half of an app: everything a node needs to run it, and nobody else may read.
//!
//! A manifest is plain data with one canonical encoding: a version byte, then borsh with strictly
//! ordered maps. Equal manifests have equal bytes, so the hash that the ledger keeps names exactly
//! one of them. What the law must see (replicas, resources, constraints) is not here but in the
//! public demand. Environment values and file contents are [`Hidden`]: no debug output shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) mod tests;

/// The version that [`Manifest::to_bytes`] writes, as the first byte of the encoding.
pub const VERSION: u8 = 1;

/// The longest encoding that [`Manifest::from_bytes`] accepts: sealed, it must fit into what the law
/// keeps beside the ledger.
pub const BYTES_MAX: usize = 1024 * 1024 - 4096;

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are more than [`BYTES_MAX`].
    #[error("a manifest of {bytes} bytes is over the limit of {BYTES_MAX}")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// There is not even a version byte.
    #[error("a manifest of no bytes has no version")]
    Empty,
    /// Another version of Allod wrote them.
    #[error("manifest version {found} is not known here, only {VERSION}; upgrade this node")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// They are not the canonical encoding of any manifest.
    #[error("the body of the manifest is not canonical")]
    Body(#[source] std::io::Error),
}

/// One app as its owner wrote it, lowered to integers and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// The app's name, a DNS label.
    pub app: String,
    /// The services by name.
    pub services: BTreeMap<String, Service>,
    /// The named volumes that the services mount.
    pub volumes: BTreeMap<String, Volume>,
}

/// A named volume of the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Volume {
    /// Its capacity.
    pub bytes: u64,
    /// Labels the owner gave it.
    pub labels: BTreeMap<String, String>,
}

/// One service: what to run, and how to tell that it runs well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Service {
    /// The image to run.
    pub image: Image,
    /// Replaces the image's entrypoint when given; empty means none at all.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command when given; empty means none at all.
    pub command: Option<Vec<String>>,
    /// Environment variables added to, or replacing, those of the image.
    pub env: BTreeMap<String, Hidden<String>>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Replaces the image's user: `name`, `uid`, `name:group` or `uid:gid`.
    pub user: Option<String>,
    /// Where named volumes appear.
    pub mounts: Vec<Mount>,
    /// Directories held in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Secrets and configs, written before the process starts.
    pub files: Vec<File>,
    /// Ports the process listens on.
    pub ports: Vec<Port>,
    /// Host names under which the ingress answers for this service.
    pub ingress: Vec<Ingress>,
    /// When a replica may get traffic and starts to be billed; `None` means as soon as it runs.
    pub readiness: Option<Probe>,
    /// When a running replica must be restarted; `None` means only when its process ends.
    pub liveness: Option<Probe>,
    /// Services of the same app that must reach a condition before this one starts.
    pub depends_on: BTreeMap<String, Condition>,
    /// What happens when the process ends by itself.
    pub restart: Restart,
    /// The signal that asks the process to stop, as `SIGTERM`; `None` means the image's.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed.
    pub stop_grace_ms: u64,
    /// Capabilities added to those that every container has, as `CAP_NET_RAW`.
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken from those that every container has, each by its name, as `CAP_CHOWN`.
    pub cap_drop: BTreeSet<String>,
    /// Is the root file system read-only?
    pub read_only: bool,
    /// Replaces the host name, which is otherwise the service's name.
    pub hostname: Option<String>,
    /// Further names under which the app's other services find this one.
    pub aliases: BTreeSet<String>,
    /// Names resolved to fixed addresses inside the container.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// Labels the owner gave it.
    pub labels: BTreeMap<String, String>,
    /// How much of its output is kept.
    pub logs: Logs,
    /// Does a reaping init run as process 1?
    pub init: bool,
    /// The size of `/dev/shm`; `None` means the runtime's default.
    pub shm_bytes: Option<u64>,
    /// How many processes and threads it may have; `None` means the runtime's default.
    pub pids_max: Option<u32>,
}

/// Which image, and the digest that its tag meant when the app was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Image {
    /// The reference as the owner wrote it, such as `postgres:17`.
    pub reference: String,
    /// The manifest digest, as `sha256:` and 64 hex digits. It is `None` only before the tag has
    /// been resolved, which happens before anything is signed.
    pub digest: Option<String>,
    /// Where its bytes come from.
    pub source: ImageSource,
}

/// Where the bytes of an image come from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// The registry that the reference names.
    Registry,
    /// An archive that the owner handed to the node; the digest alone names it.
    Archive,
}

/// A named volume at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Mount {
    /// A key of [`Manifest::volumes`].
    pub volume: String,
    /// The absolute path inside the container.
    pub target: String,
    /// Is writing refused?
    pub read_only: bool,
}

/// A directory held in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Tmpfs {
    /// The absolute path inside the container.
    pub target: String,
    /// Its capacity; `None` means the runtime's default. It counts as the service's memory.
    pub bytes_max: Option<u64>,
    /// Its permission bits; `None` means the runtime's default.
    pub mode: Option<u32>,
}

/// A secret or config, written before the process starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct File {
    /// The absolute path inside the container.
    pub target: String,
    /// Its permission bits.
    pub mode: u32,
    /// The owning user inside the container.
    pub uid: u32,
    /// The owning group inside the container.
    pub gid: u32,
    /// Is it a secret, to be kept in memory only, rather than a config?
    pub is_secret: bool,
    /// What it holds.
    pub bytes: Hidden<Vec<u8>>,
}

/// A port the process listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Port {
    /// The port inside the container.
    pub container: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port of the machine that leads to it; `None` means only the app's services reach it.
    pub published: Option<Published>,
}

/// A port of the machine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
pub struct Published {
    /// The address to bind; `None` means loopback.
    pub host_ip: Option<IpAddr>,
    /// The port to bind; 0 means that the node picks a free one and reports it.
    pub port: u16,
}

/// What a port speaks.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A host name (and path) whose HTTP requests go to a port of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Ingress {
    /// The host name, in lower case.
    pub host: String,
    /// The container port to send requests to.
    pub port: u16,
    /// The path prefix to match, starting with `/`.
    pub path: String,
}

/// A repeated question to a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Probe {
    /// The question.
    pub check: Check,
    /// The pause between two questions.
    pub interval_ms: u64,
    /// How long one answer may take.
    pub timeout_ms: u64,
    /// How many failures in a row count as a failed probe.
    pub retries: u32,
    /// How long after the start failures do not count.
    pub start_period_ms: u64,
    /// How long after the start the first success must have come, or the start has failed.
    pub within_ms: u64,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Does a GET answer with a status from 200 to 399?
    Http {
        /// The path with its query, starting with `/`.
        path: String,
        /// The container port.
        port: u16,
    },
    /// Does the port accept a connection?
    Tcp {
        /// The container port.
        port: u16,
    },
    /// Does a command inside the container exit with 0?
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
    },
}

/// What a service must have reached before one that depends on it starts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its process runs.
    Started,
    /// Its readiness probe has succeeded.
    Healthy,
    /// Its process has exited with 0.
    Completed,
}

/// What happens when the process of a replica ends by itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// It is started again, whatever its exit code.
    Always,
    /// It is started again unless its exit code was 0.
    OnFailure {
        /// How many times at most; `None` means without end.
        retries_max: Option<u32>,
    },
    /// It stays ended.
    Never,
}

/// How much of a replica's output is kept.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
pub struct Logs {
    /// The size at which a file is rotated.
    pub file_bytes_max: u64,
    /// How many files are kept, the current one included.
    pub files_max: u32,
}

/// A value that debug output does not show, such as a password in an environment variable.
#[derive(
    Clone, Default, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(transparent)]
pub struct Hidden<T>(pub T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

impl<T> Deref for Hidden<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Service {
    /// The canonical encoding of this service alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("writing to a Vec cannot fail")
    }
}

impl Manifest {
    /// The canonical encoding. It is the input of [`Manifest::from_bytes`], and of encryption.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        borsh::to_writer(&mut bytes, self).expect("writing to a Vec cannot fail");
        bytes
    }

    /// Reads what [`Manifest::to_bytes`] wrote, and refuses every other byte string.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > BYTES_MAX {
            return Err(DecodeError::TooLong { bytes: bytes.len() });
        }
        match bytes.split_first() {
            None => Err(DecodeError::Empty),
            Some((&VERSION, body)) => borsh::from_slice(body).map_err(DecodeError::Body),
            Some((&found, _)) => Err(DecodeError::Version { found }),
        }
    }
}
