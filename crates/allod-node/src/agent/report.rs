//! Reports: what the law is told of a replica.
//!
//! A report is no step: whatever else is under way with its workload goes on meanwhile, and is over when it says so itself.

use std::sync::Arc;
use std::time::Duration;

use allod_runtime::WorkloadId;
use allod_state::lease::{EndCause, Phase, Report, ReportLease};
use tokio::time::{Instant, sleep};

use super::act::{absent_is_done, blocking, chain};
use super::plan::Step;
use super::{Agent, Event, Leases};
use crate::fault::{Point, reach};
use crate::limits::RETRY_PAUSE;

/// How long an unanswered report is left before it is sent again.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// What is said of a replica that is not here any more though nobody saw it end.
const GONE: &str =
    "nothing of it was left: the machine was restarted meanwhile, or somebody removed it";

/// How a report ended.
#[derive(Debug)]
pub(crate) enum Told {
    /// The law has it.
    Taken,
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
        let is_waiting = entry.reported.is_some_and(|(last, at)| {
            last == step && !is_answered(step, &row.phase) && at.elapsed() < REPORT_PATIENCE
        });
        if is_waiting {
            return;
        }
        entry.reported = Some((step, Instant::now()));
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
                Ok(()) => match inner.signer.submit(vec![action.into()]).await {
                    Ok(_) => {
                        reach(Point::ReadyReported);
                        Told::Taken
                    }
                    Err(error) => Told::Refused(chain(&error)),
                },
            };
            if matches!(told, Told::Refused(_)) {
                sleep(RETRY_PAUSE).await;
            }
            let _ = events.send(Event::Told(id, told)).await;
        });
    }

    pub(super) fn told(&mut self, id: WorkloadId, told: Told) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        match told {
            Told::Taken => {}
            Told::Refused(detail) => {
                tracing::warn!(workload = %id, %detail, "a report failed and will be sent again");
                entry.detail = Some(detail);
            }
        }
    }
}

/// Whether a report of this phase has been answered by the law.
fn is_answered(step: Step, phase: &Phase) -> bool {
    match step {
        Step::Report(Report::Ready) => matches!(phase, Phase::Ready { .. }),
        Step::Report(Report::NotReady) => matches!(phase, Phase::Placed),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
