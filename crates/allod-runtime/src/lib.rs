//! Runs one workload on this machine and says truthfully how it is doing.
//!
//! It never decides what should run.
//!
//! Three kinds of processes work together. The **root process** ([`root`]) is single-threaded and
//! has no async runtime: it listens on a unix socket and forks a child for each request. The child
//! that made a container stays beside it as its **shim**, which holds the private mounts, writes
//! the logs and records the end; it outlives both other kinds. The **network process** is
//! unprivileged and asks through a [`Client`].

mod client;
mod container;
mod fault;
mod fence;
pub mod image;
mod journal;
mod layout;
pub mod limits;
pub mod logs;
mod meter;
pub mod network;
mod pack;
mod record;
mod request;
pub mod root;
mod signal;
mod storage;
mod sys;
mod walk;
mod wire;
mod workload;

pub use client::{Client, ClientError, Exec, ExecStdio, ExecWait, ResolverSockets, Watch};
pub use container::capability::CAPABILITIES_ADDABLE;
pub use fence::boot_ms;
pub use request::{
    CgroupVersion, ExecEnd, ExecSpec, HostObject, HostObjectKind, Identity, LayerUse, Refusal,
};
pub use workload::{
    EndCause, EnvVar, FileMount, Image, InstallationId, InvalidId, InvalidSpec, LayerId, LogLimits,
    Phase, Resources, Secret, StartFault, Status, StoragePlace, StorageUsage, TmpfsMount, Usage,
    VolumeMount, VolumeName, WorkloadId, WorkloadSpec,
};
