//! The host's side: the choice of a block, the link, the table, forwarding.

use std::fs;
use std::path::Path;

use super::allocation::{Allocations, Durable, Lock};
use super::block::{Block, LINK_PREFIX_LENGTH, Prefix};
use super::element::Element;
use super::error::NetworkError;
use super::forward::{self, Obstacle};
use super::link::{Links, Route};
use super::rules::{self, Facts};
use super::tool::Tool;
use super::{Network, inside, router, seal, sysctl};
use crate::workload::InstallationId;

/// How the names of all installations' links begin.
pub(super) const LINK_PREFIX: &str = "allod-";
pub(super) const FORWARDING: &str = "ipv4/ip_forward";

/// All installations of a host share this file, and nothing else.
const CHOICE_LOCK: &str = "/run/allod/block.lock";

/// The name of an installation's link on the host.
pub(super) fn link_name(installation: InstallationId) -> String {
    format!("{LINK_PREFIX}{installation}")
}

impl Network {
    /// Makes or repairs everything that is not one workload's: router, rules, link, forwarding,
    /// the bridges of the apps that have workloads; removes what nobody owns any more. It undoes
    /// what others did to us, such as a flushed firewall, and follows the host's addresses.
    /// Where nothing on the host has changed since the last time, it only finds that out. The
    /// result says what on this host will keep packets from flowing.
    ///
    /// The caller must be in the host's mount namespace, where the router is pinned.
    pub fn ensure(&self) -> Result<Vec<Obstacle>, NetworkError> {
        let lock = &self.lock()?;
        if self.is_as_left(&self.neighbours()?)? && self.is_router_as_left()? {
            return Ok(Vec::new());
        }
        self.write_all(lock)
    }

    /// The same, without trusting that what looks unchanged is unchanged.
    pub fn repair(&self) -> Result<Vec<Obstacle>, NetworkError> {
        let lock = &self.lock()?;
        self.write_all(lock)
    }

    fn write_all(&self, lock: &Lock) -> Result<Vec<Obstacle>, NetworkError> {
        self.forget_seal()?;
        let mut allocations = self.allocations()?;
        // Rules and links are brought in line with what is left below.
        if allocations.free_leaving() {
            allocations.save(&self.allocations_path())?;
        }
        // From the choice of a block until its route is there: two installations that choose at
        // the same time must not choose the same.
        let _choice = Self::lock_choice()?;
        let neighbours = &self.neighbours()?;
        let (durable, obstacle) = self.settle(&allocations, neighbours)?;
        let block = durable.block;
        let elements = self.elements(block, &allocations);
        let host_link = self.host_link();
        let facts = Facts {
            block,
            host_link: &host_link,
            host_addresses: &neighbours.addresses,
            elements: &elements,
        };
        let router = router::ensure_namespace(&self.router_path())?;
        let before = self.router_generation(&router)?;
        router::ensure_rules(lock, &router, &facts)?;
        self.note_router(&router, before)?;
        let generation = seal::generation()?;
        let ruleset = facts.host_ruleset(&rules::host_table(self.installation));
        Tool::Nft.run(lock, "write the host's rules", &["-f", "-"], &ruleset)?;
        router::ensure_uplink(&router, &host_link, &facts)?;
        ensure_link(&host_link, block)?;
        let mut obstacles = forward::ensure(lock, &host_link, self.installation)?;
        self.ensure_forwarding(durable)?;
        inside(&router, "the router", || {
            for (app, subnet) in allocations.subnets(block) {
                router::ensure_bridge(&app, subnet)?;
            }
            self.reap(block, &allocations)
        })?;
        obstacles.extend(obstacle);
        if obstacles.is_empty() {
            self.seal(neighbours, generation)?;
        }
        Ok(obstacles)
    }

