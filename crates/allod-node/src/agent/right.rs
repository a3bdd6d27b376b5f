//! Rights: an exclusive replica that others watch runs only while most of them confirm it, and stands still else.
//!
//! What stands still answers nobody. So it is ready for nobody, it is not billed as ready, and it is asked nothing: what its
//! probes would hear says nothing of it. Once it is confirmed again it is asked as after a start of this agent.

use allod_runtime::{Phase, Status, WorkloadId, boot_ms};
use allod_state::lease::Lease;

use super::Agent;
use super::entry::Entry;

impl Agent {
    /// Whether it may run now, as far as others have a say in that, and the runtime knows.
    pub(super) fn may_run(&self, id: &WorkloadId, lease: &Lease) -> bool {
        let until = self.inner.until.borrow();
        let is_confirmed = || until.get(id).is_some_and(|until| *until > boot_ms());
        !is_watched(lease) || is_confirmed()
    }

    /// Takes in until when the runtime lets it run, as an earlier node of this machine may have told it.
    pub(super) fn take_right_over(&self, status: &Status) {
        // Of one that ran before the machine was started again it says nothing.
        let is_running = matches!(status.phase, Phase::Running { .. });
        let told = status.until_boot_ms.filter(|_| is_running);
        let Some(told) = told.filter(|told| *told > boot_ms()) else {
            return;
        };
        self.inner.until.send_if_modified(|until| {
            let known = until.entry(status.id).or_default();
            *known = (*known).max(told);
            // The look that follows this event is enough.
            false
        });
    }
}

impl Entry {
    /// Notes whether it may run. What may not is asked nothing any more, and is not ready.
    pub(super) fn allow(&mut self, may_run: bool) {
        self.local.is_unconfirmed = !may_run;
        if !may_run {
            self.stop_probes();
        }
    }
}

/// Whether it may run only while others confirm it. Where nobody else watches, nobody else can be given it either.
pub(super) fn is_watched(lease: &Lease) -> bool {
    lease.is_exclusive && lease.watchers().next().is_some()
}

#[cfg(test)]
pub(super) mod tests;
