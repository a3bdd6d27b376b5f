//! What the root process can be asked to do, and what it answers: a closed list.
//!
//! One connection carries one request. The first frame is the request; the last one the answer.
//! [`Request::Exec`] answers twice: with descriptors when the process runs, then with its end.
//! [`Request::Watch`] answers without end.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::{Budget, Freed, NoRoom};
use crate::workload::{
    EndCause, InstallationId, LayerId, Resources, Status, Usage, VolumeName, WorkloadId,
    WorkloadSpec,
};

/// An operation of the root process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Who are you?
    Identify,
    /// Make and start a workload.
    Create { spec: Box<WorkloadSpec> },
    /// All workloads of this installation.
    List,
    /// One of them.
    Status { id: WorkloadId },
    /// Run one more process inside.
    Exec { exec: ExecSpec },
    /// Send a signal to the first process.
    Signal { id: WorkloadId, signal: i32 },
    /// Ask it to stop, then kill it.
    Stop {
        id: WorkloadId,
        signal: Option<i32>,
        grace_ms: Option<u64>,
    },
    /// Stop its time, or let it go on.
    Freeze { id: WorkloadId, is_frozen: bool },
    /// Let workloads that may run until some time run on until then.
    Renew {
        until_boot_ms: Vec<(WorkloadId, u64)>,
    },
    /// Change its limits while it runs.
    Resize {
        id: WorkloadId,
        resources: Resources,
    },
    /// Kill it if it runs, and remove everything of it but its volumes.
    Delete { id: WorkloadId },
    /// Measure.
    Usage {
        ids: Vec<WorkloadId>,
        with_storage: bool,
    },
    /// Unpack the layer whose blob is the descriptor sent along, to so many bytes at most.
    UnpackLayer {
        layer: LayerId,
        media_type: String,
        bytes_max: u64,
    },
    /// Which of these layers are unpacked; they count as used now.
    UseLayers { layers: Vec<LayerId> },
    /// Which layers are unpacked.
    ListLayers,
    /// Which layers are unpacked, how large they are and when they were used.
    ListLayerUses,
    /// Remove a layer that no workload uses.
    RemoveLayer { layer: LayerId },
    /// Remove the layers that neither a workload nor `keep` needs, as far as the budget says so.
    CollectLayers { keep: Vec<LayerId>, budget: Budget },
    /// Make a volume unless it is there.
    EnsureVolume { name: VolumeName },
    /// Which volumes there are.
    ListVolumes,
    /// Remove a volume that no workload uses.
    RemoveVolume { name: VolumeName },
    /// Write the archive of a volume's data to the descriptor sent along.
    PackVolume { name: VolumeName },
    /// Fill a volume that holds nothing, and that no workload uses, from the archive sent along.
    FillVolume { name: VolumeName },
    /// Sockets for the resolver of an app, in its network.
    ResolverSockets { app: [u8; 32] },
    /// List everything on this host that belongs to the installation.
    Audit,
    /// Remove every workload that is not listed, and what is left of unfinished work.
    Reap { keep: Vec<WorkloadId> },
    /// Push a line for each workload that changed.
    Watch,
    /// End the root process, after its workloads if so asked.
    Shutdown { stop_workloads: bool },
}

/// A process to run beside the first one of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// In which workload.
    pub id: WorkloadId,
    /// What to run.
    pub args: Vec<String>,
    /// Variables that win over those of the workload.
    pub env: Vec<crate::workload::EnvVar>,
    /// Another user than the workload's.
    pub user: Option<String>,
    /// Another working directory than the workload's.
    pub working_dir: Option<String>,
    /// With a terminal of so many rows and columns; absent: with three pipes.
    pub terminal: Option<(u16, u16)>,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    Identity {
        identity: Identity,
    },
    Status {
        status: Status,
    },
    /// A workload was made. With a gateway, the sockets of its app's resolver come along: datagrams first.
    Made {
        status: Status,
        gateway: Option<Ipv4Addr>,
    },
    Statuses {
        statuses: Vec<Status>,
    },
    /// The process runs; its descriptors come along.
    ExecStarted,
    ExecEnded {
        end: ExecEnd,
    },
    Usages {
        usages: Vec<(WorkloadId, Usage)>,
    },
    Layers {
        layers: Vec<LayerId>,
    },
    LayerUses {
        layers: Vec<LayerUse>,
    },
    /// With the bytes of their files.
    LayersHere {
        layers: Vec<(LayerId, u64)>,
    },
    Collected {
        freed: Freed,
    },
    Volumes {
        volumes: Vec<VolumeName>,
    },
    /// The sockets come along: datagrams first, then the listener.
    Sockets {
        gateway: Ipv4Addr,
    },
    HostObjects {
        objects: Vec<HostObject>,
    },
    Reaped {
        removed: Vec<WorkloadId>,
    },
    Changed {
        id: WorkloadId,
    },
    Refused {
        refusal: Refusal,
    },
}

