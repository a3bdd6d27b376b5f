//! Control groups of workloads, on hosts with the unified hierarchy and on those without.
//!
//! The group is made, with its limits, before anything runs in it. The same limits mean the same
//! on both kinds: processor time by quota and weight, memory without swap, number of processes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::limits;
use crate::request::CgroupVersion;
use crate::workload::Resources;

/// Controllers of the first version that a workload has its own group in.
const V1_CONTROLLERS: &[&str] = &[
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
];
/// Controllers of the second version that workloads need.
const V2_CONTROLLERS: &[&str] = &["cpu", "memory", "pids", "io"];
/// The period over which processor time is counted.
const CPU_PERIOD_US: u64 = 100_000;

/// The hierarchies of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// Controller to mount point.
    V1(BTreeMap<String, PathBuf>),
    /// The mount point.
    V2(PathBuf),
}

impl Hierarchy {
    /// Finds out what this host has.
    pub(crate) fn detect() -> io::Result<Self> {
        Self::from_mounts(&std::fs::read_to_string("/proc/self/mountinfo")?)
    }

    fn from_mounts(mountinfo: &str) -> io::Result<Self> {
        let mut first = BTreeMap::new();
        let mut second = None;
        for line in mountinfo.lines() {
            let Some((mount, file_system)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = mount.split(' ').nth(4) else {
                continue;
            };
            let mut fields = file_system.split(' ');
            match fields.next() {
                Some("cgroup") => {
                    let options = fields.nth(1).unwrap_or_default();
                    for controller in V1_CONTROLLERS {
                        if options.split(',').any(|option| option == *controller) {
                            first
                                .entry((*controller).to_owned())
                                .or_insert(PathBuf::from(point));
                        }
                    }
                }
                Some("cgroup2") => second = Some(PathBuf::from(point)),
                _ => {}
            }
        }
        match (
            first.contains_key("memory") && first.contains_key("pids"),
            second,
        ) {
            (true, _) => Ok(Self::V1(first)),
            (false, Some(root)) => Ok(Self::V2(root)),
            (false, None) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no control groups for memory and processes are mounted under /sys/fs/cgroup",
            )),
        }
    }

    /// Which version it is.
    pub(crate) fn version(&self) -> CgroupVersion {
        match self {
            Self::V1(_) => CgroupVersion::V1,
            Self::V2(_) => CgroupVersion::V2,
        }
    }

    /// The directories of the group `name`: one for each hierarchy.
    fn directories(&self, name: &str) -> Vec<PathBuf> {
        match self {
            Self::V2(root) => vec![root.join(name)],
            Self::V1(mounts) => {
                let mut all: Vec<PathBuf> = mounts.values().map(|root| root.join(name)).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        }
    }

    /// Groups right below `parent`, by name.
    pub(crate) fn children(&self, parent: &str) -> Vec<String> {
        let mut names = Vec::new();
        for directory in self.directories(parent) {
            let Ok(entries) = std::fs::read_dir(directory) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    names.extend(entry.file_name().into_string().ok());
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A group that limits nothing, and only holds processes together: in one hierarchy, as each
    /// costs time to join.
    pub(crate) fn holding_group(&self, name: &str) -> Group {
        let hierarchy = match self {
            Self::V2(_) => self.clone(),
            Self::V1(mounts) => {
                let holder = ["freezer", "pids"].into_iter().find_map(|controller| {
                    Some((controller.to_owned(), mounts.get(controller)?.clone()))
                });
                Self::V1(holder.into_iter().collect())
            }
        };
        Group {
            hierarchy,
            name: name.to_owned(),
        }
    }

    /// The group with that name, which may or may not exist.
    pub(crate) fn group(&self, name: &str) -> Group {
        Group {
            hierarchy: self.clone(),
            name: name.to_owned(),
        }
    }
}

/// What happened to a group for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MemoryEvents {
    /// Processes that were killed.
    pub(crate) kills: u64,
}

/// One control group, in all hierarchies of the host.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    hierarchy: Hierarchy,
    name: String,
}

