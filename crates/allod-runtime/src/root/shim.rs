//! The shim: the process beside a workload. It writes the logs, and records the end.
//!
//! The first one is the parent of the workload's first process, in a session of its own, and needs
//! nobody: root and network process may come and go. When it has recorded the end, it ends, and its
//! mount namespace with all private files ends with it. Where the end cannot be written down, as on a full disk, it ends
//! with an error, and the root process sends the next one until it can; one that alone knows how the workload ended tries
//! again itself. Nor does the workload need the shim: when
//! it dies, another one takes over (see [`super::adopt`]), which learns the exit status from the
//! root process, the parent of all orphans, or where that is a later one, from the kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

use crate::container::cgroup::Group;
use crate::fault::{Point, reach};
use crate::fence::Fence;
use crate::limits::{END_AGAIN_MS, KILL_WAIT_MS, LOG_DRAIN_MS, LOG_IDLE_MS, OUTPUT_READS_MAX};
use crate::logs::{Stream, Writer};
use crate::record::{Place, State, now_ms};
use crate::sys;
use crate::workload::{EndCause, Phase};

/// Leaves the session of the root process, and everything it could be ended by.
pub(super) fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::thread::set_name(c"allod-shim")?;
    sys::become_subreaper()?;
    // Its terminal may go away; what the shim has to say goes to files.
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    std::env::set_current_dir("/")
}

/// In the order of [`Shim::outputs`].
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// A workload that runs, seen from its shim.
pub(super) struct Shim {
    place: Place,
    group: Group,
    status: Source,
    /// The first process; `None` when it has ended and been reaped.
    pidfd: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
    logs: Writer,
    /// Of a workload that may run for a time only.
    fence: Option<Fence>,
}

/// Where the exit status of the first process comes from.
enum Source {
    Child(Child),
    /// The root process reaps it, and tells the raw status through this pipe.
    Told(OwnedFd),
}

/// A first process that is a child of this one.
struct Child {
    pid: Pid,
    /// As a tether, it tells of the command through this.
    told: Option<OwnedFd>,
    /// The root process, for as long as it is that: then it reaps what this process leaves.
    parent: Option<Pid>,
}

