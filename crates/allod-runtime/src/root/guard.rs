//! Ends workloads that write more than they may, before the disk is full.
//!
//! The kernel limits what a workload writes only where the file system keeps quotas of projects, which not every one
//! does. So a child of the root process measures, and ends. Rules:
//!
//! 1. Several times a second one look at the file system as a whole. A workload that had `slack` left when it was last
//!    measured cannot be over its limit before the file system as a whole has grown by as much, unless others have removed
//!    something meanwhile; so it is measured when that has happened, and now and then without it.
//! 2. Measured is what its writable layer and its volumes take (blocks and number of files), and what its processes hold
//!    open without a name. A walk stops where the limit is passed.
//! 3. Who is over its limit is ended. What it has written stays until its lease ends.
//! 4. While the disk is nearly full, everybody is measured, and where nobody is over a limit, whoever has grown most
//!    since the last look is ended, as long as the disk still fills.
//! 5. The nearer the disk is to being full, or a workload to its limit, the more often this happens: a writer as fast as
//!    [`WRITE_SPEED_MAX`](limits::WRITE_SPEED_MAX) is seen before the disk is full, and one that passes its limit is
//!    seen [`GUARD_PAUSE_MS_MIN`](limits::GUARD_PAUSE_MS_MIN) later, as long as a walk through its files is quick.
//! 6. The root process says when a workload was made. Whether one came or went in any other way is looked at each
//!    [`GUARD_PAUSE_MS_MAX`](limits::GUARD_PAUSE_MS_MAX).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, getppid};

use super::host::Host;
use super::shim::poll_readable;
use crate::fault::{Point, reach};
use crate::limits;
use crate::record::{Allowance, Place, ProcessId, State};
use crate::storage::{self, Stored};
use crate::sys::{self, Fork};
use crate::workload::{EndCause, Phase, StoragePlace, WorkloadId};

mod measure;

use measure::Measured;

/// In a child of the root process: guards until the root process ends. Through `made` it says that there is somebody new.
pub(super) fn guard(host: &Host, root: i32, made: &OwnedFd) -> io::Result<()> {
    sys::die_with_parent()?;
    rustix::thread::set_name(c"allod-guard")?;
    // Before those it guards against: it is late otherwise where the processors are busy.
    if let Err(error) = rustix::process::nice(limits::GUARD_NICENESS) {
        tracing::warn!(%error, "the guard of the disk has no precedence");
    }
    let mut guard = Guard::default();
    while getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == root) {
        let pause = guard.look(host);
        if poll_readable([Some(made.as_fd())], Some(pause)) == [true] {
            let mut words = [0u8; 64];
            if rustix::io::read(made, &mut words) == Ok(0) {
                break;
            }
            // Several that come at once are looked at together, and those that do next to nothing not at all.
            std::thread::sleep(Duration::from_millis(limits::GUARD_PAUSE_MS_MIN));
            guard.listed_at = None;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Guard {
    watched: BTreeMap<WorkloadId, Watched>,
    /// Workloads whose end is written down: nothing of them runs again.
    ended: BTreeSet<WorkloadId>,
    /// When it was last looked at who is there.
    listed_at: Option<Instant>,
    /// What the whole file system held at the last look.
    level: Stored,
    /// Children that are ending a workload.
    enders: BTreeMap<i32, WorkloadId>,
}

struct Watched {
    allowance: Allowance,
    init: ProcessId,
    last: Option<Look>,
    is_ending: bool,
}

/// One measurement.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    took: Duration,
    /// What the whole file system held before.
    level: Stored,
    /// How much more the workload may write.
    slack: Stored,
    /// What it held in all, and what its processes had written.
    total: Stored,
    written: u64,
}

impl Guard {
    /// One look; how long to wait for the next.
    fn look(&mut self, host: &Host) -> Duration {
        self.reap();
        // A file system that tells nothing about itself is looked at again.
        let Ok(disk) = storage::disk(host.layout.directory()) else {
            return Duration::from_millis(limits::GUARD_PAUSE_MS_MAX);
        };
        let now = Instant::now();
        let is_listed =
            |at| now.duration_since(at) < Duration::from_millis(limits::GUARD_PAUSE_MS_MAX);
        if !self.listed_at.is_some_and(is_listed) {
            self.listed_at = Some(now);
            self.list(host);
        }
        let is_tight = disk.is_tight();
        let due: Vec<WorkloadId> = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.is_due(now, disk.used, is_tight))
            .map(|(id, _)| *id)
            .collect();
        let (mut grown, mut written) = (None, None);
        let mut is_one_over = false;
        for id in due {
            let Some(growth) = self.measure(host, id, &disk) else {
                continue;
            };
            match growth {
                Growth::Over => is_one_over = true,
                Growth::By { held, wrote } => {
                    grown = grown.max(Some((held, id)));
                    written = written.max(Some((wrote, id)));
                }
            }
        }
        let still_fills = disk.used.bytes > self.level.bytes || disk.used.files > self.level.files;
        self.level = disk.used;
        if is_tight
            && still_fills
            && !is_one_over
            // What nobody is seen to hold, somebody has written all the same.
            && let Some((_, id)) = [grown, written]
                .into_iter()
                .flatten()
                .find(|(bytes, _)| *bytes >= limits::GROWTH_BYTES_MIN)
        {
            let free_bytes = disk.free.bytes;
            self.end(host, id, EndCause::DiskFull { free_bytes });
        }
        let pauses = self.watched.values();
        pauses
            .map(|watched| watched.pause(now, disk.used))
            .fold(disk.pause(), Duration::min)
            // Where many are near their limits, it takes half of a core at most.
            .max(if is_tight {
                Duration::ZERO
            } else {
                now.elapsed()
            })
    }

    /// Takes note of who came and went.
    fn list(&mut self, host: &Host) {
        let ids = crate::record::all(&host.layout).unwrap_or_default();
        self.watched.retain(|id, _| ids.binary_search(id).is_ok());
        self.ended.retain(|id| ids.binary_search(id).is_ok());
        for id in ids {
            if self.watched.contains_key(&id) || self.ended.contains(&id) {
                continue;
            }
            let place = host.place(&id);
            match place.state() {
                Ok(State {
                    phase: Phase::Running { .. },
                    init: Some(init),
                }) => {
                    let Ok(record) = place.record() else {
                        continue;
                    };
                    let watched = Watched {
                        allowance: record.allowance,
                        init,
                        last: None,
                        is_ending: false,
                    };
                    self.watched.insert(id, watched);
                }
                Ok(State {
                    phase: Phase::Exited { .. },
                    ..
                }) => drop(self.ended.insert(id)),
                _ => {}
            }
        }
    }

    /// Measures one workload, and ends it if it is over a limit. `None`: it does not run.
    fn measure(&mut self, host: &Host, id: WorkloadId, disk: &storage::Disk) -> Option<Growth> {
        let place = host.place(&id);
        let watched = self.watched.get_mut(&id)?;
        if running(&place).as_ref() != Some(&watched.init) {
            self.watched.remove(&id);
            return None;
        }
        let started = Instant::now();
        let measured = Measured::of(host, &place, &id, &watched.allowance, disk);
        let before = watched.last;
        watched.last = Some(Look {
            at: started,
            took: started.elapsed(),
            level: disk.used,
            slack: measured.slack,
            total: measured.total,
            written: measured.written,
        });
        if let Some(excess) = measured.excess {
            self.end(host, id, excess);
            return Some(Growth::Over);
        }
        let before = before?;
        Some(Growth::By {
            held: measured.total.bytes.saturating_sub(before.total.bytes),
            wrote: measured.written.saturating_sub(before.written),
        })
    }

    /// Ends a workload, in a child: its processes may take their time.
    fn end(&mut self, host: &Host, id: WorkloadId, cause: EndCause) {
        let Some(watched) = self.watched.get_mut(&id) else {
            return;
        };
        tracing::warn!(workload = %id, %cause, "workload ended for what it writes");
        let place = host.place(&id);
        match sys::fork() {
            Ok(Fork::Parent(pid)) => {
                watched.is_ending = true;
                self.enders.insert(pid.as_raw_nonzero().get(), id);
            }
            Ok(Fork::Child) => {
                let is_ended = kill(host, &place, &id, &cause).is_ok();
                sys::exit_now(i32::from(!is_ended));
            }
            Err(error) => tracing::error!(workload = %id, %error, "fork failed"),
        }
    }

    /// Whoever was not ended is measured again, and tried again.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = self.enders.remove(&pid.as_raw_nonzero().get());
            let watched = ended.and_then(|id| self.watched.get_mut(&id));
            if let Some(watched) = watched
                && status.exit_status() != Some(0)
            {
                watched.is_ending = false;
                watched.last = None;
            }
        }
    }
}

