//! Connecting a container to its app's network, and taking it off again.

use std::net::Ipv4Addr;

use super::allocation::{Lock, Place};
use super::block::{Prefix, SUBNET_PREFIX_LENGTH, mac};
use super::error::NetworkError;
use super::limits::SWEEP_PAUSE;
use super::link::{End, Links, index_of};
use super::namespace::Namespace;
use super::{AppTag, Network, element, inside, router, sysctl};
use crate::workload::WorkloadId;

/// The name of the link inside a container.
const INNER_LINK: &str = "eth0";

/// Where a workload is in its app's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    /// The workload's address; it keeps it until it is detached.
    pub address: Ipv4Addr,
    /// The length of the app's subnet.
    pub prefix_length: u8,
    /// The way out, and where the app's resolver listens on port 53.
    pub gateway: Ipv4Addr,
}

impl Network {
    /// Connects the network namespace of a container to its app: `eth0` with an address, loopback
    /// up, the default route, IPv6 off. Call it between create and start. Repeated, it finishes
    /// what is missing and gives the same answer. After a failure the address stays taken:
    /// repeat, or `detach`.
    pub fn attach(
        &self,
        app: AppTag,
        workload: WorkloadId,
        container_pid: u32,
    ) -> Result<Attachment, NetworkError> {
        let container = self.container(container_pid)?;
        let lock = &self.lock()?;
        let block = self.durable()?.block;
        let router = self.router()?;
        let mut allocations = self.allocations()?;
        let place = match allocations.place(block, app, workload) {
            Err(NetworkError::AppsExhausted { .. } | NetworkError::AddressesExhausted { .. }) => {
                // What left last may be all that is in the way.
                while self.sweep_one(lock)? {}
                allocations = self.allocations()?;
                allocations.place(block, app, workload)?
            }
            place => place?,
        };
        allocations.save(&self.allocations_path())?;
        inside(&router, "the router", || self.connect(&place, &container))?;
        inside(&container, "the container", || configure(&place))?;
        Ok(Attachment {
            address: place.address,
            prefix_length: SUBNET_PREFIX_LENGTH,
            gateway: place.subnet.gateway(),
        })
    }

    /// Where a workload is attached, if it is.
    pub fn attachment(&self, workload: &WorkloadId) -> Result<Option<Attachment>, NetworkError> {
        let _lock = self.lock()?;
        let block = match self.durable() {
            Err(NetworkError::RouterMissing) => return Ok(None),
            other => other?.block,
        };
        Ok(self
            .allocations()?
            .find(block, workload)
            .map(|place| Attachment {
                address: place.address,
                prefix_length: SUBNET_PREFIX_LENGTH,
                gateway: place.subnet.gateway(),
            }))
    }

    /// Takes a workload off the network. One that is not attached is no error. The kernel takes
    /// tens of milliseconds over each link, so nobody waits for it here: the veth pair goes with
    /// the container's namespace, and what is left is for [`Network::sweep`]. Until then its
    /// address is not given to another.
    pub fn detach(&self, workload: &WorkloadId) -> Result<(), NetworkError> {
        let _lock = self.lock()?;
        let mut allocations = self.allocations()?;
        if allocations.leave(workload) {
            allocations.save(&self.allocations_path())?;
        }
        Ok(())
    }

    /// Removes what detached workloads have left: links, rules, the bridges of apps of which
    /// nothing else is left. Call it soon after [`Network::detach`].
    pub fn sweep(&self) -> Result<(), NetworkError> {
        // One at a time: the kernel lets nobody change a link while it removes one, and whoever
        // attaches a workload meanwhile shall wait for one and not for all.
        while self.sweep_one(&self.lock()?)? {
            std::thread::sleep(SWEEP_PAUSE);
        }
        Ok(())
    }

    /// Removes what one detached workload has left; whether there was one.
    fn sweep_one(&self, _lock: &Lock) -> Result<bool, NetworkError> {
        let block = match self.durable() {
            Err(NetworkError::RouterMissing) => return Ok(false),
            other => other?.block,
        };
        let mut allocations = self.allocations()?;
        let Some(place) = allocations.first_leaving(block) else {
            return Ok(false);
        };
        match self.router() {
            Err(NetworkError::RouterMissing) => {}
            router => inside(&router?, "the router", || {
                self.forget(&place, allocations.is_last(&place))
            })?,
        }
        allocations.free(&place);
        allocations.save(&self.allocations_path())?;
        Ok(true)
    }

