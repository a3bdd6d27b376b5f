//! Where an installation keeps its things: every path and every name on the host, in one place.

use std::path::{Path, PathBuf};

use crate::workload::{InstallationId, LayerId, VolumeName, WorkloadId};

/// Where on this host ranges of user identities are claimed, by all installations together.
pub(crate) const USER_CLAIMS_DIR: &str = "/run/allod/users";
/// Where each shim mounts its private files, in its own mount namespace.
pub(crate) const SHIM_MOUNT_DIR: &str = "/run/allod/shim";

/// Tells the group of a shim from that of its workload.
const SHIM_SUFFIX: &str = ".shim";

/// The directories and names of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) installation: InstallationId,
    directory: PathBuf,
}

impl Layout {
    pub(crate) fn new(installation: InstallationId, directory: &Path) -> Self {
        Self {
            installation,
            directory: directory.to_owned(),
        }
    }

    /// Where layers, volumes and workloads are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was begun and not finished.
    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.directory.join("layers")
    }

    pub(crate) fn layer(&self, layer: &LayerId) -> PathBuf {
        self.layers().join(layer.hex())
    }

    /// The files of a layer.
    pub(crate) fn layer_tree(&self, layer: &LayerId) -> PathBuf {
        self.layer(layer).join("fs")
    }

    /// Whether a layer is there as a whole.
    pub(crate) fn is_unpacked(&self, layer: &LayerId) -> bool {
        self.layer(layer).join("layer.json").is_file()
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.directory.join("volumes")
    }

    pub(crate) fn volume(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name.as_str())
    }

    pub(crate) fn workloads(&self) -> PathBuf {
        self.directory.join("workloads")
    }

    pub(crate) fn workload(&self, id: &WorkloadId) -> PathBuf {
        self.workloads().join(id.to_string())
    }

    /// What the network module keeps between runs.
    pub(crate) fn network(&self) -> PathBuf {
        self.directory.join("network")
    }

    /// The control group that holds all workloads of the installation.
    pub(crate) fn cgroup_parent(&self) -> String {
        format!("allod-{}", self.installation)
    }

    /// The control group of a workload's shim, and of all that it forks while making it.
    pub(crate) fn shim_cgroup(&self, id: &WorkloadId) -> String {
        format!("{}{SHIM_SUFFIX}", self.cgroup(id))
    }

    /// The workload that a group below [`Layout::cgroup_parent`] belongs to.
    pub(crate) fn cgroup_owner(name: &str) -> Option<WorkloadId> {
        name.strip_suffix(SHIM_SUFFIX).unwrap_or(name).parse().ok()
    }

    /// The control group of one workload, below the root of each hierarchy.
    pub(crate) fn cgroup(&self, id: &WorkloadId) -> String {
        format!("{}/{id}", self.cgroup_parent())
    }
}

/// The log directory of a workload, inside the installation's `directory`. The unprivileged
/// process may read it; [`crate::logs::read`] understands it.
pub fn log_directory(directory: &Path, id: &WorkloadId) -> PathBuf {
    directory
        .join("workloads")
        .join(id.to_string())
        .join("logs")
}