enum Growth {
    /// Over a limit.
    Over,
    /// Within its limits: how many more bytes it holds, and has written, than at the last look.
    By { held: u64, wrote: u64 },
}

impl Watched {
    fn is_due(&self, now: Instant, level: Stored, is_tight: bool) -> bool {
        if self.is_ending {
            return false;
        }
        let Some(last) = &self.last else {
            return true;
        };
        let since = now.duration_since(last.at);
        let idle = Duration::from_millis(limits::GUARD_IDLE_MS);
        let may_be_over = {
            let room = last.room(level);
            room.bytes == 0 || room.files == 0
        };
        is_tight || (may_be_over && since >= last.rest()) || since >= last.rest().max(idle)
    }

    /// How long it need not be looked at again: until it may be over its limit, or has rested.
    fn pause(&self, now: Instant, level: Stored) -> Duration {
        match &self.last {
            Some(last) if !self.is_ending => {
                let rest = last.rest().saturating_sub(now.duration_since(last.at));
                last.room(level).soonest().max(rest)
            }
            _ => Duration::MAX,
        }
    }
}

impl Look {
    /// What it may still write for certain, the whole file system holding that much now.
    fn room(&self, level: Stored) -> Stored {
        self.slack.minus(level.minus(self.level))
    }

    fn rest(&self) -> Duration {
        self.took * limits::GUARD_REST_FACTOR
    }
}

/// The first process of a workload that runs.
fn running(place: &Place) -> Option<ProcessId> {
    let state = place.state().ok()?;
    match state.phase {
        Phase::Running { .. } => state.init,
        _ => None,
    }
}

/// Writes down why, and kills: the shim reads it when it records the end.
fn kill(host: &Host, place: &Place, id: &WorkloadId, cause: &EndCause) -> io::Result<()> {
    // On a full disk it ends without a reason rather than not at all.
    if let Err(error) = place.write_verdict(cause) {
        tracing::warn!(workload = %id, %error, "the reason of an end is not written down");
    }
    reach(Point::VerdictWritten);
    let killed = host.group(id).kill();
    reach(Point::VerdictCarriedOut);
    killed
}

#[cfg(test)]
mod tests;
