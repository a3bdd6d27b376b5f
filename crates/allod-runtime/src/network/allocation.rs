//! Who has which address: a file per boot, changed only under a lock and only as a whole.
//!
//! The file lies beside the pinned router, on a file system that a reboot empties, because its
//! truth ends there too: every namespace it speaks of is gone then. Where that directory is not
//! in memory, the boot it was written in is compared, and an older one counts as empty.
//! For the same reason it is renamed into place but not synced: a crash of a process cannot tear
//! it, and a crash of the machine may lose it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::AppTag;
use super::block::{Block, Subnet};
use super::error::NetworkError;
use super::limits::{APPS_MAX, STATE_BYTES_MAX, WORKLOAD_HOST_FIRST, WORKLOAD_HOST_LAST};
use crate::workload::WorkloadId;

/// All addresses given out on this host by this installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allocations {
    boot: String,
    /// The subnet given last; the search for a free one begins after it, so that a number rests
    /// as long as possible before another app gets it.
    last_subnet: u8,
    apps: BTreeMap<AppTag, App>,
}

/// The addresses of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct App {
    pub(super) subnet: u8,
    last_host: u8,
    pub(super) workloads: BTreeMap<WorkloadId, u8>,
    /// Those of them that are detached. Their addresses stay taken, and an app of which nothing
    /// else is left keeps its subnet, until the sweep has removed their links and rules.
    #[serde(default)]
    leaving: BTreeSet<WorkloadId>,
    /// Whether the router's rules know none of them any more, and only the bridge is left.
    #[serde(default)]
    is_unruled: bool,
}

/// One workload's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) app: AppTag,
    pub(super) workload: WorkloadId,
    pub(super) subnet: Subnet,
    pub(super) address: Ipv4Addr,
}

impl Allocations {
    /// The place of a workload, given now if it has none; one that was leaving stays.
    pub(super) fn place(
        &mut self,
        block: Block,
        tag: AppTag,
        workload: WorkloadId,
    ) -> Result<Place, NetworkError> {
        let given = self.places(block).find(|place| place.workload == workload);
        if let Some(place) = given {
            if place.app == tag {
                if let Some(app) = self.apps.get_mut(&tag) {
                    app.leaving.remove(&workload);
                    app.is_unruled = false;
                }
                return Ok(place);
            }
            return Err(NetworkError::OtherApp {
                workload: workload.to_string(),
            });
        }
        if !self.apps.contains_key(&tag) {
            let taken: Vec<u8> = self.apps.values().map(|app| app.subnet).collect();
            let subnet = next_free(self.last_subnet, 1, APPS_MAX, |n| !taken.contains(&n)).ok_or(
                NetworkError::AppsExhausted {
                    limit: u32::from(APPS_MAX),
                },
            )?;
            self.last_subnet = subnet;
            let app = App {
                subnet,
                last_host: 0,
                workloads: BTreeMap::new(),
                leaving: BTreeSet::new(),
                is_unruled: false,
            };
            self.apps.insert(tag, app);
        }
        let app = self.apps.get_mut(&tag).expect("inserted above");
        let taken: Vec<u8> = app.workloads.values().copied().collect();
        let (first, last) = (WORKLOAD_HOST_FIRST, WORKLOAD_HOST_LAST);
        let host = next_free(app.last_host, first, last, |n| !taken.contains(&n));
        let host = host.ok_or_else(|| NetworkError::AddressesExhausted {
            app: tag.to_string(),
            limit: u32::from(last - first) + 1,
        })?;
        app.last_host = host;
        app.is_unruled = false;
        app.workloads.insert(workload, host);
        let subnet = block.subnet(app.subnet);
        Ok(Place {
            app: tag,
            workload,
            subnet,
            address: subnet.address(host),
        })
    }

    /// The place that a workload has and is not leaving.
    pub(super) fn find(&self, block: Block, workload: &WorkloadId) -> Option<Place> {
        self.places(block)
            .find(|place| place.workload == *workload)
            .filter(|place| !self.is_leaving(place))
    }

    /// Whether the workload of a place is detached, and the place not yet free.
    pub(super) fn is_leaving(&self, place: &Place) -> bool {
        self.apps
            .get(&place.app)
            .is_some_and(|app| app.leaving.contains(&place.workload))
    }

    /// The places of workloads that are leaving and that the router's rules still know.
    pub(super) fn leaving(&self, block: Block) -> Vec<Place> {
        self.places(block)
            .filter(|place| self.is_leaving(place) && !self.apps[&place.app].is_unruled)
            .collect()
    }

    /// The apps of which nothing but leaving workloads is left, and that the router's rules still know.
    pub(super) fn leaving_apps(&self, block: Block) -> Vec<(AppTag, Subnet)> {
        let is_over = |app: &App| app.leaving.len() == app.workloads.len() && !app.is_unruled;
        self.apps
            .iter()
            .filter(|(_, app)| is_over(app))
            .map(|(tag, app)| (*tag, block.subnet(app.subnet)))
            .collect()
    }

    /// Notes that the router's rules do not know an app any more, until a workload comes to it again.
    pub(super) fn unruled(&mut self, app: &AppTag) {
        if let Some(app) = self.apps.get_mut(app) {
            app.is_unruled = true;
        }
    }

