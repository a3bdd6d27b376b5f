//! Reports: what the law is told of a replica.
//!
//! Rules:
//! 1. A report is no step: whatever else is under way with its workload goes on meanwhile, and is over when it says so itself.
//! 2. Of each replica one report is under way at a time, however long it waits for its turn.
//! 3. What the planner would not have told any more when the turn comes is not told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allod_runtime::WorkloadId;
use allod_state::lease::{EndCause, Report, ReportLease};
use tokio::time::{Instant, sleep};

use super::act::{absent_is_done, blocking, chain};
use super::plan::Step;
use super::{Agent, Event, Leases};
use crate::fault::{Point, reach};
use crate::limits::RETRY_PAUSE;
use crate::signer::SignerError;

/// How long it takes until what was told is told again, where the law has not taken it in.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// What is said of a replica that is not here any more though nobody saw it end.
const GONE: &str =
    "nothing of it was left: the machine was restarted meanwhile, or somebody removed it";

/// What was told of a replica last.
#[derive(Debug)]
pub(super) struct Telling {
    step: Step,
    begun: Instant,
    is_under_way: bool,
    /// Whether it is to be told still.
    is_true: Arc<AtomicBool>,
}

/// How a report ended.
#[derive(Debug)]
pub(crate) enum Told {
    /// The law has it.
    Taken,
    /// It was not true any more when its turn came.
    Withdrawn,
    /// It did not work this time.
    Refused(String),
}

impl Agent {
    pub(super) fn report(&mut self, id: WorkloadId, step: Step, report: Report, leases: &Leases) {
        let (Some((lease, row, _)), Some(entry)) = (leases.get(&id), self.entries.get_mut(&id))
        else {
            return;
        };
        if report == Report::Ended(EndCause::Lost) && entry.detail.is_none() {
            entry.detail = Some(GONE.to_owned());
        }
        if let (Report::Ended(_), Some(detail)) = (report, &entry.detail) {
            self.inner.details.put(id, detail.clone());
        }
        let is_told = |last: &Telling| {
            last.is_under_way || last.step == step && last.begun.elapsed() < REPORT_PATIENCE
        };
        if entry.telling.as_ref().is_some_and(is_told) {
            return;
        }
        let is_true = Arc::new(AtomicBool::new(true));
        entry.telling = Some(Telling {
            step,
            begun: Instant::now(),
            is_under_way: true,
            is_true: Arc::clone(&is_true),
        });
        let action = ReportLease {
            lease: *lease,
            epoch: row.epoch,
            report,
        };
        let (inner, events) = (Arc::clone(&self.inner), self.events.clone());
        self.tasks.spawn(async move {
            let mut made_no_more = Ok(());
            if report == Report::Gone {
                // Whoever was making it when this agent was begun anew makes it no more.
                let runtime = inner.runtime.clone();
                made_no_more = blocking(move || runtime.delete(id).or_else(absent_is_done)).await;
            }
            let told = match made_no_more {
                Err(error) => Told::Refused(error),
                Ok(()) => {
                    let is_true = || is_true.load(Ordering::Relaxed);
                    match inner.signer.submit_if(vec![action.into()], is_true).await {
                        Ok(_) => Told::Taken,
                        Err(SignerError::Withdrawn) => Told::Withdrawn,
                        Err(error) => Told::Refused(chain(&error)),
                    }
                }
            };
            if matches!(told, Told::Taken) {
                reach(Point::ReadyReported);
            }
            if matches!(told, Told::Refused(_)) {
                sleep(RETRY_PAUSE).await;
            }
            let _ = events.send(Event::Told(id, told)).await;
        });
    }

    /// Takes back the reports under way that are none of the next steps.
    pub(super) fn take_back(&self, steps: &[(WorkloadId, Step)]) {
        let steps: BTreeMap<_, _> = steps.iter().copied().collect();
        for (id, entry) in &self.entries {
            if let Some(telling) = &entry.telling {
                let is_true = steps.get(id) == Some(&telling.step);
                telling.is_true.store(is_true, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn told(&mut self, id: WorkloadId, told: Told) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if let Some(telling) = &mut entry.telling {
            telling.is_under_way = false;
        }
        match told {
            Told::Taken => {}
            Told::Withdrawn => entry.telling = None,
            Told::Refused(detail) => {
                tracing::warn!(workload = %id, %detail, "a report failed and will be sent again");
                entry.detail = Some(detail);
            }
        }
    }
}

#[cfg(test)]
mod tests;
