//! Keeps a child process running: starts it with few rights, and again when it dies by itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::down::{self, Ends};
use crate::limits;
use crate::sys;

/// The environment variable that names the descriptors handed over, in order, from 3 on.
pub const FDS_VARIABLE: &str = "ALLOD_FDS";

/// The exit code by which a process says that another start would end as this one did (`EX_CONFIG` of `sysexits.h`).
pub const GIVES_UP: i32 = 78;

/// The name of the descriptor through which a supervised process says that it is [`READY`], or its last words.
pub const SAYS: &str = "says";

/// What a supervised process says once it does what it is there for.
pub const READY: &[u8] = b"\x06";

/// A process to keep running.
#[derive(Debug)]
pub struct Process {
    /// What to call it in logs.
    pub name: &'static str,
    /// The program, which must be reachable for the root process.
    pub program: PathBuf,
    /// Its arguments, the program's own name left out. No secrets: everybody can read them.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Descriptors to hand over, by name; see [`inherited_fds`].
    pub fds: Vec<(String, OwnedFd)>,
    /// The user it runs as.
    pub uid: u32,
    /// The group it runs as, and its only one.
    pub gid: u32,
    /// Its working directory, entered before its rights are dropped: `uid` may be unable to walk
    /// there by path.
    pub working_directory: OwnedFd,
}

/// How a supervised process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    /// By itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// By a signal.
    Signaled {
        /// Which.
        signal: i32,
    },
}

/// Takes over the descriptors that [`Process::fds`] handed to this process, by name. Call it
/// once, first thing in `main`: the numbers are those that the supervisor chose.
#[expect(
    unsafe_code,
    reason = "descriptors handed over by number have to be trusted once"
)]
pub fn inherited_fds() -> BTreeMap<String, OwnedFd> {
    let names = std::env::var(FDS_VARIABLE).unwrap_or_default();
    let names = names.split(':').filter(|name| !name.is_empty());
    let mut fds = BTreeMap::new();
    for (number, name) in (3..).zip(names) {
        // SAFETY: the supervisor put a descriptor at this number for us, and this is called once.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        if rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).is_ok() {
            fds.insert(name.to_owned(), fd);
        } else {
            // Not open: the variable was set by someone else. Nothing to close.
            std::mem::forget(fd);
        }
    }
    fds
}

/// A [`Process`] and where it is in its life.
pub(crate) struct Supervised {
    process: Process,
    state: State,
    pause: Duration,
    /// How it ended since it last did what it is there for.
    ends: Ends,
    /// Where commands read of that.
    down: PathBuf,
}

enum State {
    Running {
        child: Child,
        since: Instant,
        hears: Hears,
    },
    Waiting {
        until: Instant,
    },
}

/// What a process says, as far as it has been heard.
struct Hears {
    /// Nothing once its other end is closed.
    pipe: Option<OwnedFd>,
    words: Vec<u8>,
    is_ready: bool,
}

impl Supervised {
    /// A process to be started, and where commands read of it while it cannot.
    pub(crate) fn new(process: Process, run_dir: &Path) -> Self {
        let down = run_dir.join(down::FILE_NAME);
        // Of an earlier root process, whose children have ended with it.
        down::withdraw(&down);
        let pause = Duration::from_millis(limits::RESTART_PAUSE_MS);
        Self {
            process,
            state: State::Waiting {
                until: Instant::now(),
            },
            pause,
            ends: Ends::default(),
            down,
        }
    }

