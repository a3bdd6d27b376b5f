//! What is written down about each workload, so that every process can tell the truth about it.
//!
//! `record.json` says what it is; nothing of it changes but the shim, when a new one takes over.
//! `status.json` says how it is doing, `start.json` how later processes of it are started; each is
//! replaced as a whole. A status that says "running" while the shim of the record is dead is put
//! right by [`crate::root`]. Whoever makes or watches a workload holds the lock of its directory.
//! No file holds a secret.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::container::spec::ProcessPlan;
use crate::layout::Layout;
use crate::limits;
use crate::workload::{EndCause, LayerId, LogLimits, Phase, VolumeName, WorkloadId, WorkloadSpec};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    start_ticks: u64,
    boot: String,
}

impl ProcessId {
    /// The identity of a process that certainly lives now: oneself, or an unreaped child.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_ticks: start_ticks(pid)?,
            boot: boot()?,
        })
    }

    /// A handle to the process, if it is still the same one. A zombie is.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty());
        let pidfd = pidfd.ok()?;
        // The number was taken before the check, so it cannot change its meaning after it.
        let is_same = boot().is_ok_and(|boot| boot == self.boot)
            && start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks);
        is_same.then_some(pidfd)
    }

    /// Whether it was seen since the machine last started.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        boot().is_ok_and(|boot| boot == self.boot)
    }

    /// Whether it still runs; a zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        self.open().is_some_and(|pidfd| {
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
        })
    }
}

fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything, so count from the last one.
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace());
    fields
        .and_then(|mut fields| fields.nth(19))
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}

fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// What a workload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: WorkloadId,
    pub(crate) app: [u8; 32],
    pub(crate) service: String,
    pub(crate) layers: Vec<LayerId>,
    pub(crate) volumes: Vec<VolumeName>,
    pub(crate) user_slot: u32,
    pub(crate) stop_signal: i32,
    pub(crate) stop_grace_ms: u64,
    pub(crate) logs: LogLimits,
    #[serde(default)]
    pub(crate) allowance: Allowance,
    /// Whether it may run for a time only, which is written down beside this.
    #[serde(default)]
    pub(crate) is_fenced: bool,
    pub(crate) shim: ProcessId,
}

/// What a workload may write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Allowance {
    /// Beside its volumes.
    pub(crate) scratch_bytes_max: Option<u64>,
    /// To those of its volumes that it may write to and that have a limit.
    pub(crate) volumes: Vec<VolumeAllowance>,
}

/// What a workload may write to one of its volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeAllowance {
    pub(crate) name: VolumeName,
    /// Where the workload sees it.
    pub(crate) target: String,
    pub(crate) bytes_max: u64,
}

impl Allowance {
    pub(crate) fn of(spec: &WorkloadSpec) -> Self {
        let writable = spec.volumes.iter().filter(|volume| !volume.read_only);
        let volumes = writable.filter_map(|volume| {
            Some(VolumeAllowance {
                name: volume.name.clone(),
                target: volume.target.clone(),
                bytes_max: volume.bytes_max?,
            })
        });
        let scratch = spec.storage_bytes_max;
        Self {
            scratch_bytes_max: scratch.map(|bytes| bytes.max(limits::SCRATCH_BYTES_MIN)),
            volumes: volumes.collect(),
        }
    }
}

/// How a workload is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// The first process, once there is one.
    pub(crate) init: Option<ProcessId>,
}

impl State {
    pub(crate) fn running(phase: Phase, init: ProcessId) -> Self {
        let init = Some(init);
        Self { phase, init }
    }
}

/// The directory of one workload.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    directory: PathBuf,
}

/// Variables that are no secret. Without them no program is found beside one that has overwritten its own.
const SHOWN: [&str; 3] = ["PATH", "HOME", "HOSTNAME"];

impl Place {
    pub(crate) fn new(layout: &Layout, id: &WorkloadId) -> Self {
        Self {
            directory: layout.workload(id),
        }
    }

