//! The root process: single-threaded, without async runtime, the parent of all others.
//!
//! It accepts requests, hands each to a child of its own, reaps, tells watchers what changed and
//! keeps the unprivileged process running. It never interprets what a tenant sent beyond the
//! frame of a request; the children do, one request each.
//!
//! The workloads do not depend on it: it may end, by will or by accident, and a new one finds them again. Nor do they
//! depend on their shims: when one dies, the root process sends another (see `adopt`). Another child guards the disk
//! against what workloads write (see `guard`). Each shim moves to a control group of its own. Where a service manager
//! starts the root process, it still has to be told to end only that one (systemd: `KillMode=process`), because on hosts
//! of the first version it keeps a hierarchy of its own.

mod adopt;
mod audit;
mod down;
mod exec;
mod guard;
mod host;
mod keep;
mod layer;
mod make;
mod output;
mod remove;
mod serve;
mod shim;
mod supervise;
mod tend;
mod volume;
mod work;

use std::io;
use std::path::PathBuf;

use crate::workload::InstallationId;

pub use crate::fault::POINTS;
pub use down::Down;
pub use serve::Root;
pub use supervise::{FDS_VARIABLE, GIVES_UP, Process, ProcessEnd, READY, SAYS, inherited_fds};

/// The name of the root process's socket in the installation's `run/` directory.
pub const SOCKET_NAME: &str = "root.sock";

/// What a root process needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which installation it is.
    pub installation: InstallationId,
    /// Where it keeps layers, volumes and workloads. An absolute path, on a disk.
    pub directory: PathBuf,
    /// Where its socket is.
    pub run_dir: PathBuf,
    /// The user who may ask, beside root: that of the unprivileged process.
    pub network_uid: u32,
    /// The group that may read logs.
    pub network_gid: u32,
    /// For tests alone: a file that may say where one of our processes is to be killed, at one of [`POINTS`]. Whoever
    /// can write it can kill the root process, so nobody else may be able to.
    pub fault_plan: Option<PathBuf>,
}

/// Why a root process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Another one serves this installation.
    #[error("another root process serves {}: stop it with `allod down`", directory.display())]
    AlreadyRunning {
        /// The installation's directory.
        directory: PathBuf,
    },
    /// It lacks a right or a feature of the kernel.
    #[error("this host cannot run workloads: {0}")]
    Unsuitable(String),
    /// A step failed.
    #[error("could not {step}")]
    Step {
        /// Which.
        step: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Why [`Root::serve`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal; the workloads go on.
    Signal {
        /// Which.
        signal: i32,
    },
    /// A request; the workloads go on.
    Request,
    /// A request, after all workloads were stopped.
    RequestAndStopped,
    /// A process that it keeps running gives up; see [`GIVES_UP`]. The workloads go on.
    GaveUp,
}