    /// Takes a workload out of the router, and its app too if it was the last.
    fn forget(&self, place: &Place, is_last: bool) -> Result<(), NetworkError> {
        let mut gone = vec![router::workload_element(self.installation, place)];
        if is_last {
            gone.extend(router::app_elements(&place.app, place.subnet));
        }
        element::remove(router::TABLE, &gone).map_err(NetworkError::kernel(
            "take a workload out of the router's rules",
        ))?;
        delete_link(&router::veth_name(self.installation, &place.workload))?;
        if is_last {
            delete_link(&place.app.bridge())?;
        }
        Ok(())
    }

    /// The namespace of a container: one that exists and is neither the host's nor the router's.
    fn container(&self, pid: u32) -> Result<Namespace, NetworkError> {
        let failed = || NetworkError::kernel(format!("open the namespace of process {pid}"));
        let container = match Namespace::of_process(pid) {
            Ok(container) => container,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
                return Err(NetworkError::ProcessGone { pid });
            }
            Err(error) => return Err(failed()(error)),
        };
        let own = Namespace::own().map_err(failed())?;
        let router = self.router()?;
        if container.is(&own).map_err(failed())? || container.is(&router).map_err(failed())? {
            return Err(NetworkError::NotIsolated { pid });
        }
        Ok(container)
    }

    /// The router's part: the app's bridge, the rules' knowledge of the workload, the veth.
    /// The rules come first: no packet may flow before they know it.
    fn connect(&self, place: &Place, container: &Namespace) -> Result<(), NetworkError> {
        let bridge = router::ensure_bridge(&place.app, place.subnet)?;
        let mut elements = vec![router::workload_element(self.installation, place)];
        elements.extend(router::app_elements(&place.app, place.subnet));
        element::add(router::TABLE, &elements).map_err(NetworkError::kernel(
            "make the router's rules know a workload",
        ))?;
        let veth = router::veth_name(self.installation, &place.workload);
        let failed = || NetworkError::kernel(format!("make the veth pair of `{veth}`"));
        if index_of(&veth).map_err(failed())?.is_some() {
            if inside(container, "the container", || has_inner_link(place))? {
                return Ok(());
            }
            // Its other end is in a namespace of the past that the kernel is still clearing away.
            delete_link(&veth)?;
        }
        let near = End {
            name: &veth,
            mac: mac(place.subnet.address(0)),
        };
        let far = End {
            name: INNER_LINK,
            mac: mac(place.address),
        };
        Links::open()
            .and_then(|mut links| links.create_veth(&near, Some(bridge), &far, container))
            .map_err(failed())
    }
}

/// Removes a link of the current namespace.
pub(super) fn delete_link(name: &str) -> Result<(), NetworkError> {
    Links::open()
        .and_then(|mut links| links.delete(name))
        .map_err(NetworkError::kernel(format!("remove link `{name}`")))
}

/// The container's part. IPv6 is off before the link is up, so that it never has an address.
fn configure(place: &Place) -> Result<(), NetworkError> {
    for scope in ["all", "default"] {
        sysctl::write(&format!("ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    let address = Prefix {
        address: place.address,
        length: SUBNET_PREFIX_LENGTH,
    };
    Links::open()
        .and_then(|mut links| links.configure(INNER_LINK, address, place.subnet.gateway()))
        .map_err(NetworkError::kernel(format!(
            "set up {INNER_LINK} of {}",
            place.address
        )))
}

/// Whether the current namespace has the far end of the workload's veth.
fn has_inner_link(place: &Place) -> Result<bool, NetworkError> {
    Links::open()
        .and_then(|mut links| links.find(INNER_LINK))
        .map(|link| link.is_some_and(|link| link.mac == mac(place.address)))
        .map_err(NetworkError::kernel("read the links of the container"))
}
