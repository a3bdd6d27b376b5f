//! The container network of one installation.
//!
//! ```text
//!  host namespace                router namespace             containers
//!                                            bridge of app A ── eth0  10.B.1.2
//!  allod-<inst> ───────── uplink ─ rules ─<  (10.B.1.1)      ── eth0  10.B.1.3
//!  10.B.0.1/30       10.B.0.2/30             bridge of app B ── eth0  10.B.2.2
//! ```
//!
//! Bridges and tenants' packets live in a namespace of their own, the **router**, so that a
//! Docker on the same host (whose `FORWARD` drops, and whose `bridge-nf-call-iptables` applies it
//! to bridges too) has no say over them, and a flushed host firewall opens nothing. The host sees
//! one link, one route (the installation's block), one nft table, and, where its forwarding is
//! closed by default, two accept rules that carry the installation's id.
//!
//! Rules (see [`rules`]): tenants of one app reach each other, their gateway's port 53, and the
//! internet under the host's address. They never reach another app, the host (also not under its
//! public addresses), any private, shared, link-local or multicast range, or a network the host
//! is directly connected to. Host processes reach containers directly. **IPv6 is off** inside
//! containers and in the router for now, and a bridge drops everything but IPv4 and ARP.
//!
//! What is changed on the host beside that: `net.ipv4.ip_forward` is turned on if it was off.
//! That is remembered, and turned off again by [`Network::destroy`] if nobody else needs it.
//! Forwarding between the host's *other* links is then a matter of the host's own firewall.
//!
//! Everything is synchronous and belongs to the calling thread, which visits other namespaces
//! and returns. Every operation may be cut short at any point, by `kill -9` too: repeated, it
//! finishes its work; [`Network::ensure`] repairs whatever is missing. Operations of several
//! processes take turns by a lock file. Waiting for `nft` needs the caller not to reap children
//! behind its back.
//!
//! Limits: 255 apps with 253 workloads each per host and installation.

mod allocation;
mod attach;
mod block;
mod counters;
mod element;
mod error;
mod forward;
mod host;
mod inner;
mod inventory;
mod limits;
mod link;
mod namespace;
mod netlink;
mod resolver;
mod router;
mod rules;
mod seal;
mod sysctl;
mod tend;
mod tool;

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use self::allocation::{Allocations, Durable, Lock};
use self::namespace::Namespace;
use self::tool::Tool;
use crate::workload::InstallationId;

pub use self::attach::Attachment;
pub use self::counters::Traffic;
pub use self::error::NetworkError;
pub use self::forward::Obstacle;
pub use self::inner::{inner_addresses, outer_addresses};
pub use self::inventory::Object;
pub use self::resolver::ResolverSockets;
pub use self::tend::Tended;

/// What tells apps apart: workloads with the same tag share one private network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppTag(pub [u8; 32]);

impl AppTag {
    /// The name of the app's bridge in the router.
    fn bridge(&self) -> String {
        let hash = blake3::derive_key("allod runtime app bridge 1", &self.0);
        format!("{}{}", rules::BRIDGE_PREFIX, HEXLOWER.encode(&hash[..6]))
    }
}

impl fmt::Display for AppTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for AppTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppTag({self})")
    }
}

impl TryFrom<String> for AppTag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let tag = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        tag.ok_or_else(|| "an app's tag is 64 hexadecimal digits".to_owned())
    }
}

impl From<AppTag> for String {
    fn from(tag: AppTag) -> Self {
        tag.to_string()
    }
}

/// Where an installation's network keeps what it must remember.
#[derive(Debug, Clone)]
pub struct Directories {
    /// On disk: the chosen block outlives reboots here.
    pub state: PathBuf,
    /// Emptied by a reboot (below `/run`): the pinned router and the addresses given out.
    pub run: PathBuf,
}

/// The container network of one installation, as seen from the namespace of the calling thread,
/// which counts as the host.
#[derive(Debug)]
pub struct Network {
    installation: InstallationId,
    directories: Directories,
}

impl Network {
    /// Opens the installation's network. Nothing is made yet but the two directories.
    pub fn open(
        installation: InstallationId,
        directories: Directories,
    ) -> Result<Self, NetworkError> {
        for directory in [&directories.state, &directories.run] {
            create_directory(directory).map_err(|source| NetworkError::StateFile {
                path: directory.clone(),
                source,
            })?;
        }
        Ok(Self {
            installation,
            directories,
        })
    }

    /// The installation's end of the link, on the host.
    fn host_link(&self) -> String {
        host::link_name(self.installation)
    }

    fn router_path(&self) -> PathBuf {
        self.directories.run.join("router")
    }

    fn allocations_path(&self) -> PathBuf {
        self.directories.run.join("addresses.json")
    }

    fn durable_path(&self) -> PathBuf {
        self.directories.state.join("network.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.directories.run.join("network.lock")
    }

    fn lock(&self) -> Result<Lock, NetworkError> {
        Lock::take(&self.lock_path())
    }

    fn allocations(&self) -> Result<Allocations, NetworkError> {
        Allocations::load(&self.allocations_path())
    }

    /// What was decided by `ensure`.
    fn durable(&self) -> Result<Durable, NetworkError> {
        Durable::load(&self.durable_path())?.ok_or(NetworkError::RouterMissing)
    }

    fn router(&self) -> Result<Namespace, NetworkError> {
        Namespace::pinned(&self.router_path())
            .map_err(NetworkError::kernel("open the router's namespace"))?
            .ok_or(NetworkError::RouterMissing)
    }

    /// The programs that this host lacks for the network, each as the error its absence would be.
    pub fn missing_tools() -> Vec<NetworkError> {
        let mut needed = vec![Tool::Nft];
        if forward::has_legacy_filter() {
            needed.push(Tool::IptablesLegacy);
        }
        needed
            .into_iter()
            .filter_map(|tool| tool.find().err())
            .collect()
    }

    /// The address of the host as containers' peers see it: host processes reach containers
    /// from it.
    pub fn host_address(&self) -> Result<Ipv4Addr, NetworkError> {
        Ok(self.durable()?.block.host())
    }
}

/// Makes a directory that only root reads, below directories that are as usual.
fn create_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Runs `visit` inside a namespace, and says which when that fails.
fn inside<T>(
    namespace: &Namespace,
    whose: &str,
    visit: impl FnOnce() -> Result<T, NetworkError>,
) -> Result<T, NetworkError> {
    namespace
        .visit(visit)
        .map_err(NetworkError::kernel(format!(
            "enter the network namespace of {whose}"
        )))?
}
