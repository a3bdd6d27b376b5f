//! Putting right what others did to the network while workloads run: a flushed firewall, a link that was deleted or turned off.
//!
//! [`Network::ensure`] writes rules and links that are not any workload's; here, each workload that runs is connected
//! again, too, where its link or its place on the bridge is gone.

use std::collections::BTreeMap;

use super::allocation::Place;
use super::error::NetworkError;
use super::link::{Link, Links};
use super::namespace::Namespace;
use super::rules::UPLINK;
use super::{Network, inside, router};
use crate::network::Obstacle;
use crate::workload::WorkloadId;

/// What was found, and put right where it could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tended {
    /// What on this host keeps packets from flowing.
    pub obstacles: Vec<Obstacle>,
    /// Whether the next look is cheap: where it is not, rules are written each time.
    pub is_sealed: bool,
    /// Workloads that were connected again.
    pub reconnected: Vec<WorkloadId>,
}

impl Network {
    /// Repairs what is missing of the network, and the connections of the workloads that run, each given with the number
    /// of its first process. Those that were detached meanwhile are left alone.
    pub fn tend(&self, running: &[(WorkloadId, u32)]) -> Result<Tended, NetworkError> {
        let mut obstacles = self.ensure()?;
        if !self.has_its_links()? {
            obstacles = self.repair()?;
        }
        let mut reconnected = Vec::new();
        for (workload, pid) in self.cut_off(running)? {
            match self.reconnect(&workload, pid) {
                Ok(true) => reconnected.push(workload),
                // It ended in between.
                Ok(false) | Err(NetworkError::ProcessGone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Tended {
            obstacles,
            is_sealed: self.is_sealed(),
            reconnected,
        })
    }

    /// The links of the router that are turned on, by name.
    fn links(&self) -> Result<BTreeMap<String, Link>, NetworkError> {
        let links = inside(&self.router()?, "the router", || {
            Links::open()
                .and_then(|mut links| links.all())
                .map_err(NetworkError::kernel("list the links of the router"))
        })?;
        let on = links.into_iter().filter(|link| link.is_up);
        Ok(on.map(|link| (link.name.clone(), link)).collect())
    }

    /// Whether the router has its uplink, and a bridge for each app, all turned on.
    fn has_its_links(&self) -> Result<bool, NetworkError> {
        let _lock = self.lock()?;
        let links = self.links()?;
        let block = self.durable()?.block;
        let mut apps = self
            .allocations()?
            .subnets(block)
            .map(|(app, _)| app.bridge())
            .collect::<Vec<_>>()
            .into_iter();
        Ok(links.contains_key(UPLINK) && apps.all(|bridge| links.contains_key(&bridge)))
    }

    /// Those who have a place, and no link on their app's bridge.
    fn cut_off(
        &self,
        running: &[(WorkloadId, u32)],
    ) -> Result<Vec<(WorkloadId, u32)>, NetworkError> {
        let _lock = self.lock()?;
        let links = self.links()?;
        let block = self.durable()?.block;
        let allocations = self.allocations()?;
        let places: BTreeMap<WorkloadId, Place> = allocations
            .places(block)
            .filter(|place| !allocations.is_leaving(place))
            .map(|place| (place.workload, place))
            .collect();
        let is_cut_off = |place: &Place| {
            let bridge = links.get(&place.app.bridge()).map(|link| link.index);
            let veth = links.get(&router::veth_name(self.installation, &place.workload));
            bridge.is_none() || veth.is_none_or(|veth| veth.master != bridge)
        };
        Ok(running
            .iter()
            .filter(|(workload, _)| places.get(workload).is_some_and(is_cut_off))
            .copied()
            .collect())
    }

    /// Connects a workload again, unless it was detached since; whether it was.
    fn reconnect(&self, workload: &WorkloadId, pid: u32) -> Result<bool, NetworkError> {
        let container: Namespace = self.container(pid)?;
        let _lock = self.lock()?;
        let block = self.durable()?.block;
        let Some(place) = self.allocations()?.find(block, workload) else {
            return Ok(false);
        };
        self.plug_in(&place, &container)?;
        Ok(true)
    }
}
