//! Ports that this node picked for services that asked for any free one: kept, so that a restart of the network
//! process gives a service the address that people have written down.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::limits::PICKED_PORTS_MAX;
use crate::whole;

/// App and service, and the port inside it.
type Service = (String, String, u16);

/// The ports picked before this start, and those picked since.
#[derive(Debug)]
pub(crate) struct PickedPorts {
    path: PathBuf,
    before: BTreeMap<Service, u16>,
    now: Mutex<BTreeMap<Service, u16>>,
}

impl PickedPorts {
    /// Reads the file at `path`; one that cannot be read holds no ports any more.
    pub(crate) fn open(path: PathBuf) -> Self {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let before: BTreeMap<Service, u16> = borsh::from_slice(&bytes).unwrap_or_default();
        Self {
            path,
            now: Mutex::new(before.clone()),
            before,
        }
    }

    /// The port that a service had before this start. What is picked since stays as it is without being asked for.
    pub(crate) fn before(&self, app: &str, service: &str, inside: u16) -> Option<u16> {
        self.before
            .get(&(app.to_owned(), service.to_owned(), inside))
            .copied()
    }

    /// Keeps what was picked now.
    pub(crate) fn keep(&self, picked: impl Iterator<Item = (Service, u16)>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = false;
        for (service, port) in picked {
            is_new |= now.insert(service, port) != Some(port);
        }
        while now.len() > PICKED_PORTS_MAX {
            // Of so many, no one is more likely to come back than another.
            now.pop_first();
        }
        if is_new && let Err(error) = self.write(&now) {
            tracing::warn!(%error, "picked ports could not be kept; a restart may pick others");
        }
    }

    fn write(&self, ports: &BTreeMap<Service, u16>) -> io::Result<()> {
        whole::write(&self.path, &borsh::to_vec(ports)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picked_port_is_asked_for_after_a_restart_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports");
        let service = |inside| ("shop".to_owned(), "web".to_owned(), inside);
        let first = PickedPorts::open(path.clone());
        first.keep([(service(80), 4711), (service(81), 4712)].into_iter());
        assert_eq!(first.before("shop", "web", 80), None);
        let again = PickedPorts::open(path);
        assert_eq!(again.before("shop", "web", 80), Some(4711));
        assert_eq!(again.before("shop", "web", 81), Some(4712));
    }
}