    /// Held by one installation of this host at a time.
    fn lock_choice() -> Result<Lock, NetworkError> {
        let path = Path::new(CHOICE_LOCK);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|source| NetworkError::StateFile {
                path: directory.to_owned(),
                source,
            })?;
        }
        Lock::take(path)
    }

    /// The elements of the router's sets that follow from who has which address.
    fn elements(&self, block: Block, allocations: &Allocations) -> Vec<Element> {
        let apps = allocations.subnets(block);
        let workloads = allocations.places(block);
        apps.flat_map(|(app, subnet)| router::app_elements(&app, subnet))
            .chain(workloads.map(|place| router::workload_element(self.installation, &place)))
            .collect()
    }

    /// Addresses and routes of the host, this installation's told apart.
    pub(super) fn neighbours(&self) -> Result<Neighbours, NetworkError> {
        let failed = || NetworkError::kernel("read the addresses and routes of this host");
        let mut links = Links::open().map_err(failed())?;
        let own = links
            .find(&self.host_link())
            .map_err(failed())?
            .map(|link| link.index);
        let (own_addresses, addresses): (Vec<_>, Vec<_>) = links
            .addresses()
            .map_err(failed())?
            .into_iter()
            .partition(|(index, _)| Some(*index) == own);
        let (own_routes, routes): (Vec<_>, Vec<_>) = links
            .routes()
            .map_err(failed())?
            .into_iter()
            .partition(|route| route.link.is_some() && route.link == own);
        let addresses: Vec<Prefix> = addresses.into_iter().map(|(_, prefix)| prefix).collect();
        let taken = routes
            .into_iter()
            .map(|route| Taken {
                prefix: route.destination,
                yields: route.is_main,
            })
            .chain(addresses.iter().map(|prefix| Taken {
                prefix: *prefix,
                yields: false,
            }))
            .filter(|taken| taken.prefix.length > 0)
            .collect();
        Ok(Neighbours {
            addresses,
            taken,
            own: Own {
                addresses: own_addresses,
                routes: own_routes,
            },
        })
    }

    /// The block decided on earlier, or a new choice when there is none yet, or when it collides
    /// and no workload holds an address in it.
    fn settle(
        &self,
        allocations: &Allocations,
        neighbours: &Neighbours,
    ) -> Result<(Durable, Option<Obstacle>), NetworkError> {
        let path = self.durable_path();
        let known = Durable::load(&path)?;
        let forwarding_was_off = known.as_ref().is_some_and(|known| known.forwarding_was_off);
        if let Some(known) = known {
            let Some(taken) = neighbours.collision(known.block) else {
                return Ok((known, None));
            };
            if !allocations.is_empty() {
                let block = known.block.prefix().to_string();
                let obstacle = Obstacle::BlockTaken {
                    block,
                    taken_by: taken.to_string(),
                };
                return Ok((known, Some(obstacle)));
            }
        }
        let seed = self.installation.to_string();
        let is_untouched = |block: Block| {
            !neighbours
                .taken
                .iter()
                .any(|taken| taken.prefix.overlaps(block.prefix()))
        };
        let block = Block::choose(seed.as_bytes(), is_untouched)
            .or_else(|| {
                // A wide route (a company's 10.0.0.0/8, a tunnel's 0.0.0.0/1) covers them all;
                // where the longest prefix wins, a block of ours may lie inside it.
                Block::choose(seed.as_bytes(), |block| {
                    neighbours.collision(block).is_none()
                })
            })
            .ok_or(NetworkError::NoFreeBlock)?;
        let durable = Durable {
            block,
            forwarding_was_off,
        };
        durable.save(&path)?;
        tracing::info!(block = %block.prefix(), "address block chosen");
        Ok((durable, None))
    }

    /// Forwarding must be on; that it was off is written down before it is changed.
    fn ensure_forwarding(&self, durable: Durable) -> Result<(), NetworkError> {
        if sysctl::read(FORWARDING)?.as_deref() == Some("1") {
            return Ok(());
        }
        let durable = Durable {
            forwarding_was_off: true,
            ..durable
        };
        durable.save(&self.durable_path())?;
        sysctl::write(FORWARDING, "1")?;
        tracing::info!("forwarding turned on");
        Ok(())
    }

    /// Turns forwarding off again, if it was off before and nobody else came to need it.
    pub(super) fn restore_forwarding(&self, durable: &Durable) -> Result<(), NetworkError> {
        let failed = || NetworkError::kernel("list the links of this host");
        let own = self.host_link();
        let others = Links::open()
            .and_then(|mut links| links.all())
            .map_err(failed())?;
        let is_needed = others.iter().any(|link| {
            let name = link.name.as_str();
            name != own && (name.starts_with(LINK_PREFIX) || name == "docker0")
        });
        if durable.forwarding_was_off && !is_needed {
            sysctl::write(FORWARDING, "0")?;
        }
        Ok(())
    }
}

/// Gives the host's end of the link its address and the route to the block.
fn ensure_link(host_link: &str, block: Block) -> Result<(), NetworkError> {
    sysctl::write(&format!("ipv6/conf/{host_link}/disable_ipv6"), "1")?;
    let address = Prefix {
        address: block.host(),
        length: LINK_PREFIX_LENGTH,
    };
    Links::open()
        .and_then(|mut links| links.join(host_link, address, block.prefix(), block.router()))
        .map_err(NetworkError::kernel(format!("set up `{host_link}`")))
}

/// What the host has beside this installation, and of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbours {
    /// The host's own addresses, each with the length of the network around it.
    pub(super) addresses: Vec<Prefix>,
    /// Every range in use.
    pub(super) taken: Vec<Taken>,
    /// What this installation's link has.
    pub(super) own: Own,
}

/// Addresses and routes of this installation's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    addresses: Vec<(u32, Prefix)>,
    routes: Vec<Route>,
}

/// A range that is in use on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    prefix: Prefix,
    /// Whether a longer prefix inside it wins.
    yields: bool,
}

impl Neighbours {
    /// What makes a block unusable.
    fn collision(&self, block: Block) -> Option<Prefix> {
        let own = block.prefix();
        let collides = |taken: &&Taken| {
            taken.prefix.overlaps(own) && !(taken.yields && taken.prefix.length < own.length)
        };
        self.taken.iter().find(collides).map(|taken| taken.prefix)
    }
}
