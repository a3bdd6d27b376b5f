//! What one workload takes on disk, held against what it may.

use std::collections::BTreeSet;

use rustix::fs::{AtFlags, CWD, FileType, Stat};

use super::{EndCause, Host, Place, StoragePlace, WorkloadId};
use crate::limits;
use crate::record::Allowance;
use crate::storage;
use crate::storage::{Disk, Stored, blocks};

/// Kinds of file systems that hold their files in memory, by the number that the kernel gives them.
const MEMORY_FILE_SYSTEMS: [i64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

pub(super) struct Measured {
    /// All of it.
    pub(super) total: Stored,
    /// How much more it may write, at the place where that is least.
    pub(super) slack: Stored,
    /// Bytes that its processes have written, as far as they live.
    pub(super) written: u64,
    /// What is to become of it, where it is over a limit.
    pub(super) excess: Option<EndCause>,
}

impl Measured {
    pub(super) fn of(
        host: &Host,
        place: &Place,
        id: &WorkloadId,
        allowance: &Allowance,
        disk: &Disk,
    ) -> Self {
        let mut measured = Self {
            total: Stored::default(),
            slack: Stored::MAX,
            written: 0,
            excess: None,
        };
        let mut allowed = Stored::default();
        if let Some(bytes_max) = allowance.scratch_bytes_max {
            let limit = disk.share(bytes_max);
            let stored = storage::stored(&place.upper(), limit);
            measured.hold(StoragePlace::Scratch, stored, limit);
            allowed = allowed.plus(limit);
        }
        for volume in &allowance.volumes {
            let limit = disk.share(volume.bytes_max);
            let stored = storage::stored(&host.layout.volume(&volume.name), limit);
            let place = StoragePlace::Volume {
                target: volume.target.clone(),
            };
            measured.hold(place, stored, limit);
            allowed = allowed.plus(limit);
        }
        let processes = host.group(id).processes();
        let nameless = nameless(&processes);
        if allowed != Stored::default() {
            let total = measured.total.plus(nameless);
            let (slack, excess) = (measured.slack, measured.excess.take());
            measured.hold(StoragePlace::Deleted, total, allowed);
            measured.total = total;
            measured.slack = measured.slack.least(slack);
            measured.excess = excess.or(measured.excess);
        }
        measured.written = processes.iter().map(|pid| written(*pid)).sum();
        measured
    }

    /// Adds what one place holds, and holds it against its limit.
    fn hold(&mut self, place: StoragePlace, stored: Stored, limit: Stored) {
        self.total = self.total.plus(stored);
        self.slack = self.slack.least(limit.minus(stored));
        let is_over = |stored: u64, limit: u64| stored > limit;
        let (used, limit, is_files) = if is_over(stored.bytes, limit.bytes) {
            (stored.bytes, limit.bytes, false)
        } else if is_over(stored.files, limit.files) {
            (stored.files, limit.files, true)
        } else {
            return;
        };
        self.excess.get_or_insert(match is_files {
            false => EndCause::StorageExceeded {
                place,
                used_bytes: used,
                limit_bytes: limit,
            },
            true => EndCause::FilesExceeded {
                place,
                used_files: used,
                limit_files: limit,
            },
        });
    }
}

/// What processes hold open that has no name any more: no walk finds it.
fn nameless(processes: &[i32]) -> Stored {
    let mut seen = BTreeSet::new();
    let mut total = Stored::default();
    for pid in processes {
        for path in open_files(*pid).chain(mapped_files(*pid)) {
            // Whatever cannot be looked at any more is closed.
            let Ok(stat) = rustix::fs::statat(CWD, &path, AtFlags::empty()) else {
                continue;
            };
            let is_nameless = stat.st_nlink == 0
                && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if is_nameless && is_on_disk(&path) && seen.insert((stat.st_dev, stat.st_ino)) {
                total = total.plus(one(&stat));
            }
        }
    }
    total
}

fn one(stat: &Stat) -> Stored {
    Stored {
        bytes: blocks(stat),
        files: 1,
    }
}

fn open_files(pid: i32) -> impl Iterator<Item = String> {
    let directory = format!("/proc/{pid}/fd");
    let entries = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten();
    entries
        .take(limits::NOFILE_MAX as usize)
        .filter_map(move |entry| Some(format!("{directory}/{}", entry.file_name().to_str()?)))
}

/// A file may be closed and still be mapped.
fn mapped_files(pid: i32) -> impl Iterator<Item = String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let deleted: Vec<String> = maps
        .lines()
        .filter(|line| line.ends_with(" (deleted)"))
        .filter_map(|line| Some(format!("/proc/{pid}/map_files/{}", line.split(' ').next()?)))
        .collect();
    deleted.into_iter()
}

fn is_on_disk(path: &str) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| !MEMORY_FILE_SYSTEMS.contains(&found.f_type))
}

/// Bytes that a process has caused to be written to files, as the kernel counts them.
fn written(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}
