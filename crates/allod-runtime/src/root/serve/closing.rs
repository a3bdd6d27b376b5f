//! Stopping everything. Rules:
//!
//! 1. From the request on no workload is made, and nobody sweeps or repairs the private network.
//! 2. Those that are being made are made first, and those that look at the network have ended: only then are all listed
//!    and stopped.
//! 3. Where one could not be stopped, the house goes on as before. Otherwise the root process ends; whoever works on is
//!    killed, since the next start finishes what was begun; and the network's directory goes last.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::{Job, Request, Root, Work, answer};
use crate::request::{Answer, Refusal};
use crate::root::remove;

/// Who asked for it, while workloads are still being made.
pub(super) type Asked = (UnixStream, Vec<OwnedFd>);

impl Root {
    /// Begins to stop everything. Whoever asks while it is under way is refused.
    pub(super) fn close(&mut self, stream: UnixStream, fds: Vec<OwnedFd>) {
        if self.is_closing() {
            return refuse(&stream);
        }
        // A look at the network would make anew what is about to be removed.
        self.kill(|work| matches!(work, Work::Tend | Work::Sweep));
        self.closing = Some((stream, fds));
    }

    /// Has everything stopped once nothing is being made any more, and whoever looked at the network is gone.
    pub(super) fn close_when_made(&mut self) {
        let mut works = self.workers.values();
        let is_looked_at = works.any(|work| matches!(work, Work::Tend | Work::Sweep));
        if is_looked_at || !self.makers.is_empty() {
            return;
        }
        if let Some((stream, fds)) = self.closing.take() {
            let stop_workloads = true;
            let request = Request::Shutdown { stop_workloads };
            self.spawn(Work::StopAll, stream, fds, Job::Request(request));
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        let mut works = self.workers.values();
        self.closing.is_some() || works.any(|work| matches!(work, Work::StopAll))
    }

    /// The end of a root process whose workloads are stopped: nobody is left who could make anything.
    pub(super) fn vacated(&mut self) {
        let killed = self.kill(|work| !matches!(work, Work::Shim { .. }));
        for pid in killed {
            // It ends at once; where it had ended before, there is nothing to wait for.
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
        if let Err(error) = remove::run_dir(&self.host) {
            tracing::warn!(%error, "the private network's directory is left");
        }
    }

    fn kill(&self, is_meant: impl Fn(&Work) -> bool) -> Vec<Pid> {
        let meant = self.workers.iter().filter(|(_, work)| is_meant(work));
        let pids: Vec<Pid> = meant.filter_map(|(pid, _)| Pid::from_raw(*pid)).collect();
        for pid in &pids {
            // Not reaped yet, so the number is still its own; it may have ended all the same.
            let _ = kill_process(*pid, Signal::KILL);
        }
        pids
    }
}

/// What is answered to whoever wants something made meanwhile.
pub(super) fn refuse(stream: &UnixStream) {
    let refusal = Refusal::Busy {
        what: "this installation".to_owned(),
        why: "everything is being stopped".to_owned(),
    };
    answer(stream, &Answer::Refused { refusal });
}
