//! What the root process keeps of running workloads, so that nothing is lost when a shim dies.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use super::host::Host;
use super::{adopt, output};
use crate::workload::WorkloadId;

/// What is kept, by workload.
#[derive(Default)]
pub(super) struct Keep(BTreeMap<WorkloadId, Kept>);

struct Kept {
    /// Never read from: a pipe that nobody has open forgets what was written to it.
    _outputs: [OwnedFd; 2],
    /// The number of the first process, to know it by when it has to be reaped here.
    init: i32,
    /// How the first process ended, if it was reaped here.
    status: Option<i32>,
    /// Where a new shim waits for that.
    telling: Option<OwnedFd>,
}

impl Keep {
    /// Keeps a workload that runs, if it does.
    pub(super) fn add(&mut self, host: &Host, id: WorkloadId) {
        let place = host.place(&id);
        let Ok(Some((_, init))) = adopt::orphan(&place) else {
            return;
        };
        if let Ok(outputs) = output::open(&place) {
            let kept = Kept {
                _outputs: outputs,
                init: init.pid,
                status: None,
                telling: None,
            };
            self.0.insert(id, kept);
        }
    }

    /// Whether nothing runs.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets go of a workload that has ended.
    pub(super) fn remove(&mut self, id: &WorkloadId) {
        self.0.remove(id);
    }

    /// For a new shim: a pipe out of which it hears how the first process has ended. It closes without a word where
    /// nobody here will know.
    pub(super) fn tell(&mut self, id: &WorkloadId) -> io::Result<OwnedFd> {
        let (hears, tells) = pipe_with(PipeFlags::CLOEXEC)?;
        if let Some(kept) = self.0.get_mut(id)
            && (kept.status.is_some() || is_child(kept.init))
        {
            kept.telling = Some(tells);
            kept.say();
        }
        Ok(hears)
    }

    /// Notes how an orphan has ended.
    pub(super) fn reaped(&mut self, pid: i32, status: i32) {
        if let Some(kept) = self.0.values_mut().find(|kept| kept.init == pid) {
            kept.status = Some(status);
            kept.say();
        }
    }
}

impl Kept {
    fn say(&mut self) {
        if let (Some(status), Some(pipe)) = (self.status, &self.telling) {
            // Whoever does not hear it is dead, and the next one is told again.
            let _ = rustix::io::write(pipe.as_fd(), &status.to_ne_bytes());
            self.telling = None;
        }
    }
}

/// Whether a process is a child of this one: an orphan of an earlier root process is the host's.
fn is_child(pid: i32) -> bool {
    let own = std::process::id().to_string();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name in parentheses, which may hold anything: state, parent.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' '));
    fields.and_then(|mut fields| fields.nth(1)) == Some(own.as_str())
}
