//! Carrying steps out. What is here decides nothing: each step runs to its end and says how it ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use allod_runtime::{
    Client, ClientError, Image, Refusal, ResolverSockets, Status, Usage, WorkloadId,
};
use allod_state::evidence::{Item, SubmitEvidence};
use allod_state::lease::{EndCause, Lease};
use allod_state::volume::{ReportVolume, Standing};
use allod_state::{AppId, LeaseId, State};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::agent::look::Look;
use crate::agent::plan::{Stage, Step};
use crate::agent::right::is_watched;
use crate::agent::tally::{self, Moment};
use crate::agent::{Agent, Event, Leases, Sight, find, resolver_scope, spec};
use crate::collect;
use crate::fault::{Point, reach};
use crate::limits::{COLLECT_PERIOD, COLLECT_PERIOD_SHORT, DRAIN_GRACE, RETRY_PAUSE};
use crate::manifest::Service;

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Done {
    /// The image and volumes are here.
    Prepared(Image),
    /// It cannot be prepared or started; the cause for the law and the words for people.
    Failed(EndCause, String),
    /// It runs.
    Started(Status),
    /// Nothing of it is left; the last measurement, and why it had to go where the law is still to be told.
    Removed(Option<Usage>, Option<EndCause>),
    /// It did not work this time.
    Retry(String),
    /// What the runtime has.
    Looked(Look),
    /// What workloads used.
    Measured(Vec<(WorkloadId, Usage)>),
    /// Evidence was taken or refused.
    Submitted,
}

impl Agent {
    pub(super) fn begin(&mut self, id: WorkloadId, step: Step, leases: &Leases) {
        match step {
            Step::Forget => self.forget(&id),
            Step::Prepare | Step::Start => {
                let found = leases.get(&id).and_then(|(_, lease, manifest)| {
                    let (name, service) = find(manifest.as_ref()?, lease)?;
                    Some((lease.clone(), name.to_owned(), service.clone()))
                });
                if let Some((lease, name, service)) = found {
                    if step == Step::Prepare {
                        self.prepare(id, lease, service);
                    } else {
                        self.start(id, &lease, &name, &service);
                    }
                }
            }
            Step::Remove => self.remove(id, None),
            Step::Halt(cause) => self.remove(id, Some(cause)),
            Step::Report(report) => self.report(id, step, report, leases),
        }
    }