    /// Where it says how it is doing.
    pub(crate) fn says(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Running { hears, .. } => hears.pipe.as_ref(),
            State::Waiting { .. } => None,
        }
    }

    /// Hears what it has said by now.
    pub(crate) fn hear(&mut self) {
        if let State::Running { hears, .. } = &mut self.state
            && hears.is_first_ready()
        {
            down::withdraw(&self.down);
        }
    }

    /// When [`Supervised::tend`] has something to do though no child has ended.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Running { .. } => None,
            State::Waiting { until } => Some(until),
        }
    }

    /// Whether this is the process with that number.
    pub(crate) fn is(&self, pid: i32) -> bool {
        matches!(&self.state, State::Running { child, .. } if child.id() as i32 == pid)
    }

    /// Notes that the process has ended; says whether it gives up.
    pub(crate) fn ended(&mut self, status: i32) -> bool {
        self.hear();
        let State::Running { since, hears, .. } = &self.state else {
            return false;
        };
        let longest = Duration::from_millis(limits::RESTART_PAUSE_MS_MAX);
        if since.elapsed() >= Duration::from_millis(limits::RESTART_HEALTHY_MS) {
            self.pause = Duration::from_millis(limits::RESTART_PAUSE_MS);
            self.ends = Ends::default();
        }
        let end = ProcessEnd::from_status(status);
        self.ends.add(end, &hears.words, hears.is_ready);
        // One that was killed is there again in a moment, and whoever asks waits at its door.
        let has_refused = !hears.is_ready && matches!(end, ProcessEnd::Exited { .. });
        if has_refused || self.pause >= Duration::from_millis(limits::DOWN_PAUSE_MS) {
            self.ends.announce(&self.down);
        }
        let pause_ms = self.pause.as_millis() as u64;
        tracing::warn!(
            process = self.process.name,
            ?end,
            pause_ms,
            "child process ended"
        );
        self.state = State::Waiting {
            until: Instant::now() + self.pause,
        };
        self.pause = (self.pause * 2).min(longest);
        end == ProcessEnd::Exited { code: GIVES_UP }
    }

    /// Starts the process if it is time to.
    pub(crate) fn tend(&mut self) {
        let State::Waiting { until } = self.state else {
            return;
        };
        if Instant::now() < until {
            return;
        }
        match spawn(&self.process) {
            Ok((child, says)) => {
                tracing::info!(
                    process = self.process.name,
                    pid = child.id(),
                    "child started"
                );
                self.state = State::Running {
                    child,
                    since: Instant::now(),
                    hears: Hears {
                        pipe: Some(says),
                        words: Vec::new(),
                        is_ready: false,
                    },
                };
            }
            Err(error) => {
                tracing::error!(process = self.process.name, %error, "child not started");
                self.ends.add_unstarted(&error);
                self.ends.announce(&self.down);
                self.state = State::Waiting {
                    until: Instant::now() + self.pause,
                };
                let longest = Duration::from_millis(limits::RESTART_PAUSE_MS_MAX);
                self.pause = (self.pause * 2).min(longest);
            }
        }
    }

    /// Asks the process to end, and kills it if it does not.
    pub(crate) fn stop(&mut self, grace: Duration) {
        down::withdraw(&self.down);
        let State::Running { child, .. } = &mut self.state else {
            return;
        };
        let deadline = Instant::now() + grace;
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Hears {
    /// Hears what has been said by now, and whether the process has just become ready.
    fn is_first_ready(&mut self) -> bool {
        let was_ready = self.is_ready;
        let mut buffer = [0u8; 1024];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    let said = buffer.get(..count).unwrap_or_default();
                    self.is_ready |= said.starts_with(READY);
                    self.words.extend(said.strip_prefix(READY).unwrap_or(said));
                    let more = self
                        .words
                        .len()
                        .saturating_sub(limits::LAST_WORDS_BYTES_MAX);
                    self.words.drain(..more);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.is_ready && !was_ready
    }
}

impl ProcessEnd {
    fn from_status(status: i32) -> Self {
        let status = std::process::ExitStatus::from_raw(status);
        match status.code() {
            Some(code) => Self::Exited { code },
            None => Self::Signaled {
                signal: status.signal().unwrap_or(0),
            },
        }
    }
}

/// Starts the process, and gives the pipe by which it says how it is doing.
#[expect(unsafe_code, reason = "rights are dropped between fork and exec")]
fn spawn(process: &Process) -> io::Result<(Child, OwnedFd)> {
    let (hears, says) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let names = process.fds.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.chain([SAYS]).collect();
    let mut command = Command::new(&process.program);
    command
        .args(&process.args)
        .env_clear()
        .envs(process.env.iter().map(|(name, value)| (name, value)))
        .env(FDS_VARIABLE, names.join(":"))
        .stdin(Stdio::null());
    let fds = process.fds.iter().map(|(_, fd)| fd.as_raw_fd());
    let fds: Vec<RawFd> = fds.chain([says.as_raw_fd()]).collect();
    let directory = process.working_directory.as_raw_fd();
    let (uid, gid) = (process.uid, process.gid);
    let high = fds
        .iter()
        .copied()
        .max()
        .unwrap_or(0)
        .max(directory)
        .max(3 + fds.len() as i32)
        + 1;
    let _reserved = reserve_low_numbers(3 + fds.len() as i32)?;
    // SAFETY: this process has one thread, so the closure may use all of Rust; what it does not
    // succeed in makes the start fail.
    unsafe {
        command.pre_exec(move || {
            sys::mask_signals(&[])?;
            enter(directory, &fds, high)?;
            drop_rights(uid, gid)?;
            end_with_parent()
        });
    }
    Ok((command.spawn()?, hears))
}

/// Has the kernel end this process when its parent dies, however that comes about: what was handed over, such as
/// listening sockets, is then free for the next root process. Changing the user would undo this, so it comes after.
fn end_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// Occupies every number below `high`, so that the pipe by which the standard library reports a
/// failed exec is not where the handed-over descriptors go.
fn reserve_low_numbers(high: RawFd) -> io::Result<Vec<std::fs::File>> {
    let mut reserved = Vec::new();
    loop {
        let file = std::fs::File::open("/dev/null")?;
        if file.as_raw_fd() >= high {
            return Ok(reserved);
        }
        reserved.push(file);
    }
}

/// Moves to the working directory, and puts the descriptors at 3, 4, ….
#[expect(
    unsafe_code,
    reason = "descriptors are put at fixed numbers before exec"
)]
fn enter(directory: RawFd, fds: &[RawFd], high: RawFd) -> io::Result<()> {
    let check = |result: i32| {
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result)
        }
    };
    // SAFETY: the supervisor keeps the descriptor open.
    check(unsafe { libc::fchdir(directory) })?;
    let mut moved = Vec::with_capacity(fds.len());
    for fd in fds {
        // SAFETY: the supervisor keeps the descriptor open; the copy is above every place below.
        moved.push(check(unsafe {
            libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, high)
        })?);
    }
    for (place, fd) in (3..).zip(moved) {
        // SAFETY: whatever was at this place belongs to the parent's image, which ends here.
        // dup2 leaves the copy open across exec, which is its purpose.
        check(unsafe { libc::dup2(fd, place) })?;
    }
    Ok(())
}

fn drop_rights(uid: u32, gid: u32) -> io::Result<()> {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}
