//! Running one more process inside a workload.
//!
//! libcontainer's own way does not join the user namespace, which would run tenants' commands as
//! the host's root. Here, three processes do it: the *worker* stays outside and talks to the
//! client; the *gate* joins the control group and all namespaces, and waits; the *command* is the
//! gate's child, born inside the process namespace, where it gives up what a workload may not
//! have. None of them can be looked into from inside until the command has been executed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use caps::{CapSet, Capability};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Pid, PidfdFlags, Uid, WaitOptions};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::Winsize;
use rustix::thread::ThreadNameSpaceType;

use super::host::{Host, refuse};
use super::make::PLAN_FILE;
use super::remove;
use super::shim::poll_readable;
use crate::container::rootfs::private;
use crate::container::spec::{ProcessPlan, open_files};
use crate::container::user::{self, Slot, User};
use crate::record::{Place, ProcessId};
use crate::request::{Answer, ExecEnd, ExecSpec, Refusal};
use crate::sys::{self, Fork};
use crate::workload::{EndCause, StartFault};
use crate::{limits, wire};

/// Runs the process, answers when it runs, and again when it has ended.
pub(crate) fn exec(host: &Host, exec: &ExecSpec, stream: &UnixStream) -> Result<(), Refusal> {
    check(exec)?;
    remove::status(host, &exec.id)?;
    let place = host.place(&exec.id);
    let record = place.record().map_err(refuse("read the record"))?;
    let state = place.state().map_err(refuse("read the status"))?;
    let stopped = || Refusal::Busy {
        what: format!("workload {}", exec.id),
        why: "it does not run".to_owned(),
    };
    let init = state
        .init
        .as_ref()
        .and_then(ProcessId::open)
        .ok_or_else(stopped)?;
    let plan = match read_plan(record.shim.pid) {
        Some(plan) => plan,
        None => rebuild_plan(&place, state.init.map_or(0, |init| init.pid))?,
    };
    let pid = record_pid(&state.phase).ok_or_else(stopped)?;
    let plan = adapt(plan, exec, pid)?;
    let stdio = Stdio::open(exec.terminal).map_err(refuse("open its standard streams"))?;
    stdio
        .inner
        .give_to(Slot(record.user_slot).base(), &plan.user)
        .map_err(refuse("give it its standard streams"))?;
    let joining = host.group(&exec.id).open_for_joining();
    let gate = Gate {
        host,
        exec,
        plan: &plan,
        init,
        joining: joining.map_err(refuse("open its control group"))?,
    };
    let (running, outer) = gate.open(stdio, stream)?;
    let outer = outer.take().map_err(refuse("take its terminal"))?;
    let fds: Vec<_> = outer.iter().map(AsFd::as_fd).collect();
    wire::send(stream, &Answer::ExecStarted, &fds).map_err(refuse("answer"))?;
    drop(fds);
    drop(outer);
    // A client that hangs up does not want it any more.
    let [has_ended, _has_hung_up] =
        poll_readable([Some(running.result.as_fd()), Some(stream.as_fd())], None);
    if !has_ended {
        kill(running.gate);
        return Ok(());
    }
    let end = running.end();
    let _ = wire::send(stream, &Answer::ExecEnded { end }, &[]);
    Ok(())
}

fn check(exec: &ExecSpec) -> Result<(), Refusal> {
    let invalid = |what: &str| {
        Err(Refusal::Invalid {
            what: what.to_owned(),
        })
    };
    let bytes: usize = exec.args.iter().map(|arg| arg.len() + 1).sum();
    if exec.args.is_empty() || exec.args.len() > limits::ARGS_MAX {
        return invalid("a command of 1 to 1024 words is needed");
    }
    if bytes > limits::ARGS_BYTES_MAX || exec.args.iter().any(|arg| arg.contains('\0')) {
        return invalid("the command is too long, or holds a NUL byte");
    }
    let is_odd = |name: &str| name.is_empty() || name.contains(['=', '\0']);
    let is_bad = |value: &[u8]| value.contains(&0) || std::str::from_utf8(value).is_err();
    if exec.env.len() > limits::ENV_MAX
        || exec
            .env
            .iter()
            .any(|var| is_odd(&var.name) || is_bad(var.value.expose()))
    {
        return invalid("the variables are too many, or hold what no variable can");
    }
    Ok(())
}