impl Shim {
    /// The shim of a workload whose first process is a child of this one.
    pub(super) fn of_child(
        place: Place,
        group: Group,
        (pid, told): (i32, Option<OwnedFd>),
        outputs: [OwnedFd; 2],
        logs: Writer,
    ) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self {
            place,
            group,
            status: Source::Child(Child {
                pid,
                told,
                parent: rustix::process::getppid(),
            }),
            pidfd: Some(pidfd),
            outputs: outputs.map(Some),
            logs,
            fence: None,
        })
    }

    /// The shim of a workload that has lost its own. Through `told` comes the exit status.
    pub(super) fn of_orphan(
        place: Place,
        group: Group,
        pidfd: Option<OwnedFd>,
        told: OwnedFd,
        outputs: [OwnedFd; 2],
        logs: Writer,
    ) -> Self {
        Self {
            place,
            group,
            status: Source::Told(told),
            pidfd,
            outputs: outputs.map(Some),
            logs,
            fence: None,
        }
    }

    /// Has a workload that is fenced stand still whenever its time is over. Without a clock for that it runs no further.
    pub(super) fn fenced(mut self, is_fenced: bool) -> io::Result<Self> {
        if !is_fenced {
            return Ok(self);
        }
        let fence = Fence::new(self.place.clone(), self.group.clone());
        if fence.is_err() {
            self.group.kill()?;
        }
        self.fence = Some(fence?);
        self.look_at_fence();
        Ok(self)
    }

    fn look_at_fence(&mut self) {
        if let Some(fence) = &mut self.fence
            && let Err(error) = fence.look()
        {
            tracing::error!(%error, "a workload whose time is over cannot be frozen: it is killed");
            let _ = self.group.kill();
        }
    }

    /// Writes logs until the first process has ended, then records the end. An error: that could not be done.
    pub(super) fn watch(mut self) -> io::Result<()> {
        // The workload was born with the host's ordinary score; its watcher shall outlive it.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        // A pipe whose last writer is gone already does not tell by polling.
        for (slot, stream) in STREAMS.into_iter().enumerate() {
            let mut reads = 0..OUTPUT_READS_MAX;
            while matches!(self.status, Source::Told(_)) && self.read(slot, stream) {
                if reads.next().is_none() {
                    break;
                }
            }
        }
        let drain = Duration::from_millis(LOG_DRAIN_MS);
        let mut drain_until = self.pidfd.is_none().then(|| Instant::now() + drain);
        loop {
            let has_ended = drain_until.is_some();
            let is_silent = self.outputs.iter().all(Option::is_none);
            if has_ended && is_silent {
                break;
            }
            let mut wait = self
                .logs
                .has_unfinished()
                .then_some(Duration::from_millis(LOG_IDLE_MS));
            if let Some(until) = drain_until {
                let left = Instant::saturating_duration_since(&until, Instant::now());
                if left.is_zero() {
                    break;
                }
                wait = Some(wait.map_or(left, |wait| wait.min(left)));
            }
            let ready = self.wait_for_news(has_ended, wait);
            // A full disk loses log lines, and never the workload.
            if !ready.contains(&true) {
                let _ = self.logs.flush(now_ms());
            }
            for (slot, stream) in STREAMS.into_iter().enumerate() {
                if ready[slot] {
                    self.read(slot, stream);
                }
            }
            if ready[3] {
                self.look_at_fence();
            }
            if ready[2] && !has_ended {
                drain_until = Some(Instant::now() + drain);
            }
        }
        let _ = self.logs.flush(now_ms());
        reach(Point::EndSeen);
        self.record_end()
    }

    /// Which of output, error, end and fence have news.
    fn wait_for_news(&self, has_ended: bool, wait: Option<Duration>) -> [bool; 4] {
        let sources = [
            self.outputs[0].as_ref().map(AsFd::as_fd),
            self.outputs[1].as_ref().map(AsFd::as_fd),
            self.pidfd.as_ref().filter(|_| !has_ended).map(AsFd::as_fd),
            self.fence.as_ref().filter(|_| !has_ended).map(Fence::as_fd),
        ];
        poll_readable(sources, wait)
    }

    /// Takes what there is from one output; whether there may be more.
    fn read(&mut self, slot: usize, stream: Stream) -> bool {
        let Some(output) = &self.outputs[slot] else {
            return false;
        };
        let mut buffer = [0u8; 16 * 1024];
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => self.outputs[slot] = None,
            Ok(read) => {
                let _ = self.logs.put(stream, &buffer[..read], now_ms());
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => self.outputs[slot] = None,
        }
        self.outputs[slot].is_some()
    }

    fn record_end(&self) -> io::Result<()> {
        // Of one that is being stopped nobody asks how it ended.
        let pidfd = self.pidfd.as_ref().filter(|_| !self.place.is_stopping());
        let heard = self.status.read();
        let is_told = heard.is_some();
        let status = heard.or_else(|| end_of_orphan(pidfd?));
        reach(Point::EndReaped);
        // What the first process left behind died with its process namespace; what joined from
        // outside dies here.
        let _ = self.group.kill();
        reach(Point::EndGroupKilled);
        let code = status.and_then(|status| status.code());
        let signal = status.and_then(|status| status.signal());
        let cause = self.end_cause(code, signal);
        let state = State {
            phase: Phase::Exited {
                cause,
                at_ms: now_ms(),
            },
            init: None,
        };
        while let Err(error) = self.place.write_state(&state) {
            // The next one hears of it, or the workload is being removed.
            if self.status.is_known_to_root(is_told) || !self.place.exists() {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(END_AGAIN_MS));
        }
        reach(Point::EndWritten);
        Ok(())
    }

    fn end_cause(&self, code: Option<i32>, signal: Option<i32>) -> EndCause {
        if self.place.is_stopping() {
            return EndCause::Stopped;
        }
        let is_killed = signal == Some(libc::SIGKILL) || code == Some(128 + libc::SIGKILL);
        // One that ended by itself between the verdict and the kill did that.
        let is_unknown = (code, signal) == (None, None);
        if (is_killed || is_unknown)
            && let Some(verdict) = self.place.verdict()
        {
            return verdict;
        }
        if is_killed && self.group.memory_events().kills > 0 {
            return EndCause::OutOfMemory;
        }
        match (code, signal) {
            (Some(code), _) => EndCause::Exited { code },
            (None, Some(signal)) => EndCause::Signaled { signal },
            (None, None) => EndCause::Lost,
        }
    }
}