    /// One of the apps of which nothing but the bridge is left.
    pub(super) fn bridge_only(&self) -> Option<AppTag> {
        let mut apps = self.apps.iter();
        apps.find(|(_, app)| app.is_unruled).map(|(tag, _)| *tag)
    }

    /// Every place given, those of leaving workloads among them.
    pub(super) fn places(&self, block: Block) -> impl Iterator<Item = Place> {
        self.apps.iter().flat_map(move |(tag, app)| {
            let subnet = block.subnet(app.subnet);
            app.workloads.iter().map(move |(workload, host)| Place {
                app: *tag,
                workload: *workload,
                subnet,
                address: subnet.address(*host),
            })
        })
    }

    /// Every app with its subnet.
    pub(super) fn subnets(&self, block: Block) -> impl Iterator<Item = (AppTag, Subnet)> {
        self.apps
            .iter()
            .map(move |(tag, app)| (*tag, block.subnet(app.subnet)))
    }

    /// Notes that a workload leaves; whether it had a place.
    pub(super) fn leave(&mut self, workload: &WorkloadId) -> bool {
        let mut apps = self.apps.values_mut();
        let app = apps.find(|app| app.workloads.contains_key(workload));
        app.is_some_and(|app| app.leaving.insert(*workload))
    }

    /// Takes a place back; an app without workloads goes with its last one.
    pub(super) fn free(&mut self, place: &Place) {
        if let Some(app) = self.apps.get_mut(&place.app) {
            app.leaving.remove(&place.workload);
            app.workloads.remove(&place.workload);
        }
        self.apps.retain(|_, app| !app.workloads.is_empty());
    }

    /// Takes the places of an app and its subnet back.
    pub(super) fn free_app(&mut self, app: &AppTag) {
        self.apps.remove(app);
    }

    /// Takes everything back that is leaving; whether there were any.
    pub(super) fn free_leaving(&mut self) -> bool {
        let mut is_changed = false;
        for app in self.apps.values_mut() {
            for workload in std::mem::take(&mut app.leaving) {
                app.workloads.remove(&workload);
                is_changed = true;
            }
        }
        self.apps.retain(|_, app| !app.workloads.is_empty());
        is_changed
    }

    /// Whether no address is given out.
    pub(super) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// Reads the file; absent, or written before the last boot, means empty.
    pub(super) fn load(path: &Path) -> Result<Self, NetworkError> {
        let boot = boot_id()?;
        let stored: Option<Self> = load_json(path)?;
        Ok(match stored {
            Some(stored) if stored.boot == boot => stored,
            _ => Self {
                boot,
                ..Self::default()
            },
        })
    }

    /// Replaces the file.
    pub(super) fn save(&self, path: &Path) -> Result<(), NetworkError> {
        save_json(path, self, Durability::Process)
    }
}

fn next_free(last: u8, first: u8, end: u8, is_free: impl Fn(u8) -> bool) -> Option<u8> {
    let after = last.saturating_add(1).max(first);
    (after..=end)
        .chain(first..=end)
        .find(|number| is_free(*number))
}

/// What the installation remembers for ever: lost, it would choose anew and find the traces of
/// its old choice in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Durable {
    /// The block of this installation.
    pub(super) block: Block,
    /// Whether forwarding was off on this host before this installation turned it on.
    pub(super) forwarding_was_off: bool,
}

impl Durable {
    pub(super) fn load(path: &Path) -> Result<Option<Self>, NetworkError> {
        load_json(path)
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), NetworkError> {
        save_json(path, self, Durability::Machine)
    }
}

/// Held while the state or the kernel's objects change, by one process of the installation.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Waits for its turn. Whoever holds it works for milliseconds, and the kernel frees it when
    /// its holder dies.
    pub(super) fn take(path: &Path) -> Result<Self, NetworkError> {
        let at = |source| NetworkError::StateFile {
            path: path.to_owned(),
            source,
        };
        loop {
            let mut options = OpenOptions::new();
            let file = options
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
                .map_err(at)?;
            match file.lock() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(at(error)),
            }
            // While this one waited, the holder may have removed the file with all the rest.
            let held = file.metadata().map_err(at)?;
            let is_current = fs::metadata(path).is_ok_and(|named| named.ino() == held.ino());
            if is_current {
                return Ok(Self(file));
            }
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a written file must survive.
enum Durability {
    Process,
    Machine,
}

fn load_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, NetworkError> {
    let at = |source| NetworkError::StateFile {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let mut bytes = Vec::new();
    file.take(STATE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(at)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| NetworkError::StateDamaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

fn save_json(
    path: &Path,
    value: &impl Serialize,
    durability: Durability,
) -> Result<(), NetworkError> {
    let at = |source| NetworkError::StateFile {
        path: path.to_owned(),
        source,
    };
    let bytes = serde_json::to_vec(value).map_err(|error| at(error.into()))?;
    let fresh: PathBuf = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(at)?;
    io::Write::write_all(&mut file, &bytes).map_err(at)?;
    if matches!(durability, Durability::Machine) {
        file.sync_all().map_err(at)?;
    }
    fs::rename(&fresh, path).map_err(at)?;
    if matches!(durability, Durability::Machine)
        && let Some(directory) = path.parent()
    {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at)?;
    }
    Ok(())
}

fn boot_id() -> Result<String, NetworkError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|source| NetworkError::StateFile {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
