//! What an installation has on the host: listing it, and removing what nobody owns, or all.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::allocation::{Allocations, Durable};
use super::attach::delete_link;
use super::block::Block;
use super::error::NetworkError;
use super::link::Links;
use super::namespace::Namespace;
use super::rules::{BRIDGE_PREFIX, UPLINK, VETH_PREFIX};
use super::tool::Tool;
use super::{AppTag, Network, forward, inside, router, rules};
use crate::workload::WorkloadId;

/// Something of this installation's network that exists on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The pinned namespace of the router.
    Router {
        /// Where it is pinned.
        path: PathBuf,
    },
    /// The link between host and router.
    HostLink {
        /// Its name on the host.
        name: String,
    },
    /// The nft table on the host.
    HostTable {
        /// Its name.
        name: String,
    },
    /// An accept rule in a chain that drops by default.
    ForwardRule {
        /// The chain.
        chain: String,
    },
    /// A bridge in the router.
    Bridge {
        /// Its name.
        name: String,
        /// Whose it is; `None` when nobody's.
        app: Option<AppTag>,
    },
    /// The router's end of a workload's link.
    Veth {
        /// Its name.
        name: String,
        /// Whose it is; `None` when nobody's.
        workload: Option<WorkloadId>,
    },
    /// An address given to a workload, whether or not it has a link.
    Address {
        /// Whose it is.
        workload: WorkloadId,
        /// The app it belongs to.
        app: AppTag,
        /// Whether its link exists: without one the container is gone, or was never attached.
        is_linked: bool,
    },
    /// A file that remembers something.
    File {
        /// Where.
        path: PathBuf,
    },
}

impl Network {
    /// Every object of this installation, and of no other.
    pub fn list(&self) -> Result<Vec<Object>, NetworkError> {
        let lock = &self.lock()?;
        let mut objects = Vec::new();
        let host_link = self.host_link();
        let on_host = link_names()?;
        if on_host.contains(&host_link) {
            objects.push(Object::HostLink { name: host_link });
        }
        let table = rules::host_table(self.installation);
        let tables = Tool::Nft.run(
            lock,
            "list the host's tables",
            &["list", "tables", "inet"],
            "",
        )?;
        if tables
            .lines()
            .any(|line| line.trim() == format!("table inet {table}"))
        {
            objects.push(Object::HostTable { name: table });
        }
        let rules = forward::installed(lock, self.installation)?;
        objects.extend(rules.into_iter().map(|chain| Object::ForwardRule { chain }));
        let in_router = match self.router() {
            Ok(router) => {
                objects.push(Object::Router {
                    path: self.router_path(),
                });
                inside(&router, "the router", link_names)?
            }
            Err(NetworkError::RouterMissing) => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        if let Some(durable) = Durable::load(&self.durable_path())? {
            self.list_router(durable.block, &in_router, &mut objects)?;
        }
        let files = [self.durable_path(), self.allocations_path()];
        let files = files.into_iter().filter(|path| path.exists());
        objects.extend(files.map(|path| Object::File { path }));
        Ok(objects)
    }

    fn list_router(
        &self,
        block: Block,
        in_router: &BTreeSet<String>,
        objects: &mut Vec<Object>,
    ) -> Result<(), NetworkError> {
        let allocations = self.allocations()?;
        let apps: Vec<AppTag> = allocations.subnets(block).map(|(app, _)| app).collect();
        for name in in_router {
            if name.starts_with(BRIDGE_PREFIX) {
                let app = apps.iter().find(|app| app.bridge() == *name).copied();
                objects.push(Object::Bridge {
                    name: name.clone(),
                    app,
                });
            } else if name.starts_with(VETH_PREFIX) {
                let workload = allocations
                    .places(block)
                    .map(|place| place.workload)
                    .find(|workload| router::veth_name(self.installation, workload) == *name);
                objects.push(Object::Veth {
                    name: name.clone(),
                    workload,
                });
            }
        }
        objects.extend(allocations.places(block).map(|place| {
            let is_linked =
                in_router.contains(&router::veth_name(self.installation, &place.workload));
            Object::Address {
                workload: place.workload,
                app: place.app,
                is_linked,
            }
        }));
        Ok(())
    }

    /// Removes links of the router that belong to no address given out. Called inside it.
    pub(super) fn reap(&self, block: Block, allocations: &Allocations) -> Result<(), NetworkError> {
        let veths = allocations
            .places(block)
            .map(|place| router::veth_name(self.installation, &place.workload));
        let bridges = allocations.subnets(block).map(|(app, _)| app.bridge());
        let owned: BTreeSet<String> = veths.chain(bridges).collect();
        for name in link_names()? {
            let is_ours = name.starts_with(BRIDGE_PREFIX) || name.starts_with(VETH_PREFIX);
            if is_ours && !owned.contains(&name) {
                delete_link(&name)?;
                tracing::info!(link = name, "removed a link that nobody owns");
            }
        }
        Ok(())
    }

    /// Removes everything of this installation's network, also what it remembers. Containers that
    /// still live lose their `eth0`.
    pub fn destroy(&self) -> Result<(), NetworkError> {
        let lock = &self.lock()?;
        self.forget_seal()?;
        self.forget_router()?;
        delete_link(&self.host_link())?;
        if let Ok(router) = self.router() {
            // Somebody's private mounts may keep the namespace alive; it shall be empty at least.
            inside(&router, "the router", || {
                for name in link_names()? {
                    let is_ours = name.starts_with(BRIDGE_PREFIX)
                        || name.starts_with(VETH_PREFIX)
                        || name == UPLINK;
                    if is_ours {
                        delete_link(&name)?;
                    }
                }
                Ok(())
            })?;
        }
        Namespace::unpin(&self.router_path())
            .map_err(NetworkError::kernel("remove the router's namespace"))?;
        forward::remove(lock, self.installation)?;
        let table = rules::host_table(self.installation);
        let script = format!("table inet {table}\ndelete table inet {table}\n");
        Tool::Nft.run(lock, "remove the host's rules", &["-f", "-"], &script)?;
        if let Some(durable) = Durable::load(&self.durable_path())? {
            self.restore_forwarding(&durable)?;
        }
        for path in [
            self.allocations_path(),
            self.durable_path(),
            self.lock_path(),
        ] {
            remove_file(&path)?;
        }
        Ok(())
    }
}

/// The names of the links of the current namespace.
fn link_names() -> Result<BTreeSet<String>, NetworkError> {
    Links::open()
        .and_then(|mut links| links.all())
        .map(|links| links.into_iter().map(|link| link.name).collect())
        .map_err(NetworkError::kernel("list links"))
}

fn remove_file(path: &Path) -> Result<(), NetworkError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(NetworkError::StateFile {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
