//! Measures workloads from the files of their control groups, which stay open between samples:
//! opening them again each time would cost four times as much.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::container::cgroup::Group;
use crate::request::CgroupVersion;
use crate::workload::{Usage, WorkloadId};

/// Open files of the workloads that are measured again and again.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    gauges: BTreeMap<WorkloadId, Gauge>,
}

/// Each file that the kernel offers; a kernel may lack some.
#[derive(Debug)]
struct Gauge {
    version: CgroupVersion,
    cpu: Option<File>,
    memory: Option<File>,
    memory_peak: Option<File>,
    pids: Option<File>,
    block: Option<File>,
}

/// Workloads whose files are kept open; five files each.
const GAUGES_MAX: usize = 1_000;

impl Meter {
    /// What a workload has used, its network and storage left out. `None`: it has no group.
    pub(crate) fn sample(
        &mut self,
        id: WorkloadId,
        version: CgroupVersion,
        group: impl FnOnce() -> Group,
    ) -> Option<Usage> {
        if let Some(usage) = self.gauges.get(&id).and_then(Gauge::read) {
            return Some(usage);
        }
        // Not known yet, or of an earlier group of the same name.
        self.gauges.remove(&id);
        let gauge = Gauge::open(version, &group());
        let usage = gauge.read()?;
        if self.gauges.len() < GAUGES_MAX {
            self.gauges.insert(id, gauge);
        }
        Some(usage)
    }

    /// Closes the files of a workload.
    pub(crate) fn forget(&mut self, id: &WorkloadId) {
        self.gauges.remove(id);
    }
}

impl Gauge {
    fn open(version: CgroupVersion, group: &Group) -> Self {
        let open = |controller: &str, file: &str| {
            group
                .file(controller, file)
                .and_then(|path| File::open(path).ok())
        };
        match version {
            CgroupVersion::V1 => Self {
                version,
                cpu: open("cpuacct", "cpuacct.usage"),
                memory: open("memory", "memory.usage_in_bytes"),
                memory_peak: open("memory", "memory.max_usage_in_bytes"),
                pids: open("pids", "pids.current"),
                block: open("blkio", "blkio.throttle.io_service_bytes"),
            },
            CgroupVersion::V2 => Self {
                version,
                cpu: open("cpu", "cpu.stat"),
                memory: open("memory", "memory.current"),
                memory_peak: open("memory", "memory.peak"),
                pids: open("pids", "pids.current"),
                block: open("io", "io.stat"),
            },
        }
    }

    /// `None` once the group is gone.
    fn read(&self) -> Option<Usage> {
        let memory = read(self.memory.as_ref()?).ok()?;
        let text = |file: &Option<File>| {
            file.as_ref()
                .and_then(|file| read(file).ok())
                .unwrap_or_default()
        };
        let cpu = text(&self.cpu);
        let cpu_ns = match self.version {
            CgroupVersion::V1 => number(&cpu),
            CgroupVersion::V2 => cpu_stat_ns(&cpu),
        };
        let (block_read_bytes, block_write_bytes) = match self.version {
            CgroupVersion::V1 => block_v1(&text(&self.block)),
            CgroupVersion::V2 => block_v2(&text(&self.block)),
        };
        Some(Usage {
            cpu_ns,
            memory_bytes: number(&memory),
            memory_peak_bytes: number(&text(&self.memory_peak)),
            pids: number(&text(&self.pids)),
            block_read_bytes,
            block_write_bytes,
            ..Usage::default()
        })
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut buffer = [0u8; 8 * 1024];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

fn cpu_stat_ns(text: &str) -> u64 {
    let usage = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    usage.map_or(0, |us| number(us).saturating_mul(1_000))
}

/// Lines `8:0 Read 4096`, one for each device and direction.
fn block_v1(text: &str) -> (u64, u64) {
    let mut totals = (0u64, 0u64);
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(1);
        match (fields.next(), fields.next()) {
            (Some("Read"), Some(bytes)) => totals.0 = totals.0.saturating_add(number(bytes)),
            (Some("Write"), Some(bytes)) => totals.1 = totals.1.saturating_add(number(bytes)),
            _ => {}
        }
    }
    totals
}

/// Lines `8:0 rbytes=4096 wbytes=0 rios=1 …`, one for each device.
fn block_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let fields = text.split_ascii_whitespace();
        fields
            .filter_map(|field| field.strip_prefix(key))
            .map(number)
            .fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        assert_eq!(cpu_stat_ns("usage_usec 12\nuser_usec 5\n"), 12_000);
        let v1 = "8:0 Read 100\n8:0 Write 7\n8:16 Read 1\n8:0 Total 107\nTotal 108\n";
        assert_eq!(block_v1(v1), (101, 7));
        let v2 = "8:0 rbytes=100 wbytes=7 rios=1\n8:16 rbytes=1 wbytes=0\n";
        assert_eq!(block_v2(v2), (101, 7));
    }
}
