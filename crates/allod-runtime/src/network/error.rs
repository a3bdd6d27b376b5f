//! What can go wrong with the container network.

use std::io;
use std::path::PathBuf;

/// Why an operation on the container network failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a step.
    #[error("cannot {attempted}")]
    Kernel {
        /// The step, as a verb phrase.
        attempted: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A state file cannot be read or written.
    #[error("cannot use the network state file {path}")]
    StateFile {
        /// Which file.
        path: PathBuf,
        /// What was wrong.
        source: io::Error,
    },
    /// A state file holds something else than what was written to it.
    #[error(
        "the network state file {path} is damaged ({reason}): stop this installation's workloads, \
         remove the file, start again"
    )]
    StateDamaged {
        /// Which file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// A program that is needed is not installed.
    #[error("`{tool}` is not installed: install the package `{package}`, then run `allod doctor`")]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// The package that brings it.
        package: &'static str,
    },
    /// A program refused what it was asked to do.
    #[error("`{tool}` could not {attempted}: {stderr}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// The step, as a verb phrase.
        attempted: String,
        /// What it said.
        stderr: String,
    },
    /// All blocks collide with a network this host knows.
    #[error(
        "every /16 of 10.64.0.0/10 collides with an address or a route of this host: free one \
          (see `ip route show table all`)"
    )]
    NoFreeBlock,
    /// There are as many apps on this machine as there are subnets.
    #[error("all {limit} app networks of this machine are in use: stop an app first")]
    AppsExhausted {
        /// How many there are.
        limit: u32,
    },
    /// The app has as many workloads here as its subnet has addresses.
    #[error("all {limit} addresses of app {app} are in use: place replicas on another machine")]
    AddressesExhausted {
        /// Which app.
        app: String,
        /// How many there are.
        limit: u32,
    },
    /// The router namespace is missing.
    #[error("the router of this installation is not there: `ensure` makes it")]
    RouterMissing,
    /// The process shares the network of the host or the router; it must have its own.
    #[error("process {pid} has no network namespace of its own, so it is not a container")]
    NotIsolated {
        /// Which process.
        pid: u32,
    },
    /// The process is gone.
    #[error("process {pid} is gone: its workload ended before it was attached")]
    ProcessGone {
        /// Which process.
        pid: u32,
    },
    /// The workload is attached for another app.
    #[error("workload {workload} already has an address in another app")]
    OtherApp {
        /// Which workload.
        workload: String,
    },
    /// No workload of that app is attached.
    #[error("app {app} has no network here: attach a workload first")]
    UnknownApp {
        /// Which app.
        app: String,
    },
}

impl NetworkError {
    pub(super) fn kernel(attempted: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let attempted = attempted.into();
        |source| Self::Kernel { attempted, source }
    }
}
