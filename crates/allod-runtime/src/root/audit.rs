//! Everything on this host that carries the identity of the installation.

use super::host::{Host, refuse};
use crate::container::user;
use crate::image::LayerStore;
use crate::journal;
use crate::layout::Layout;
use crate::network::Object;
use crate::record;
use crate::request::{HostObject, HostObjectKind, Refusal};
use crate::workload::WorkloadId;

/// Lists what belongs to workloads, alive or left behind; empty when nothing does.
pub(super) fn audit(host: &Host) -> Result<Vec<HostObject>, Refusal> {
    let mut objects = Vec::new();
    let mut add = |kind, name: String, workload: Option<WorkloadId>| {
        objects.push(HostObject {
            kind,
            name,
            workload,
        });
    };
    for id in record::all(&host.layout).map_err(refuse("list the workloads"))? {
        let place = host.place(&id);
        add(
            HostObjectKind::Directory,
            place.directory().display().to_string(),
            Some(id),
        );
        if let Ok(record) = place.record()
            && record.shim.is_alive()
        {
            add(HostObjectKind::Shim, record.shim.pid.to_string(), Some(id));
        }
    }
    for name in host.hierarchy.children(&host.layout.cgroup_parent()) {
        let path = format!("{}/{name}", host.layout.cgroup_parent());
        let workload = Layout::cgroup_owner(&name);
        for pid in host.hierarchy.group(&path).processes() {
            add(HostObjectKind::Process, pid.to_string(), workload);
        }
        add(HostObjectKind::Cgroup, path, workload);
    }
    let claims = user::claims(host.layout.installation).map_err(refuse("list user ranges"))?;
    for (slot, holder) in claims {
        add(HostObjectKind::UserRange, slot.base().to_string(), holder);
    }
    let layers = LayerStore::open(host.layout.directory()).map_err(refuse("open the layers"))?;
    for path in layers.leftovers().map_err(refuse("list the layers"))? {
        add(HostObjectKind::Layer, path.display().to_string(), None);
    }
    let intents =
        journal::unfinished(&host.layout.journal()).map_err(refuse("read the journal"))?;
    for intent in intents {
        add(
            HostObjectKind::Intent,
            format!("{intent:?}"),
            Some(intent.workload()),
        );
    }
    let directory = host.layout.workloads().display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(refuse("read mounts"))?;
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        if point.starts_with(&directory) {
            add(HostObjectKind::Mount, point.to_owned(), None);
        }
    }
    let network = host
        .network()?
        .list()
        .map_err(refuse("list the private network"))?;
    for object in network {
        let workload = match &object {
            Object::Veth { workload, .. } => *workload,
            Object::Address { workload, .. } => Some(*workload),
            _ => None,
        };
        add(HostObjectKind::Network, format!("{object:?}"), workload);
    }
    objects.sort_unstable();
    Ok(objects)
}