/// Who answers on a root socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The installation.
    pub installation: InstallationId,
    /// The root process.
    pub pid: i32,
    /// Which control groups this host has.
    pub cgroups: CgroupVersion,
    /// The directory under which the installation keeps layers, volumes and workloads.
    pub directory: PathBuf,
}

/// The control groups of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy for each controller, also where a second version is mounted beside them.
    V1,
    /// The unified hierarchy alone.
    V2,
}

/// How an [`ExecSpec`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum ExecEnd {
    /// By itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// By a signal.
    Signaled {
        /// Which.
        signal: i32,
    },
}

impl ExecEnd {
    /// The code that a shell would report.
    pub fn code(&self) -> i32 {
        match self {
            Self::Exited { code } => *code,
            Self::Signaled { signal } => 128 + signal,
        }
    }
}

/// An unpacked layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerUse {
    /// Which.
    pub layer: LayerId,
    /// The bytes of its files.
    pub bytes: u64,
    /// When a workload last mounted it, or it was unpacked; in milliseconds since 1970.
    pub used_ms: u64,
    /// Whether a workload that is here uses it.
    pub is_in_use: bool,
}

/// Something on the host that carries the identity of an installation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostObject {
    /// What it is.
    pub kind: HostObjectKind,
    /// Its name on the host.
    pub name: String,
    /// The workload that it belongs to, where it belongs to one.
    pub workload: Option<WorkloadId>,
}

/// The kinds of things that an installation puts on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostObjectKind {
    /// A control group.
    Cgroup,
    /// A directory of a workload.
    Directory,
    /// A range of user identities.
    UserRange,
    /// A process that watches a workload.
    Shim,
    /// A process of a workload.
    Process,
    /// A mount in the host's own mount namespace.
    Mount,
    /// A network namespace, interface, bridge or address.
    Network,
    /// Half of an unpacked layer: one that is being unpacked or removed, or was when somebody died.
    Layer,
    /// Intended work in the journal that was not finished.
    Intent,
}

/// Why the root process did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The request makes no sense.
    #[error("refused: {what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// No such workload, layer or volume.
    #[error("{what} is not here")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It exists already.
    #[error("{what} exists already: delete it first")]
    Exists {
        /// What was asked for.
        what: String,
    },
    /// It is in use, or in the wrong phase.
    #[error("{what} is busy: {why}")]
    Busy {
        /// What was asked for.
        what: String,
        /// What holds it.
        why: String,
    },
    /// The workload could not be started; nothing of it is left.
    #[error("workload not started: {cause}")]
    NotStarted {
        /// Why.
        cause: EndCause,
    },
    /// The disk has no room for it; nothing of it is left.
    #[error("could not {step}: {room}")]
    NoRoom {
        /// Which step.
        step: String,
        /// What was needed, and what there is.
        room: NoRoom,
    },
    /// It is larger than this machine takes; nothing of it is left.
    #[error("{what}")]
    TooLarge {
        /// What is too large.
        what: String,
    },
    /// The contents are not what their digest says, or not a layer.
    #[error("layer refused: {what}")]
    BadLayer {
        /// What is wrong.
        what: String,
    },
    /// The host refused a step.
    #[error("could not {step}: {why}")]
    Host {
        /// Which step.
        step: String,
        /// What the kernel says.
        why: String,
    },
}
