//! What the root process has its children do without being asked: sending new shims, sweeping and repairing the private
//! network, guarding the disk.

use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::{Root, Work};
use crate::limits;
use crate::root::{adopt, guard, remove, tend};
use crate::workload::WorkloadId;

impl Root {
    pub(super) fn settle(&mut self, id: WorkloadId) {
        let Ok(told) = self.keep.tell(&id) else {
            return self.settle_later(id);
        };
        let is_sent = self.fork(Work::Settle { id }, vec![told], move |host, kept| {
            let Some(told) = kept.into_iter().next() else {
                return 70;
            };
            match adopt::adopt(host, &id, told) {
                Ok(()) => 0,
                Err(refusal) => {
                    tracing::error!(workload = %id, %refusal, "workload not settled");
                    1
                }
            }
        });
        if !is_sent {
            self.settle_later(id);
        }
    }

    /// Whatever ended the last one may end the next, too: a pause that grows keeps that from being a busy loop.
    pub(super) fn settle_later(&mut self, id: WorkloadId) {
        let first = Duration::from_millis(limits::RESTART_PAUSE_MS);
        let longest = Duration::from_millis(limits::SETTLE_PAUSE_MS_MAX);
        let last = self.pauses.get(&id);
        let pause = last.map_or(first, |last| (*last * 2).min(longest));
        self.pauses.insert(id, pause);
        self.unsettled.push((id, Instant::now() + pause));
    }

    pub(super) fn settle_due(&mut self) {
        let now = Instant::now();
        let due: Vec<WorkloadId> = self
            .unsettled
            .extract_if(.., |(_, at)| *at <= now)
            .map(|(id, _)| id)
            .collect();
        for id in due {
            self.settle(id);
        }
    }

    pub(super) fn sweep_soon(&mut self) {
        let delay = Duration::from_millis(limits::SWEEP_DELAY_MS);
        self.sweep_at.get_or_insert_with(|| Instant::now() + delay);
    }

    /// Sweeps the private network when it is time, in a child: it enters namespaces.
    pub(super) fn sweep(&mut self) {
        if self.sweep_at.is_none_or(|at| Instant::now() < at) || self.is_closing() {
            return;
        }
        self.sweep_at = None;
        self.fork(Work::Sweep, Vec::new(), |host, _| {
            match remove::sweep(host) {
                Ok(()) => 0,
                Err(refusal) => {
                    tracing::warn!(%refusal, "private network not swept");
                    1
                }
            }
        });
    }

    /// Whoever made the first workload after a while has just looked at the private network: a look would find nothing,
    /// and be in the way of one that soon ends.
    pub(super) fn tend_later(&mut self) {
        let period = Duration::from_millis(limits::TEND_PERIOD_MS);
        self.tend_at = self.tend_at.max(Instant::now() + period);
    }

    /// Looks at the private network when it is time, in a child: it enters namespaces.
    pub(super) fn tend(&mut self) {
        if self.keep.is_empty() || Instant::now() < self.tend_at || self.is_closing() {
            return;
        }
        // Until it has ended, and said how often to look.
        self.tend_at = Instant::now() + Duration::from_millis(limits::TEND_PERIOD_MS_MAX);
        self.fork(Work::Tend, Vec::new(), |host, _| match tend::tend(host) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(refusal) => {
                tracing::warn!(%refusal, "private network not looked at");
                1
            }
        });
    }

    /// A look has ended. The next one is soon where that is cheap. Where it is not, since the look failed, something moved
    /// while it repaired, or the older packet filters are there, it is soon at first, and later each time.
    pub(super) fn tended(&mut self, is_cheap: bool) {
        if is_cheap {
            self.tend_pause_ms = limits::TEND_PERIOD_MS;
        }
        self.tend_at = Instant::now() + Duration::from_millis(self.tend_pause_ms);
        if !is_cheap {
            self.tend_pause_ms = (self.tend_pause_ms * 2).min(limits::TEND_PERIOD_MS_MAX);
        }
    }

    /// Sends a guard of the disk, where there is none.
    pub(super) fn guard(&mut self) {
        if self.guard_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let pause = Duration::from_millis(limits::RESTART_PAUSE_MS);
        self.guard_at = Some(Instant::now() + pause);
        let (made, tells) = match pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
            Ok(ends) => ends,
            Err(error) => return tracing::error!(%error, "no pipe for the guard of the disk"),
        };
        let root = std::process::id().cast_signed();
        let is_sent = self.fork(Work::Guard, vec![made], |host, kept| {
            let Some(made) = kept.into_iter().next() else {
                return 70;
            };
            match guard::guard(host, root, &made) {
                Ok(()) => 0,
                Err(error) => {
                    tracing::error!(%error, "the disk is not guarded");
                    1
                }
            }
        });
        if is_sent {
            self.guard_at = None;
            self.guard_hears = Some(tells);
        }
    }

    /// Tells the guard that there is somebody new to watch.
    pub(super) fn tell_guard(&self) {
        if let Some(tells) = &self.guard_hears {
            // One that has so much to hear, or has died, will look anyway.
            let _ = rustix::io::write(tells, b"1");
        }
    }
}
