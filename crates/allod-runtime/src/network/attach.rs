//! Connecting a container to its app's network, and taking it off again.

use std::net::Ipv4Addr;

use super::allocation::{Allocations, Lock, Place};
use super::block::{Block, Prefix, SUBNET_PREFIX_LENGTH, mac};
use super::error::NetworkError;
use super::limits::{ELEMENTS_PER_TRANSACTION_MAX, SWEEP_PAUSE};
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
        let mut allocations = self.allocations()?;
        let place = match allocations.place(block, app, workload) {
            Err(NetworkError::AppsExhausted { .. } | NetworkError::AddressesExhausted { .. }) => {
                // What left last may be all that is in the way.
                self.forget_leaving(lock)?;
                while self.sweep_app(lock)? {}
                allocations = self.allocations()?;
                allocations.place(block, app, workload)?
            }
            place => place?,
        };
        allocations.save(&self.allocations_path())?;
        self.plug_in(&place, &container)?;
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

    /// Removes what detached workloads have left: rules, links, the bridges of apps of which
    /// nothing else is left. Call it soon after [`Network::detach`].
    pub fn sweep(&self) -> Result<(), NetworkError> {
        self.forget_leaving(&self.lock()?)?;
        // One at a time: the kernel lets nobody change a link while it removes a bridge, and
        // whoever attaches a workload meanwhile shall wait for one and not for all.
        while self.sweep_app(&self.lock()?)? {
            std::thread::sleep(SWEEP_PAUSE);
        }
        Ok(())
    }

    /// Takes everything that leaves out of the router's rules, in as few transactions as
    /// possible, for each waits until all processors have let go of the old rules; frees the
    /// places in apps that stay. What comes back later is put into the rules again.
    fn forget_leaving(&self, _lock: &Lock) -> Result<(), NetworkError> {
        let Some((block, mut allocations)) = self.given()? else {
            return Ok(());
        };
        let places = allocations.leaving(block);
        if places.is_empty() {
            return Ok(());
        }
        let apps = allocations.leaving_apps(block);
        let workloads = places
            .iter()
            .map(|place| router::workload_element(self.installation, place));
        let elements = apps
            .iter()
            .flat_map(|(app, subnet)| router::app_elements(app, *subnet))
            .chain(workloads)
            .collect::<Vec<_>>();
        self.inside_router(|| {
            for some in elements.chunks(ELEMENTS_PER_TRANSACTION_MAX) {
                self.change_router_rules(|| {
                    element::remove(router::TABLE, some).map_err(NetworkError::kernel(
                        "take workloads out of the router's rules",
                    ))
                })?;
            }
            // Nearly all went with their containers.
            places.iter().try_for_each(|place| {
                delete_link(&router::veth_name(self.installation, &place.workload))
            })
        })?;
        let stays = |place: &&Place| apps.iter().all(|(app, _)| *app != place.app);
        for place in places.iter().filter(stays) {
            allocations.free(place);
        }
        for (app, _) in &apps {
            allocations.unruled(app);
        }
        allocations.save(&self.allocations_path())
    }

    /// Removes the bridge of one app of which nothing else is left, and frees the places of its workloads; whether there
    /// was one. An app whose last workload left after the rules were changed waits for the next sweep.
    fn sweep_app(&self, _lock: &Lock) -> Result<bool, NetworkError> {
        let Some((_, mut allocations)) = self.given()? else {
            return Ok(false);
        };
        let Some(app) = allocations.bridge_only() else {
            return Ok(false);
        };
        self.inside_router(|| delete_link(&app.bridge()))?;
        allocations.free_app(&app);
        allocations.save(&self.allocations_path())?;
        Ok(true)
    }

    /// What is given out, where anything was ever chosen.
    fn given(&self) -> Result<Option<(Block, Allocations)>, NetworkError> {
        match self.durable() {
            Err(NetworkError::RouterMissing) => Ok(None),
            durable => Ok(Some((durable?.block, self.allocations()?))),
        }
    }

    /// Runs `visit` inside the router, if it is there.
    fn inside_router(
        &self,
        visit: impl FnOnce() -> Result<(), NetworkError>,
    ) -> Result<(), NetworkError> {
        match self.router() {
            Err(NetworkError::RouterMissing) => Ok(()),
            router => inside(&router?, "the router", visit),
        }
    }

    /// The namespace of a container: one that exists and is neither the host's nor the router's.
    pub(super) fn container(&self, pid: u32) -> Result<Namespace, NetworkError> {
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

    /// Makes or finishes everything that connects a container at its place.
    pub(super) fn plug_in(&self, place: &Place, container: &Namespace) -> Result<(), NetworkError> {
        inside(&self.router()?, "the router", || {
            self.connect(place, container)
        })?;
        inside(container, "the container", || configure(place))
    }

    /// The router's part: the app's bridge, the rules' knowledge of the workload, the veth.
    /// The rules come first: no packet may flow before they know it.
    fn connect(&self, place: &Place, container: &Namespace) -> Result<(), NetworkError> {
        let bridge = router::ensure_bridge(&place.app, place.subnet)?;
        let mut elements = vec![router::workload_element(self.installation, place)];
        elements.extend(router::app_elements(&place.app, place.subnet));
        self.change_router_rules(|| {
            element::add(router::TABLE, &elements).map_err(NetworkError::kernel(
                "make the router's rules know a workload",
            ))
        })?;
        let veth = router::veth_name(self.installation, &place.workload);
        let failed = || NetworkError::kernel(format!("make the veth pair of `{veth}`"));
        if let Some(index) = index_of(&veth).map_err(failed())? {
            if inside(container, "the container", || has_inner_link(place))? {
                // Its bridge may be another one than the one that it was on.
                return Links::open()
                    .and_then(|mut links| links.enslave(index, bridge))
                    .map_err(failed());
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