impl Source {
    fn read(&self) -> Option<ExitStatus> {
        match self {
            // It is not reaped yet: should this process die before the end is written down, the next shim hears of
            // it from the root process.
            Self::Child(child) => {
                let own = end_of_child(child.pid);
                // One that was killed has told nothing.
                child.told.as_ref().and_then(hear_status).or(own)
            }
            // A root process that is gone closes the pipe; one that is busy comes to it.
            Self::Told(pipe) => {
                let wait = Duration::from_millis(KILL_WAIT_MS);
                let is_told = poll_readable([Some(pipe.as_fd())], Some(wait)) == [true];
                is_told.then(|| hear_status(pipe)).flatten()
            }
        }
    }

    /// Whether the root process knows what was read here, `is_told` where it was told so, or comes to know it when this
    /// process ends.
    fn is_known_to_root(&self, is_told: bool) -> bool {
        match self {
            Self::Child(child) => child.parent == rustix::process::getppid(),
            Self::Told(_) => is_told,
        }
    }
}

fn end_of_child(pid: Pid) -> Option<ExitStatus> {
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => break raw_status(&status).map(ExitStatus::from_raw),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break None,
        }
    }
}

/// Of one whose parent was an earlier root process: whoever reaps the host's orphans has it now, and from then on the kernel
/// tells those who hold a descriptor.
fn end_of_orphan(pidfd: &OwnedFd) -> Option<ExitStatus> {
    let mut reaped = [PollFd::new(pidfd, PollFlags::empty())];
    let wait = Timespec::try_from(Duration::from_millis(KILL_WAIT_MS)).ok();
    poll(&mut reaped, wait.as_ref()).ok()?;
    sys::end_of_reaped(pidfd.as_fd()).map(ExitStatus::from_raw)
}

fn hear_status(pipe: &OwnedFd) -> Option<ExitStatus> {
    let mut raw = [0u8; size_of::<i32>()];
    let is_told = rustix::io::read(pipe, &mut raw) == Ok(raw.len());
    is_told.then(|| ExitStatus::from_raw(i32::from_ne_bytes(raw)))
}

/// The status as `wait` would give it.
fn raw_status(status: &WaitIdStatus) -> Option<i32> {
    let exited = status.exit_status().map(|code| (code & 0xff) << 8);
    exited.or_else(|| status.terminating_signal())
}

/// Waits until one of the sources is readable or hung up, or the time is over.
pub(super) fn poll_readable<const N: usize>(
    sources: [Option<BorrowedFd<'_>>; N],
    wait: Option<Duration>,
) -> [bool; N] {
    let mut fds = Vec::with_capacity(N);
    for source in sources.iter().flatten() {
        fds.push(PollFd::from_borrowed_fd(*source, PollFlags::IN));
    }
    let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
    let is_ready = poll(&mut fds, wait.as_ref()).is_ok_and(|count| count > 0);
    let mut answers = fds.iter().map(|fd| is_ready && !fd.revents().is_empty());
    sources.map(|source| source.is_some() && answers.next().unwrap_or(false))
}