    fn carry_out(&mut self, id: WorkloadId, work: impl Future<Output = Done> + Send + 'static) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.local.is_busy = true;
        }
        self.in_background(id, work);
    }

    pub(super) fn in_background(
        &mut self,
        id: WorkloadId,
        work: impl Future<Output = Done> + Send + 'static,
    ) {
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let done = work.await;
            if matches!(done, Done::Retry(_)) {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            // The loop has ended when nobody listens any more; then nothing is left to tell.
            let _ = events.send(Event::Done(id, done)).await;
        });
    }

    fn prepare(&mut self, id: WorkloadId, lease: Lease, service: Service) {
        let inner = Arc::clone(&self.inner);
        self.carry_out(id, async move {
            let image = match inner.images.prepare(&service.image, &inner.runtime).await {
                Ok(image) => image,
                Err(error) => return Done::Failed(error.cause(), chain(&error)),
            };
            reach(Point::ImageReady);
            let runtime = inner.runtime.clone();
            let made = blocking(move || {
                lease.volumes.iter().try_for_each(|label| {
                    runtime.ensure_volume(spec::volume_name(&lease.payer, &lease.app_label, label))
                })
            });
            match made.await {
                Ok(()) => {
                    reach(Point::VolumeMade);
                    Done::Prepared(image)
                }
                Err(error) => Done::Failed(EndCause::VolumeFailed, error),
            }
        });
    }

    fn start(&mut self, id: WorkloadId, lease: &Lease, name: &str, service: &Service) {
        let Some(image) = self.entries.get(&id).and_then(|entry| entry.image.clone()) else {
            // The image was prepared before a restart of this agent: prepare it again, which is quick.
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.local.stage = Stage::Unprepared;
            }
            return;
        };
        let revision = (lease.app, lease.revision);
        let revision = self.inner.ledger.state().revision(&revision);
        let demand = revision.and_then(|mut revision| revision.services.remove(&lease.service));
        let until = self.inner.until.borrow().get(&id).copied();
        // One that is not confirmed any more by now waits in the runtime.
        let until = is_watched(lease).then(|| until.unwrap_or_default());
        let spec = spec::workload(id, lease, name, service, image, demand.as_ref(), until);
        let inner = Arc::clone(&self.inner);
        let (app, runtime) = (lease.app, inner.runtime.clone());
        let scope = resolver_scope(&self.seen.borrow(), app);
        self.carry_out(id, async move {
            match spawn_blocking(move || create(&runtime, spec)).await {
                Ok(Ok((status, sockets))) => {
                    reach(Point::WorkloadMade);
                    if let Some(sockets) = sockets {
                        inner.doors.resolve_on(app, scope, sockets).await;
                    }
                    Done::Started(status)
                }
                Ok(Err(ClientError::Refused(refusal))) => {
                    Done::Failed(EndCause::StartFailed, refusal.to_string())
                }
                Ok(Err(error)) => Done::Retry(chain(&error)),
                Err(_) => Done::Retry("the node is shutting down".to_owned()),
            }
        });
    }

    /// Takes a workload out of the routes, lets its open requests end, stops and removes it. The routes were changed
    /// by this very pass: a workload whose lease has ended is in none.
    fn remove(&mut self, id: WorkloadId, cause: Option<EndCause>) {
        let address = self.entries.get(&id).and_then(|entry| entry.address);
        let app = self.last_of_its_app(&id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stop_probes();
        }
        let inner = Arc::clone(&self.inner);
        self.carry_out(id, async move {
            if let Some(address) = address {
                inner.doors.drained(&id, address, DRAIN_GRACE).await;
            }
            reach(Point::Drained);
            let (runtime, doors) = (inner.runtime.clone(), Arc::clone(&inner.doors));
            let removed = blocking(move || {
                runtime
                    .stop(id, None, None)
                    .map(drop)
                    .or_else(absent_is_done)?;
                reach(Point::Stopped);
                let usage = runtime.usage_with_storage(&[id]).unwrap_or_default();
                inner.lines.keep_last(&id);
                reach(Point::LinesKept);
                runtime.delete(id).or_else(absent_is_done)?;
                reach(Point::Deleted);
                Ok(usage.into_iter().next().map(|(_, usage)| usage))
            });
            match removed.await {
                Ok(usage) => {
                    if let Some(app) = app {
                        doors.forget_app(app).await;
                        reach(Point::AppForgotten);
                    }
                    Done::Removed(usage, cause)
                }
                Err(error) => Done::Retry(error),
            }
        });
    }

    /// The app of a workload, if nothing else of that app is on this host.
    fn last_of_its_app(&self, id: &WorkloadId) -> Option<AppId> {
        let (app, ..) = self.entries.get(id)?.local.slot?;
        let others = self.entries.iter().filter(|(other, _)| *other != id);
        let mut of_the_app =
            others.filter(|(_, entry)| entry.local.slot.is_some_and(|slot| slot.0 == app));
        let is_last =
            !of_the_app.any(|(_, entry)| entry.local.stage.is_on_host() || entry.local.is_busy);
        is_last.then_some(app)
    }

    /// Forgets a workload of which nothing is left, once its evidence is on the ledger.
    fn forget(&mut self, id: &WorkloadId) {
        let state = self.inner.ledger.state();
        let lease = state.lease(&LeaseId(id.lease));
        let is_settled = lease.is_none_or(|lease| {
            let has_told_all = |ended| lease.meter.until_ms >= ended;
            lease.is_displaced() || lease.ended_ms().is_some_and(has_told_all)
        });
        if is_settled {
            self.entries.remove(id);
        }
    }

    /// Has names answered for every app of which something runs: after a restart of this agent, none are.
    pub(super) fn resolve_all(&mut self, sight: &Sight) {
        let running = sight.workloads.values().filter(|seen| seen.is_running);
        let apps: BTreeSet<AppId> = running.map(|seen| seen.app).collect();
        for app in apps {
            if self.inner.doors.is_resolving(&app) || !self.resolving.insert(app) {
                continue;
            }
            let (inner, scope) = (Arc::clone(&self.inner), resolver_scope(sight, app));
            let events = self.events.clone();
            self.tasks.spawn(async move {
                if let Err(error) = inner.doors.resolve_for(app, scope, &inner.runtime).await {
                    tracing::warn!(%error, "an app's names are not answered yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                let _ = events.send(Event::ResolverTried(app)).await;
            });
        }
    }

    pub(super) fn measure(&mut self) {
        let running = |entry: &super::Entry| entry.local.stage.is_on_host();
        let ids: Vec<WorkloadId> = self
            .entries
            .iter()
            .filter(|(_, entry)| running(entry))
            .map(|(id, _)| *id)
            .collect();
        let runtime = self.inner.runtime.clone();
        self.in_background(NOBODY, async move {
            match blocking(move || runtime.usage(&ids)).await {
                Ok(usages) => Done::Measured(usages),
                Err(error) => Done::Retry(error),
            }
        });
    }

    /// Brings the law's meters up to now, or to the end of the leases that have ended.
    pub(super) fn submit_evidence(&mut self) {
        if self.evidence_in_flight {
            return;
        }
        let items = self.evidence(&self.inner.ledger.state(), Moment::now());
        let items = tally::oldest(items);
        if items.is_empty() {
            return;
        }
        self.evidence_in_flight = true;
        let inner = Arc::clone(&self.inner);
        self.in_background(NOBODY, async move {
            let evidence = SubmitEvidence { node: inner.node, items };
            if let Err(error) = inner.signer.submit(vec![evidence.into()]).await {
                tracing::warn!(error = %chain(&error), "evidence was not taken; it will be sent again");
            }
            reach(Point::EvidenceSubmitted);
            Done::Submitted
        });
    }

    /// What brings the meters up to now.
    fn evidence(&self, state: &State, now: Moment) -> Vec<Item> {
        let mut items = Vec::new();
        for (id, entry) in &self.entries {
            let id = LeaseId(id.lease);
            let (Some(tally), Some(lease)) = (&entry.tally, state.lease(&id)) else {
                continue;
            };
            // It is charged no further, and the law takes no evidence together with such.
            if lease.is_displaced() {
                continue;
            }
            items.extend(tally.items(id, &lease, self.metered_until(&lease, now)));
        }
        items
    }

    /// Until when a lease is metered: until it ended, or until now.
    pub(super) fn metered_until(&self, lease: &Lease, now: Moment) -> Moment {
        let ended = lease.ended_ms();
        ended.map_or_else(|| now.since(self.block), |ended| now.back_at(ended))
    }

    /// Has what nobody needs removed from the disk, where it is time to.
    pub(super) fn collect(&mut self) {
        let period = if collect::is_short(&self.inner.dir) {
            COLLECT_PERIOD_SHORT
        } else {
            COLLECT_PERIOD
        };
        let is_due = self.collected.is_none_or(|at| at.elapsed() >= period);
        if !is_due || self.is_collecting {
            return;
        }
        self.is_collecting = true;
        self.collected = Some(Instant::now());
        let (inner, events) = (Arc::clone(&self.inner), self.events.clone());
        self.tasks.spawn(async move {
            // A task that was ended with the node leaves nothing half done: every removal is one of its own.
            let _ = spawn_blocking(move || collect::collect(&inner)).await;
            let _ = events.send(Event::Collected).await;
        });
    }

    /// Removes the data of volumes that were given up, and tells the law.
    pub(super) fn drop_volumes(&mut self, state: &State) {
        let dropped = state.volumes().filter(|(_, volume)| {
            volume.node == self.inner.node && volume.standing == Standing::Dropped
        });
        for (key, _) in dropped {
            let (owner, app, volume) = *key;
            if !self.dropping.insert(*key) {
                continue;
            }
            let inner = Arc::clone(&self.inner);
            let key = *key;
            let events = self.events.clone();
            self.tasks.spawn(async move {
                let runtime = inner.runtime.clone();
                let name = spec::volume_name(&owner, &app, &volume);
                let removed =
                    blocking(move || runtime.remove_volume(name).or_else(absent_is_done)).await;
                if removed.is_ok() {
                    reach(Point::VolumeRemoved);
                    let report = ReportVolume { owner, app, volume };
                    if let Err(error) = inner.signer.submit(vec![report.into()]).await {
                        tracing::warn!(error = %chain(&error), "a removed volume was not reported yet");
                    }
                }
                reach(Point::VolumeReported);
                let _ = events.send(Event::VolumeTried(key)).await;
            });
        }
    }
}

/// Stands for no workload in steps that are about all of them.
pub(super) const NOBODY: WorkloadId = WorkloadId {
    lease: [0; 32],
    epoch: 0,
};

/// Creates a workload; one that is there already, from before a restart of this agent, is what was wanted.
fn create(
    runtime: &Client,
    spec: allod_runtime::WorkloadSpec,
) -> Result<(Status, Option<ResolverSockets>), ClientError> {
    let id = spec.id;
    match runtime.create_with_resolver(spec) {
        Err(ClientError::Refused(Refusal::Exists { .. })) => Ok((runtime.status(id)?, None)),
        other => other,
    }
}

pub(super) fn absent_is_done(error: ClientError) -> Result<(), ClientError> {
    match error {
        ClientError::Refused(Refusal::NotFound { .. }) => Ok(()),
        other => Err(other),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, String> {
    match spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| chain(&error)),
        Err(_) => Err("the node is shutting down".to_owned()),
    }
}

/// An error and everything that led to it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

/// Whether every replica of a service has ended with code 0.
pub(super) fn has_completed(state: &State, lease: &Lease, service: &allod_state::Label) -> bool {
    use allod_state::app::Waiting;
    let slots = state
        .slots_of(&lease.app)
        .into_iter()
        .filter(|(_, label, _)| label == service);
    let mut slots = slots.filter_map(|key| state.slot(&key)).peekable();
    slots.peek().is_some()
        && slots.all(|slot| {
            matches!(
                slot.waiting,
                Some(Waiting::Completed(EndCause::Exited { code: 0 }))
            )
        })
}
