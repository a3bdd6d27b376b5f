//! What each workload has sent and received, measured where the tenant cannot touch it.

use std::collections::BTreeMap;
use std::fs;

use super::error::NetworkError;
use super::{Network, inside, router};
use crate::workload::WorkloadId;

/// The table of the calling thread's namespace; `/proc/net/dev` would be the process's.
const TABLE: &str = "/proc/thread-self/net/dev";

/// Bytes since the workload was attached, as the workload sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes it received.
    pub received_bytes: u64,
    /// Bytes it sent.
    pub sent_bytes: u64,
}

impl Network {
    /// The traffic of all attached workloads, by one read of one file. It includes what stays
    /// within the app. A workload whose namespace is gone is absent.
    pub fn counters(&self) -> Result<BTreeMap<WorkloadId, Traffic>, NetworkError> {
        let block = self.durable()?.block;
        // The file is replaced as a whole, so it can be read without the lock.
        let allocations = self.allocations()?;
        let table = inside(&self.router()?, "the router", || {
            fs::read_to_string(TABLE).map_err(NetworkError::kernel("read the router's counters"))
        })?;
        let by_link = parse(&table);
        let attached = allocations
            .places(block)
            .filter(|place| !allocations.is_leaving(place));
        let found = attached.filter_map(|place| {
            let traffic =
                by_link.get(router::veth_name(self.installation, &place.workload).as_str());
            traffic.map(|traffic| (place.workload, *traffic))
        });
        Ok(found.collect())
    }
}

/// The router's end of a pair receives what the container sent, and the other way round.
fn parse(table: &str) -> BTreeMap<&str, Traffic> {
    let line = |line| -> Option<(&str, Traffic)> {
        let (name, columns) = str::split_once(line, ':')?;
        let mut columns = columns.split_ascii_whitespace();
        let sent_bytes = columns.next()?.parse().ok()?;
        let received_bytes = columns.nth(7)?.parse().ok()?;
        Some((
            name.trim(),
            Traffic {
                received_bytes,
                sent_bytes,
            },
        ))
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
