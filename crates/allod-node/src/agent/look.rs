//! Looks: what the runtime has, the truth of the moment, whoever started it.
//!
//! Of what changed after a look was begun it says nothing: what was started or removed meanwhile may be missing in it, or
//! stand in it still. What is in no look though it ran is halted all the same before it is told as lost: whoever comes after
//! it must be alone.

use std::collections::BTreeSet;

use allod_runtime::{EndCause as RuntimeEnd, Phase as RuntimePhase, Status, WorkloadId};
use allod_state::lease::EndCause;
use tokio::time::Instant;

use super::Agent;
use super::act::{Done, NOBODY, blocking};
use super::health::Health;
use super::plan::Stage;
use crate::fault::{Point, reach};
use crate::time::steady_ms;

/// What the runtime has.
#[derive(Debug)]
pub(crate) struct Look {
    pub(super) begun: Instant,
    pub(super) statuses: Vec<Status>,
    /// Whether that is all of it.
    pub(super) is_whole: bool,
}

impl Agent {
    pub(super) fn look_at(&mut self, id: WorkloadId) {
        let (runtime, begun) = (self.inner.runtime.clone(), Instant::now());
        self.in_background(id, async move {
            let status = blocking(move || runtime.status(id)).await;
            Done::Looked(Look {
                begun,
                statuses: status.into_iter().collect(),
                is_whole: false,
            })
        });
    }

    pub(super) fn look_at_all(&mut self) {
        let (runtime, begun) = (self.inner.runtime.clone(), Instant::now());
        self.in_background(NOBODY, async move {
            match blocking(move || runtime.list()).await {
                Ok(statuses) => Done::Looked(Look {
                    begun,
                    statuses,
                    is_whole: true,
                }),
                Err(error) => Done::Retry(error),
            }
        });
    }

    /// Takes in what the runtime has.
    pub(super) fn learn(&mut self, look: Look) {
        let mut present = BTreeSet::new();
        for status in look.statuses {
            present.insert(status.id);
            let removed = self.entries.get(&status.id).and_then(|it| it.removed);
            if removed.is_none_or(|removed| look.begun > removed) {
                self.learn_one(status);
            }
        }
        if look.is_whole {
            self.has_looked = true;
            reach(Point::StartLooked);
            for (id, entry) in &mut self.entries {
                let was_there = entry.ran.is_none_or(|ran| look.begun > ran);
                let ran = entry.local.stage == Stage::Running && !entry.local.is_busy;
                if ran && was_there && !present.contains(id) {
                    entry.local.is_missing = true;
                    entry.address = None;
                    entry.stop_probes();
                }
            }
        }
    }

    pub(super) fn learn_one(&mut self, status: Status) {
        self.take_right_over(&status);
        let entry = self.entries.entry(status.id).or_default();
        entry.local.is_missing = false;
        match status.phase {
            RuntimePhase::Created => {}
            RuntimePhase::Running { address, .. } => {
                entry.address = Some(address);
                if entry.local.stage != Stage::Running {
                    entry.local.stage = Stage::Running;
                    entry.ran = Some(Instant::now());
                    entry.health = Health::default();
                }
            }
            RuntimePhase::Exited { cause, .. } => {
                entry.detail = words_beyond(&cause);
                entry.local.stage = Stage::Exited(cause_of(&cause));
                entry.local.is_ready = false;
                entry.stop_probes();
                if let Some(tally) = &mut entry.tally {
                    tally.set_ready(false, steady_ms());
                }
            }
        }
    }
}

fn cause_of(cause: &RuntimeEnd) -> EndCause {
    match cause {
        RuntimeEnd::Exited { code } => EndCause::Exited { code: *code },
        RuntimeEnd::Signaled { signal } => EndCause::Signaled { signal: *signal },
        RuntimeEnd::OutOfMemory => EndCause::OutOfMemory,
        RuntimeEnd::StorageExceeded { .. } | RuntimeEnd::FilesExceeded { .. } => {
            EndCause::OutOfStorage
        }
        RuntimeEnd::DiskFull { .. } => EndCause::DiskFull,
        RuntimeEnd::ImageMissing { .. } => EndCause::ImageNotFound,
        RuntimeEnd::BadDigest { .. } => EndCause::BadDigest,
        RuntimeEnd::StartFailed { .. } => EndCause::StartFailed,
        RuntimeEnd::Stopped | RuntimeEnd::Lost => EndCause::Lost,
    }
}

/// What the runtime tells of an end beyond the cause that the law knows, which is always told beside it.
fn words_beyond(cause: &RuntimeEnd) -> Option<String> {
    match cause {
        RuntimeEnd::Exited { .. } | RuntimeEnd::Signaled { .. } => None,
        _ => Some(cause.to_string()),
    }
}

#[cfg(test)]
mod tests;