    /// Makes the directory. Members of `reader_gid` may walk to the logs, and no further.
    pub(crate) fn create(&self, reader_gid: u32) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o750).create(&self.directory)?;
        for (path, mode, group) in [
            (self.directory.clone(), 0o750, reader_gid),
            (self.logs(), 0o750, reader_gid),
            (self.private(), 0o700, 0),
        ] {
            if path != self.directory {
                std::fs::DirBuilder::new().mode(mode).create(&path)?;
            }
            std::os::unix::fs::chown(&path, Some(0), Some(group))?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(self.lock_path()).map(drop)
    }

    pub(crate) fn exists(&self) -> bool {
        self.directory.symlink_metadata().is_ok()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Where the writable layer is.
    pub(crate) fn private(&self) -> PathBuf {
        self.directory.join("private")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.private().join("upper")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.private().join("work")
    }

    /// The pipes of standard output and error. They hold nothing on disk.
    pub(crate) fn outputs(&self) -> [PathBuf; 2] {
        ["stdout", "stderr"].map(|name| self.private().join(name))
    }

    /// How later processes are started, with no variables but those of [`SHOWN`].
    pub(crate) fn start(&self) -> io::Result<ProcessPlan> {
        read(&self.directory.join("start.json"))
    }

    /// Writes down how later processes are started; variables that may be secret are left out.
    pub(crate) fn write_start(&self, plan: &ProcessPlan) -> io::Result<()> {
        let mut plan = plan.clone();
        plan.env.retain(|(name, _)| SHOWN.contains(&name.as_str()));
        replace(&self.directory, "start.json", &plan)
    }

    pub(crate) fn record(&self) -> io::Result<Record> {
        read(&self.directory.join("record.json"))
    }

    pub(crate) fn write_record(&self, record: &Record) -> io::Result<()> {
        replace(&self.directory, "record.json", record)
    }

    pub(crate) fn state(&self) -> io::Result<State> {
        read(&self.directory.join("status.json"))
    }

    pub(crate) fn write_state(&self, state: &State) -> io::Result<()> {
        replace(&self.directory, "status.json", state)
    }

    /// Notes that its end, whenever it comes, was asked for.
    pub(crate) fn mark_stopping(&self) -> io::Result<()> {
        File::create(self.directory.join("stopping")).map(drop)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.directory.join("stopping").exists()
    }

    /// Why it is being ended, where the machine ends it.
    pub(crate) fn verdict(&self) -> Option<EndCause> {
        read(&self.directory.join("verdict.json")).ok()
    }

    pub(crate) fn write_verdict(&self, cause: &EndCause) -> io::Result<()> {
        replace(&self.directory, "verdict.json", cause)
    }

    /// Until when it may run. What is not written down is over.
    pub(crate) fn until_boot_ms(&self) -> u64 {
        let until = std::fs::read(self.directory.join("until"));
        let until = until.ok().and_then(|bytes| bytes.try_into().ok());
        until.map_or(0, u64::from_le_bytes)
    }

    pub(crate) fn make_until(&self, boot_ms: u64) -> io::Result<()> {
        std::fs::write(self.directory.join("until"), boot_ms.to_le_bytes())
    }

    /// In place, so that a full disk does not matter; and never earlier than it was.
    pub(crate) fn renew_until(&self, boot_ms: u64) -> io::Result<()> {
        if boot_ms <= self.until_boot_ms() {
            return Ok(());
        }
        let file = OpenOptions::new()
            .write(true)
            .open(self.directory.join("until"))?;
        file.write_all_at(&boot_ms.to_le_bytes(), 0)
    }

    /// Takes the lock that says somebody makes or watches this workload, when nobody does any more.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let file = self.open_lock()?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Never makes the file: in a directory that is being removed, it would keep that from going.
    fn open_lock(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.lock_path())
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Takes the lock that says somebody makes or watches this workload; `None` if somebody does.
    pub(crate) fn try_lock(&self) -> io::Result<Option<File>> {
        let file = self.open_lock()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The workloads that have a directory, in order.
pub(crate) fn all(layout: &Layout) -> io::Result<Vec<WorkloadId>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(layout.workloads())? {
        let name = entry?.file_name();
        ids.extend(
            name.to_str()
                .and_then(|name| name.parse::<WorkloadId>().ok()),
        );
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Milliseconds since 1970, for people; nothing is decided by them.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// What cannot be understood counts as absent: files are not synced, because no workload outlives
/// a crash of the machine, and such a crash may leave an empty one behind.
fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&std::fs::read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
}

fn replace<T: Serialize>(directory: &Path, name: &str, value: &T) -> io::Result<()> {
    let partial = directory.join(format!("{name}.{}", std::process::id()));
    let text = serde_json::to_vec(value)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    let replaced = file
        .write_all(&text)
        .and_then(|()| std::fs::rename(&partial, directory.join(name)));
    if replaced.is_err() {
        // Others try again under names of their own.
        let _ = std::fs::remove_file(&partial);
    }
    replaced
}
