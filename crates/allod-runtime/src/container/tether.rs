//! The tether: the first process of a workload that may run for a time only, above the one that the image brings.
//!
//! Rules:
//! 1. It dies with the process beside the workload, and all that is in the workload with it: the kernel ends a process
//!    namespace whose first process has died. So it never changes its user and executes nothing, for the kernel forgets
//!    whom a process that did shall die with; what it has started may do either.
//! 2. It stands for the command: signals that it gets are handed on, and it ends when the command has, after it has told
//!    how. Whatever else loses its parent is reaped.
//! 3. It keeps nothing of the process that it was forked from: no descriptor, no right but to send signals, no arguments
//!    and no variables where others could read them. Nobody inside can look into it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use caps::{CapSet, Capability};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::seccomp::Filters;
use crate::sys::{self, Fork};
use crate::workload::Resources;

/// What the control group of a workload is given: room for the tether, where there is one, beside what was asked for.
pub(crate) fn make_room(asked: Resources, is_fenced: bool) -> Resources {
    Resources {
        pids: asked.pids.saturating_add(u32::from(is_fenced)),
        ..asked
    }
}

/// Becomes the tether, and comes back only in the process that is to become the command, or with what went wrong.
pub(crate) fn fasten(filters: &Filters, tells: &OwnedFd) -> io::Result<()> {
    sys::die_with_parent()?;
    sys::become_undumpable()?;
    // Nothing that comes before it listens is lost.
    let all: Vec<i32> = (1..=64).collect();
    sys::mask_signals(&all)?;
    filters.install()?;
    match sys::fork_again()? {
        Fork::Child => {
            rustix::process::setsid()?;
            sys::mask_signals(&[])
        }
        Fork::Parent(command) => {
            let status = hold(command, tells, &all);
            let shown = status.map(|status| status.code().unwrap_or(128 + signal_of(status)));
            // Without it, the kernel ends the command as well.
            sys::exit_now(shown.unwrap_or(128 + libc::SIGKILL))
        }
    }
}

fn signal_of(status: ExitStatus) -> i32 {
    status.signal().unwrap_or(libc::SIGKILL)
}

/// Stands for the command until it has ended, and tells how.
fn hold(command: Pid, tells: &OwnedFd, all: &[i32]) -> io::Result<ExitStatus> {
    let tells = forget_all_but(tells)?;
    let signals = sys::signal_fd(all)?;
    let pidfd = rustix::process::pidfd_open(command, PidfdFlags::empty())?;
    let status = loop {
        while let Some(signal) = sys::next_signal(signals.as_fd())? {
            if signal != libc::SIGCHLD {
                // One that has ended hears nothing more.
                let _ = sys::signal_process(pidfd.as_fd(), signal);
            }
        }
        if let Some(status) = reap(command) {
            break status;
        }
        let mut news = [PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut news, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    rustix::io::write(&tells, &status.into_raw().to_ne_bytes())?;
    Ok(status)
}

/// Reaps whatever has ended; how the command did, if it has.
fn reap(command: Pid) -> Option<ExitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == command {
            found = Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
    found
}

/// Lets go of what the process it was forked from held.
fn forget_all_but(tells: &OwnedFd) -> io::Result<OwnedFd> {
    let null = rustix::stdio::stdin();
    rustix::stdio::dup2_stdout(null)?;
    rustix::stdio::dup2_stderr(null)?;
    let mut kept = sys::keep_only(vec![tells.try_clone()?])?;
    std::env::set_current_dir("/")?;
    rustix::thread::set_name(c"allod-tether")?;
    sys::erase_arguments()?;
    let mut held = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    held.retain(|capability| *capability == Capability::CAP_KILL);
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &held).map_err(io::Error::other)?;
    }
    kept.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
}