fn record_pid(phase: &crate::workload::Phase) -> Option<i32> {
    match phase {
        crate::workload::Phase::Running { pid, .. } => Some(*pid),
        _ => None,
    }
}

/// The plan lies in the first shim's private mount namespace, in memory; a later shim has none.
fn read_plan(shim: i32) -> Option<ProcessPlan> {
    let inside = private(PLAN_FILE);
    let inside = inside.strip_prefix("/").unwrap_or(&inside);
    let path = PathBuf::from(format!("/proc/{shim}/root")).join(inside);
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The plan, after the shim that had it has died: the variables are those that the first process has now. Those that may
/// be secret are written down nowhere, and are gone where a program has overwritten them, as Redis does with its title.
fn rebuild_plan(place: &Place, init: i32) -> Result<ProcessPlan, Refusal> {
    let step = "read how its first process was started";
    let mut plan = place.start().map_err(refuse(step))?;
    let mut bytes = Vec::new();
    // The tenant decides what is in it, so its size is bounded; it stays with the tenant.
    File::open(format!("/proc/{init}/environ"))
        .and_then(|file| {
            file.take(limits::ARGS_BYTES_MAX as u64)
                .read_to_end(&mut bytes)
        })
        .map_err(refuse(step))?;
    let text = String::from_utf8_lossy(&bytes);
    let variables = text.split('\0').take(limits::ENV_MAX);
    let variables = variables.filter_map(|variable| variable.split_once('='));
    for (name, value) in variables.filter(|(name, _)| !name.is_empty()) {
        set_variable(&mut plan.env, name, value);
    }
    Ok(plan)
}

/// The plan of the first process, with what is asked for instead.
fn adapt(mut plan: ProcessPlan, exec: &ExecSpec, init: i32) -> Result<ProcessPlan, Refusal> {
    if let Some(wanted) = &exec.user {
        let root =
            crate::container::mount::open_place(&PathBuf::from(format!("/proc/{init}/root")))
                .map_err(refuse("open its root"))?;
        let user = user::resolve(root.as_fd(), wanted).map_err(refuse("read its users"))?;
        let fault = StartFault::UnknownUser {
            user: wanted.clone(),
        };
        plan.user = user.ok_or(Refusal::NotStarted {
            cause: EndCause::StartFailed { fault },
        })?;
        let home = plan.user.home.clone();
        set_variable(&mut plan.env, "HOME", &home);
    }
    if exec.terminal.is_some() && plan.variable("TERM").is_none() {
        set_variable(&mut plan.env, "TERM", "xterm");
    }
    for var in &exec.env {
        let value = String::from_utf8_lossy(var.value.expose());
        set_variable(&mut plan.env, &var.name, &value);
    }
    if let Some(directory) = &exec.working_dir {
        plan.working_dir.clone_from(directory);
    }
    Ok(plan)
}

fn set_variable(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

/// Both sides of the standard streams.
struct Stdio {
    /// For the client.
    outer: Outer,
    inner: Inner,
}

/// What the client gets.
enum Outer {
    Pipes([OwnedFd; 3]),
    /// The terminal is made inside; this is where its master comes out.
    Terminal(UnixStream),
}

/// What the command gets.
enum Inner {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal {
        size: Winsize,
        master_to: UnixStream,
    },
}

impl Stdio {
    fn open(terminal: Option<(u16, u16)>) -> io::Result<Self> {
        let Some((rows, columns)) = terminal else {
            let (stdin, stdin_writer) = pipe_with(PipeFlags::CLOEXEC)?;
            let (stdout_reader, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
            let (stderr_reader, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
            return Ok(Self {
                outer: Outer::Pipes([stdin_writer, stdout_reader, stderr_reader]),
                inner: Inner::Pipes {
                    stdin,
                    stdout,
                    stderr,
                },
            });
        };
        let (master_from, master_to) = UnixStream::pair()?;
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(Self {
            outer: Outer::Terminal(master_from),
            inner: Inner::Terminal { size, master_to },
        })
    }
}

impl Outer {
    /// The descriptors for the client, once the command runs.
    fn take(self) -> io::Result<Vec<OwnedFd>> {
        match self {
            Self::Pipes(pipes) => Ok(pipes.into()),
            Self::Terminal(master_from) => Ok(wire::receive(&master_from)?.fds),
        }
    }
}

/// Makes a terminal in the container's own instance, so that it has a name there. Nothing that a
/// tenant could have put in its place is opened: the instance is recognised by its file system,
/// in which only the kernel makes files.
fn open_terminal(size: Winsize, master_to: &UnixStream, user: &User) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let instance = rustix::fs::openat2(rustix::fs::CWD, "/dev/pts", flags, Mode::empty(), resolve)?;
    if rustix::fs::fstatfs(&instance)?.f_type != DEVPTS_MAGIC {
        let text = "/dev/pts is not the container's terminals";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(&instance, "ptmx", flags, Mode::empty())?;
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&master, flags)?;
    std::os::unix::fs::fchown(&terminal, Some(user.uid), None)?;
    rustix::termios::tcsetwinsize(&master, size)?;
    wire::send(master_to, &(), &[master.as_fd()])?;
    Ok(terminal)
}

/// What the kernel calls the file system of terminals.
const DEVPTS_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// What is needed to let a command in.
struct Gate<'a> {
    host: &'a Host,
    exec: &'a ExecSpec,
    plan: &'a ProcessPlan,
    init: OwnedFd,
    joining: Vec<File>,
}

/// A command that runs.
struct Running {
    gate: Pid,
    /// Becomes readable when the command has ended: its raw status.
    result: OwnedFd,
}

impl Running {
    fn end(self) -> ExecEnd {
        let mut bytes = Vec::new();
        let read = File::from(self.result).take(4).read_to_end(&mut bytes);
        see_off(self.gate);
        let status = read
            .ok()
            .and_then(|_| <[u8; 4]>::try_from(bytes.as_slice()).ok());
        // A gate without a word was killed, and the command with it.
        let raw = status.map_or(libc::SIGKILL, i32::from_ne_bytes);
        let status = std::process::ExitStatus::from_raw(raw);
        match status.code() {
            Some(code) => ExecEnd::Exited { code },
            None => ExecEnd::Signaled {
                signal: status.signal().unwrap_or(libc::SIGKILL),
            },
        }
    }
}

fn kill(gate: Pid) {
    let _ = rustix::process::kill_process(gate, rustix::process::Signal::KILL);
    see_off(gate);
}

/// Waits for a gate that is about to end. In a frozen workload that may be as late as it is thawed: then the root process
/// reaps it.
fn see_off(gate: Pid) {
    let wait = Duration::from_millis(limits::EXEC_END_WAIT_MS);
    if let Ok(pidfd) = rustix::process::pidfd_open(gate, PidfdFlags::empty()) {
        poll_readable([Some(pidfd.as_fd())], Some(wait));
    }
    let _ = rustix::process::waitpid(Some(gate), WaitOptions::NOHANG);
}

/// What a gate reports: nothing where its command runs. `None` where it says neither before whoever asked has gone, or
/// waits no longer: in a frozen workload it stands still.
fn hear(report: &OwnedFd, stream: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let wait = Duration::from_millis(limits::EXEC_START_WAIT_MS);
    let mut text = Vec::new();
    while text.len() < limits::EXEC_REPORT_BYTES_MAX {
        let [has_news, _has_hung_up] =
            poll_readable([Some(report.as_fd()), Some(stream.as_fd())], Some(wait));
        if !has_news {
            return Ok(None);
        }
        let mut buffer = [0u8; limits::EXEC_REPORT_BYTES_MAX];
        match rustix::io::read(report, &mut buffer) {
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(&buffer[..read]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(text))
}

impl Gate<'_> {
    /// Forks the gate, and waits until the command runs or cannot, or nobody waits for that any more.
    fn open(self, stdio: Stdio, stream: &UnixStream) -> Result<(Running, Outer), Refusal> {
        let Stdio { inner, outer } = stdio;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(refuse("open a pipe"));
        let (report, report_writer) = pipe()?;
        let (result, result_writer) = pipe()?;
        let gate = match sys::fork().map_err(refuse("fork"))? {
            Fork::Child => {
                // The client's ends, too: while this copy of its writer is open, the command's input never ends.
                drop((report, result, outer));
                self.pass(inner, report_writer, result_writer.as_fd());
                sys::exit_now(0)
            }
            Fork::Parent(pid) => pid,
        };
        drop((inner, report_writer, result_writer));
        let Some(text) = hear(&report, stream).map_err(refuse("start it"))? else {
            kill(gate);
            return Err(Refusal::Busy {
                what: format!("workload {}", self.exec.id),
                why: "it stands still, so nothing can be run beside it".to_owned(),
            });
        };
        if text.is_empty() {
            return Ok((Running { gate, result }, outer));
        }
        see_off(gate);
        Err(self.explain(&String::from_utf8_lossy(&text)))
    }

    /// In the gate: goes in, lets the command in, and waits for it.
    fn pass(self, inner: Inner, report: OwnedFd, result: std::os::fd::BorrowedFd<'_>) {
        let tell = |step: &str, error: &io::Error| {
            let errno = error.raw_os_error().unwrap_or(0);
            let _ = rustix::io::write(&report, format!("{errno} {step}").as_bytes());
        };
        if let Err(error) = self.enter() {
            return tell("enter its namespaces", &error);
        }
        let streams = match inner.settle(&self.plan.user) {
            Ok(streams) => streams,
            Err(error) => return tell("make its terminal", &error),
        };
        match sys::fork_again() {
            Err(error) => tell("fork inside", &error),
            Ok(Fork::Child) => {
                let (step, error) = self.become_command(streams);
                tell(step, &error);
                sys::exit_now(127)
            }
            Ok(Fork::Parent(pid)) => {
                drop((streams, report));
                let status = loop {
                    match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
                        Ok(Some((_, status))) => break status.as_raw(),
                        Ok(None) | Err(rustix::io::Errno::INTR) => {}
                        Err(_) => break libc::SIGKILL,
                    }
                };
                let _ = rustix::io::write(result, &status.to_ne_bytes());
            }
        }
    }

    fn enter(&self) -> io::Result<()> {
        sys::die_with_parent()?;
        sys::become_undumpable()?;
        for group in &self.joining {
            rustix::io::write(group, b"0")?;
        }
        let all = ThreadNameSpaceType::USER
            | ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::PROCESS_ID
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::CONTROL_GROUP;
        rustix::thread::move_into_thread_name_spaces(self.init.as_fd(), all)?;
        // The host's root is nobody inside, and what it made would belong to nobody. Becoming
        // the container's root keeps all rights inside, and none outside.
        let (uid, gid) = (Uid::ROOT, Gid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        // Changing the user has undone both.
        sys::die_with_parent()?;
        sys::become_undumpable()
    }

    /// In the command: gives up everything, in an order in which each step is still allowed.
    /// Comes back only with what went wrong.
    fn become_command(&self, streams: Streams) -> (&'static str, io::Error) {
        if let Err(error) = take_stdio(&streams) {
            return ("take over its standard streams", error);
        }
        if let Err(error) = change_directory(&self.plan.working_dir) {
            return ("change to the working directory", error);
        }
        if let Err(error) = self.give_up_rights() {
            return ("give up rights", error);
        }
        let mut args = self.exec.args.iter();
        let Some(program) = args.next() else {
            return ("run", io::ErrorKind::InvalidInput.into());
        };
        // The search for the program follows the variables of the command, not those of ours.
        let program = match find_program(program, self.plan.variable("PATH")) {
            Some(program) => program,
            None => return ("run", io::Error::from_raw_os_error(libc::ENOENT)),
        };
        let mut command = std::process::Command::new(program);
        if let Some(name) = self.exec.args.first() {
            command.arg0(name);
        }
        command
            .args(args)
            .env_clear()
            .envs(self.plan.env.iter().cloned());
        if let Err(error) = self.host.filters.install() {
            return ("install the filters", error);
        }
        sys::default_signals();
        ("run", command.exec())
    }

    fn give_up_rights(&self) -> io::Result<()> {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let (soft, hard) = open_files();
        let files = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        setrlimit(Resource::Nofile, files)?;
        setrlimit(
            Resource::Core,
            Rlimit {
                current: Some(0),
                maximum: Some(0),
            },
        )?;
        let kept: Vec<Capability> = self
            .plan
            .capabilities
            .iter()
            .map(String::as_str)
            .filter_map(|name| Capability::from_str(name).ok())
            .collect();
        for capability in caps::all() {
            if !kept.contains(&capability) {
                // One that this kernel does not know cannot be held either.
                let _ = caps::drop(None, CapSet::Bounding, capability);
            }
        }
        let user = &self.plan.user;
        let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&groups)?;
        let gid = Gid::from_raw(user.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        let uid = Uid::from_raw(user.uid);
        // As user 0 of the namespace, capabilities stay; as another, they go.
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        let held = if user.uid == 0 {
            kept.into_iter().collect()
        } else {
            caps::CapsHashSet::new()
        };
        caps::clear(None, CapSet::Inheritable).map_err(io::Error::other)?;
        for set in [CapSet::Effective, CapSet::Permitted] {
            caps::set(None, set, &held).map_err(io::Error::other)?;
        }
        rustix::thread::clear_ambient_capability_set()?;
        rustix::thread::set_no_new_privs(true)?;
        // Changing the user has cleared it.
        sys::die_with_parent()
    }

    fn explain(&self, report: &str) -> Refusal {
        let (errno, step) = report.split_once(' ').unwrap_or(("0", report));
        let errno = errno.parse().unwrap_or(0);
        let why = io::Error::from_raw_os_error(errno).to_string();
        let command = self.exec.args.first().cloned().unwrap_or_default();
        let fault = match (step, errno) {
            ("run", libc::ENOENT) => StartFault::CommandNotFound { command },
            ("run", _) => StartFault::CommandNotExecutable { command, why },
            ("change to the working directory", _) => StartFault::WorkingDirectory {
                path: self.plan.working_dir.clone(),
                why,
            },
            _ => StartFault::Host {
                step: step.to_owned(),
                why,
            },
        };
        Refusal::NotStarted {
            cause: EndCause::StartFailed { fault },
        }
    }
}

/// Standard input, output and error as the command has them.
enum Streams {
    Pipes([OwnedFd; 3]),
    Terminal(OwnedFd),
}

impl Inner {
    /// Outside: makes pipes the user's own, as programs open `/dev/stdout` by its path.
    fn give_to(&self, base: u32, user: &User) -> io::Result<()> {
        let Self::Pipes {
            stdin,
            stdout,
            stderr,
        } = self
        else {
            return Ok(());
        };
        for pipe in [stdin, stdout, stderr] {
            std::os::unix::fs::fchown(pipe, Some(base + user.uid), Some(base + user.gid))?;
        }
        Ok(())
    }

    /// Inside: makes what can only be made there.
    fn settle(self, user: &User) -> io::Result<Streams> {
        match self {
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => Ok(Streams::Pipes([stdin, stdout, stderr])),
            Self::Terminal { size, master_to } => {
                open_terminal(size, &master_to, user).map(Streams::Terminal)
            }
        }
    }
}

fn take_stdio(streams: &Streams) -> io::Result<()> {
    rustix::process::setsid()?;
    let [stdin, stdout, stderr] = match streams {
        Streams::Pipes([stdin, stdout, stderr]) => [stdin, stdout, stderr],
        Streams::Terminal(terminal) => {
            sys::take_terminal(terminal.as_fd())?;
            [terminal, terminal, terminal]
        }
    };
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

/// Changes to a directory of the container. Files that stand for something open, as those below
/// `/proc/self/fd`, are not walked through: until the command is executed, this process holds
/// what is the host's (CVE-2024-21626).
fn change_directory(path: &str) -> io::Result<()> {
    let root = crate::container::mount::open_place(std::path::Path::new("/"))?;
    let directory = crate::container::mount::open_inside(root.as_fd(), path)?;
    Ok(rustix::process::fchdir(directory)?)
}

fn find_program(program: &str, path: Option<&str>) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    let candidates = path
        .unwrap_or_default()
        .split(':')
        .filter(|part| !part.is_empty());
    candidates
        .map(|part| PathBuf::from(part).join(program))
        .find(|path| path.is_file())
}