impl Group {
    /// Makes the group and its ancestors, with `resources` as its limits.
    pub(crate) fn create(&self, resources: &Resources) -> io::Result<()> {
        self.make()?;
        self.limit(resources)
    }

    /// Makes the group and moves this process into it. What it forks is born there.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.make()?;
        for directory in self.hierarchy.directories(&self.name) {
            write(&directory.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Moves this process to the root of the hierarchies, which limits nothing either.
    pub(crate) fn leave(&self) -> io::Result<()> {
        for directory in self.hierarchy.directories("") {
            write(&directory.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    fn make(&self) -> io::Result<()> {
        match &self.hierarchy {
            Hierarchy::V2(root) => {
                let mut directory = root.clone();
                for part in Path::new(&self.name) {
                    enable_controllers(&directory)?;
                    directory.push(part);
                    make_directory(&directory)?;
                }
            }
            Hierarchy::V1(mounts) => {
                for (controller, root) in mounts {
                    let mut directory = root.clone();
                    for part in Path::new(&self.name) {
                        let parent = directory.clone();
                        directory.push(part);
                        make_directory(&directory)?;
                        if controller == "cpuset" {
                            inherit_cpuset(&parent, &directory)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets the limits, also while processes run in it.
    pub(crate) fn limit(&self, resources: &Resources) -> io::Result<()> {
        let quota = u64::from(resources.cpu_milli) * CPU_PERIOD_US / 1_000;
        let memory = resources.memory_bytes.to_string();
        match &self.hierarchy {
            Hierarchy::V2(root) => {
                let directory = root.join(&self.name);
                let set = |file: &str, value: &str| write(&directory.join(file), value);
                set("memory.max", &memory)?;
                optional(set("memory.swap.max", "0"))?;
                set("pids.max", &resources.pids.to_string())?;
                set("cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
                set("cpu.weight", &weight_v2(resources.cpu_milli).to_string())
            }
            Hierarchy::V1(_) => {
                let set =
                    |controller: &str, file: &str, value: &str| match self.file(controller, file) {
                        Some(path) => write(&path, value),
                        None => Ok(()),
                    };
                self.limit_memory_v1(resources.memory_bytes)?;
                optional(set("memory", "memory.swappiness", "0"))?;
                set("pids", "pids.max", &resources.pids.to_string())?;
                set("cpu", "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
                set("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
                set(
                    "cpu",
                    "cpu.shares",
                    &shares_v1(resources.cpu_milli).to_string(),
                )
            }
        }
    }

    /// Memory with swap may never be below memory alone, so the order depends on the direction.
    fn limit_memory_v1(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        let set = |file: &str| match self.file("memory", file) {
            Some(path) => write(&path, &bytes),
            None => Ok(()),
        };
        let with_swap = || optional(set("memory.memsw.limit_in_bytes"));
        match set("memory.limit_in_bytes") {
            Ok(()) => with_swap(),
            Err(_) => {
                with_swap()?;
                set("memory.limit_in_bytes")
            }
        }
    }

    /// A file of one controller; with the unified hierarchy, the controller makes no difference.
    pub(crate) fn file(&self, controller: &str, file: &str) -> Option<PathBuf> {
        let root = match &self.hierarchy {
            Hierarchy::V2(root) => root,
            Hierarchy::V1(mounts) => mounts.get(controller)?,
        };
        Some(root.join(&self.name).join(file))
    }

    /// Opens what a process writes `0` to in order to join. To be opened before it loses sight of
    /// the host's file systems.
    pub(crate) fn open_for_joining(&self) -> io::Result<Vec<std::fs::File>> {
        let directories = self.hierarchy.directories(&self.name);
        let open = |directory: PathBuf| {
            std::fs::OpenOptions::new()
                .write(true)
                .open(directory.join("cgroup.procs"))
        };
        directories.into_iter().map(open).collect()
    }

    /// How often the kernel had to kill in it for want of memory.
    pub(crate) fn memory_events(&self) -> MemoryEvents {
        let file = match &self.hierarchy {
            Hierarchy::V2(_) => self.file("memory", "memory.events"),
            Hierarchy::V1(_) => self.file("memory", "memory.oom_control"),
        };
        let text = file
            .and_then(|file| std::fs::read_to_string(file).ok())
            .unwrap_or_default();
        let kills = text
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "));
        MemoryEvents {
            kills: kills
                .filter_map(|count| count.trim().parse::<u64>().ok())
                .sum(),
        }
    }

    /// The processes in it, and in groups below it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for directory in self.hierarchy.directories(&self.name) {
            collect_processes(&directory, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills everything in it, and waits until nothing is left.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_millis(limits::KILL_WAIT_MS);
        let mut pause = Duration::from_millis(1);
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            self.kill_once(&processes)?;
            if Instant::now() >= deadline {
                let text = format!("{} processes outlive SIGKILL", processes.len());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            // The kernel offers no event that covers both versions; the pause grows to 50 ms.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn kill_once(&self, processes: &[i32]) -> io::Result<()> {
        if let Hierarchy::V2(root) = &self.hierarchy {
            match write(&root.join(&self.name).join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                // Kernels before 5.14 know it not.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // Frozen, it cannot fork faster than it is killed.
        let _ = self.freeze(true);
        for pid in processes {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        self.freeze(false)
    }

    /// Stops the time of all its processes, or lets it go on.
    pub(crate) fn freeze(&self, is_frozen: bool) -> io::Result<()> {
        match &self.hierarchy {
            Hierarchy::V2(root) => {
                let value = if is_frozen { "1" } else { "0" };
                optional(write(&root.join(&self.name).join("cgroup.freeze"), value))
            }
            Hierarchy::V1(_) => match self.file("freezer", "freezer.state") {
                Some(path) => optional(write(&path, if is_frozen { "FROZEN" } else { "THAWED" })),
                None => Ok(()),
            },
        }
    }

    /// Whether the time of all its processes stands still by now.
    pub(crate) fn is_frozen(&self) -> bool {
        let (file, word) = match &self.hierarchy {
            Hierarchy::V2(_) => ("cgroup.events", "frozen 1"),
            Hierarchy::V1(_) => ("freezer.state", "FROZEN"),
        };
        let text = self.file("freezer", file);
        let text = text.and_then(|path| std::fs::read_to_string(path).ok());
        text.is_some_and(|text| text.lines().any(|line| line == word))
    }

    /// Removes the group; nothing may run in it. What is not there is no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for directory in self.hierarchy.directories(&self.name) {
            remove_tree(&directory)?;
        }
        Ok(())
    }
}

fn collect_processes(directory: &Path, pids: &mut Vec<i32>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // A process of a namespace that cannot be seen from here reads as 0.
    pids.extend(
        text.lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), pids);
        }
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    // A group stays busy for a moment after its last process was reaped.
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match std::fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn enable_controllers(directory: &Path) -> io::Result<()> {
    let available = std::fs::read_to_string(directory.join("cgroup.controllers"))?;
    let control = directory.join("cgroup.subtree_control");
    let enabled = std::fs::read_to_string(&control)?;
    for controller in V2_CONTROLLERS {
        let has = |list: &str| {
            list.split_ascii_whitespace()
                .any(|name| name == *controller)
        };
        if has(&available) && !has(&enabled) {
            write(&control, &format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// A cpuset group takes no process until it has processors and memory nodes.
fn inherit_cpuset(parent: &Path, directory: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = std::fs::read_to_string(directory.join(file))?;
        if own.trim().is_empty() {
            write(
                &directory.join(file),
                std::fs::read_to_string(parent.join(file))?.trim(),
            )?;
        }
    }
    Ok(())
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    std::fs::write(path, value).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("writing `{value}` to {}: {error}", path.display()),
        )
    })
}

/// Swallows the absence of a feature that not every kernel is built with.
fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn shares_v1(cpu_milli: u32) -> u64 {
    (u64::from(cpu_milli) * 1_024 / 1_000).clamp(2, 262_144)
}

/// The mapping that other runtimes use, so that workloads of both weigh the same.
fn weight_v2(cpu_milli: u32) -> u64 {
    1 + (shares_v1(cpu_milli) - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests;
