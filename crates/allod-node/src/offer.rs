//! What this machine has to give.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use allod_state::Credits;
use allod_state::node::{Isolation, Offer, Prices, Resources};

/// Memory that the host keeps for itself, as a part of the whole.
const MEMORY_KEPT: u64 = 8;
/// Disk that the host keeps for itself, as a part of what is free.
const STORAGE_KEPT: u64 = 10;

/// All CPUs, and memory and disk less what the host keeps for itself, at the default prices.
#[must_use]
pub fn of_this_machine(dir: &Path) -> Offer {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory_bytes = memory_total_bytes();
    let free_bytes =
        rustix::fs::statvfs(dir).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    Offer {
        capacity: Resources {
            cpu_milli: u64::try_from(cpus).unwrap_or(1).saturating_mul(1000),
            memory_bytes: memory_bytes - memory_bytes / MEMORY_KEPT,
            storage_bytes: free_bytes - free_bytes / STORAGE_KEPT,
        },
        prices: Prices {
            cpu_core_hour: Credits::from_micro(10_000),
            memory_gib_hour: Credits::from_micro(5_000),
            storage_gib_hour: Credits::from_micro(100),
        },
        isolation: BTreeSet::from([Isolation::Container]),
        region: "local".parse().expect("it is a word"),
        tags: BTreeSet::new(),
    }
}

fn memory_total_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0).saturating_mul(1024)
}
