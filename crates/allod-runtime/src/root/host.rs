//! What every worker knows about this host and this installation.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::container::cgroup::{Group, Hierarchy};
use crate::container::seccomp::Filters;
use crate::layout::Layout;
use crate::network::{Directories, Network};
use crate::record::Place;
use crate::request::Refusal;
use crate::workload::WorkloadId;

/// The host, as far as workloads are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) layout: Layout,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) filters: Rc<Filters>,
    /// Who may read logs.
    pub(crate) reader_gid: u32,
}

impl Host {
    pub(crate) fn place(&self, id: &WorkloadId) -> Place {
        Place::new(&self.layout, id)
    }

    pub(crate) fn group(&self, id: &WorkloadId) -> Group {
        self.hierarchy.group(&self.layout.cgroup(id))
    }

    /// Where the shim of a workload is, and nothing of the workload itself.
    pub(crate) fn shim_group(&self, id: &WorkloadId) -> Group {
        self.hierarchy.holding_group(&self.layout.shim_cgroup(id))
    }

    /// What the private networks remember until the machine is restarted.
    pub(crate) fn network_run_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/allod/network-{}", self.layout.installation))
    }

    /// The installation's private networks.
    pub(crate) fn network(&self) -> Result<Network, Refusal> {
        let directories = Directories {
            state: self.layout.network(),
            run: self.network_run_dir(),
        };
        Network::open(self.layout.installation, directories)
            .map_err(refuse("open the private network"))
    }
}

/// Turns an error of the host into an answer.
pub(crate) fn refuse<E: std::error::Error>(step: &str) -> impl FnOnce(E) -> Refusal {
    move |error| Refusal::Host {
        step: step.to_owned(),
        why: chain(&error),
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The answer when something is not here.
pub(crate) fn not_found(what: impl Display) -> Refusal {
    Refusal::NotFound {
        what: what.to_string(),
    }
}

/// Tells absence from failure.
pub(crate) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
