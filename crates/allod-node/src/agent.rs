//! The agent: makes this machine match the law, and tells the law what became of it.
//!
//! One loop: something happens → [`Agent::handle`] takes it in → [`Agent::pass`] looks at the whole of what is wanted
//! and what is here, asks the planner for the next steps, and has them carried out by tasks that report back as
//! events. Nothing is decided in a task, and nothing is remembered that the next pass could not find out again.

mod act;
mod entry;
mod fetch;
mod health;
mod look;
mod moving;
mod plan;
mod prefetch;
mod probe;
mod report;
mod right;
#[cfg(test)]
mod scene;
mod sight;
mod spec;
mod tables;
mod tally;
mod upstreams;

pub(crate) use act::chain;
pub(crate) use probe::Target;
#[cfg(test)]
pub(crate) use scene::{Scene, watched};
pub(crate) use sight::{Sight, waiting_words};
pub(crate) use spec::volume_name;
pub use spec::{service_label, unsupported, volume_label};
pub(crate) use tables::{BackendsOf, Tables, resolver_scope};
pub(crate) use upstreams::Upstreams;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use allod_runtime::{Usage, WorkloadId};
use allod_state::lease::{Lease, Phase};
use allod_state::volume::VolumeKey;
use allod_state::{AppId, Digest, Label, LeaseId, State};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::agent::act::Done;
use crate::agent::entry::Entry;
use crate::agent::fetch::Awaited;
use crate::agent::health::{Answer, Health};
use crate::agent::plan::{Claim, Local, Stage, Wanted};
use crate::agent::prefetch::Ahead;
use crate::agent::probe::Asking;
use crate::agent::report::Told;
use crate::agent::tally::{Moment, Tally};
use crate::fault::{Point, reach};
use crate::inner::Inner;
use crate::limits::{AGENT_EVENTS_MAX, METER_PERIOD, SWEEP_PERIOD};
use crate::manifest::{Condition, Manifest, Probe, Service};
use crate::node::parts::outcome_of;
use crate::time::steady_ms;

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// A block was committed.
    Committed,
    /// Witnesses confirm another set of exclusive replicas than before.
    Confirmed,
    /// The runtime saw a workload change.
    Changed(WorkloadId),
    /// A probe was answered.
    Answered {
        id: WorkloadId,
        is_liveness: bool,
        answer: Answer,
    },
    /// A step came to its end.
    Done(WorkloadId, Done),
    /// A report came to its end, whatever else is under way.
    Told(WorkloadId, Told),
    /// An app's resolver was opened, or could not be yet.
    ResolverTried(AppId),
    /// A given-up volume was removed, or could not be yet.
    VolumeTried(VolumeKey),
    /// A sealed manifest was asked for.
    ManifestAsked(Digest),
    /// An image was fetched ahead, or cannot be now.
    FetchedAhead,
    /// What nobody needs was looked for on the disk.
    Collected,
    /// It is time to write evidence.
    Meter,
    /// It is time to look at everything again.
    Sweep,
}

pub(crate) struct Agent {
    inner: Arc<Inner>,
    entries: BTreeMap<WorkloadId, Entry>,
    /// Whether the runtime has said everything that is here.
    has_looked: bool,
    tasks: JoinSet<()>,
    events: mpsc::Sender<Event>,
    tables: Tables,
    seen: watch::Sender<Arc<Sight>>,
    /// The newest block's, as this agent saw it.
    block: Moment,
    evidence_in_flight: bool,
    dropping: BTreeSet<VolumeKey>,
    resolving: BTreeSet<AppId>,
    awaited: Awaited,
    ahead: Ahead,
    is_collecting: bool,
    collected: Option<Instant>,
}

impl Agent {
    /// One that has seen nothing yet.
    fn new(
        inner: Arc<Inner>,
        tables: Tables,
        seen: watch::Sender<Arc<Sight>>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            inner,
            entries: BTreeMap::new(),
            has_looked: false,
            tasks: JoinSet::new(),
            events,
            tables,
            seen,
            block: Moment::default(),
            evidence_in_flight: false,
            dropping: BTreeSet::new(),
            resolving: BTreeSet::new(),
            awaited: Awaited::default(),
            ahead: Ahead::default(),
            is_collecting: false,
            collected: None,
        }
    }

    /// Runs until the inbox closes.
    pub(crate) async fn run(
        inner: Arc<Inner>,
        tables: Tables,
        seen: watch::Sender<Arc<Sight>>,
        events: mpsc::Sender<Event>,
        mut inbox: mpsc::Receiver<Event>,
    ) {
        let mut agent = Self::new(inner, tables, seen, events);
        let mut until = agent.inner.until.subscribe();
        let mut meter = interval(METER_PERIOD);
        let mut sweep = interval(SWEEP_PERIOD);
        loop {
            let event = tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
                Ok(()) = until.changed() => Event::Confirmed,
                _ = meter.tick() => Event::Meter,
                _ = sweep.tick() => Event::Sweep,
                Some(ended) = agent.tasks.join_next() => {
                    outcome_of(ended);
                    continue;
                }
            };
            agent.handle(event);
            // What came meanwhile is taken in before the next look, which is then one look for all of it.
            for _ in 0..AGENT_EVENTS_MAX {
                match inbox.try_recv() {
                    Ok(event) => agent.handle(event),
                    Err(_) => break,
                }
            }
            agent.pass();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Committed | Event::Confirmed => {}
            Event::Changed(id) => self.look_at(id),
            Event::Answered {
                id,
                is_liveness,
                answer,
            } => self.answered(id, is_liveness, answer),
            Event::Done(id, done) => self.done(id, done),
            Event::Told(id, told) => self.told(id, told),
            Event::ResolverTried(app) => {
                self.resolving.remove(&app);
            }
            Event::VolumeTried(key) => {
                self.dropping.remove(&key);
            }
            Event::ManifestAsked(digest) => self.awaited.asked(&digest),
            Event::FetchedAhead => self.ahead.ended(),
            Event::Collected => self.is_collecting = false,
            Event::Meter => self.measure(),
            Event::Sweep => {
                self.look_at_all();
                self.tables.look_at_host();
                self.collect();
            }
        }
    }

    fn answered(&mut self, id: WorkloadId, is_liveness: bool, answer: Answer) {
        if let Some((service, lease)) = self.service_of(&id) {
            self.heed(&id, (&service, &lease), is_liveness, answer);
        }
    }

    fn heed(
        &mut self,
        id: &WorkloadId,
        (service, lease): (&Service, &Lease),
        is_liveness: bool,
        answer: Answer,
    ) {
        // It may have come to stand still with the question in its ear.
        let may_run = self.may_run(id, lease);
        let entry = self.entries.get_mut(id);
        let is_here = |it: &Local| it.stage == Stage::Running && !it.is_missing;
        let Some(entry) = entry.filter(|it| may_run && is_here(&it.local)) else {
            return;
        };
        let readiness = readiness_of(service);
        let Some(probe) = (if is_liveness {
            service.liveness.clone()
        } else {
            readiness
        }) else {
            return;
        };
        let kills = is_liveness || service.liveness.as_ref() == service.readiness.as_ref();
        let is_good = answer.outcome.is_ok();
        entry
            .health
            .observe(&probe, kills && service.liveness.is_some(), answer);
        entry.local.verdict = entry.health.verdict;
        if let Some(complaint) = &entry.health.complaint {
            entry.detail = Some(complaint.clone());
        } else {
            entry.detail = None;
        }
        // A failure that is forgiven tells nothing new: what was taken over is tallied from its first success on.
        if is_good || !entry.health.is_ready {
            entry.set_ready(entry.health.is_ready);
        }
    }

    fn done(&mut self, id: WorkloadId, done: Done) {
        let done = match done {
            Done::Looked(look) => return self.learn(look),
            Done::Measured(usages) => return self.measured(usages),
            Done::Submitted => {
                self.evidence_in_flight = false;
                return;
            }
            Done::Retry(detail) if !self.has_looked => {
                tracing::warn!(%detail, "the runtime has not said yet what is here");
                return self.look_at_all();
            }
            other => other,
        };
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.local.is_busy = false;
        match done {
            Done::Prepared(image) => {
                entry.image = Some(image);
                entry.local.stage = Stage::Prepared;
            }
            Done::Failed(cause, detail) => {
                entry.local.stage = Stage::Failed(cause);
                entry.detail = Some(detail);
            }
            Done::Started(status) => {
                reach(Point::WorkloadStarted);
                self.learn_one(status);
            }
            Done::Removed(usage, cause) => {
                if let (Some(tally), Some(usage)) = (&mut entry.tally, usage) {
                    tally.sample(usage, steady_ms());
                }
                entry.local.stage = cause.map_or(Stage::Unprepared, Stage::Failed);
                entry.local.is_missing = false;
                entry.removed = Some(Instant::now());
                entry.address = None;
                entry.stop_probes();
                self.submit_evidence();
            }
            Done::Retry(detail) => {
                tracing::warn!(workload = %id, %detail, "a step failed and will be tried again");
                entry.detail = Some(detail);
            }
            Done::Looked(_) | Done::Measured(_) | Done::Submitted => {}
        }
    }

    fn measured(&mut self, usages: Vec<(WorkloadId, Usage)>) {
        let now = steady_ms();
        for (id, usage) in usages {
            if let Some(tally) = self
                .entries
                .get_mut(&id)
                .and_then(|entry| entry.tally.as_mut())
            {
                tally.sample(usage, now);
            }
        }
        self.submit_evidence();
    }

    /// Looks at the whole of both sides and has the next steps carried out.
    fn pass(&mut self) {
        let state = self.inner.ledger.state();
        self.block = self.block.of_block(state.tip().time_ms);
        self.fetch(&state);
        let leases = self.leases(&state);
        self.watch_over(&leases);
        self.hold(&state, &leases);
        let wanted = self.wanted(&leases);
        let ended = self.ended(&state);
        let locals = self.has_looked.then(|| {
            let entries = self.entries.iter();
            entries
                .map(|(id, entry)| (*id, entry.local.clone()))
                .collect::<BTreeMap<WorkloadId, Local>>()
        });
        let sight = self.sight(&state, &leases);
        self.tables.publish(&sight);
        self.resolve_all(&sight);
        self.prefetch(&state, &sight);
        self.seen.send_replace(Arc::new(sight));
        let steps = plan::plan(&wanted, locals.as_ref(), &ended);
        self.take_back(&steps);
        for (id, step) in steps {
            self.begin(id, step, &leases);
        }
        self.drop_volumes(&state);
    }

    /// The active leases of this node with what their manifests say.
    fn leases(
        &self,
        state: &State,
    ) -> BTreeMap<WorkloadId, (LeaseId, Lease, Option<Arc<Manifest>>)> {
        let ids = state.active_leases_on(&self.inner.node);
        let leases = ids.into_iter().filter_map(|id| {
            let lease = state.lease(&id)?;
            let revision = state.revision(&(lease.app, lease.revision));
            let manifest = revision.and_then(|revision| {
                let label = &lease.app_label;
                self.inner
                    .manifests
                    .manifest(&revision.manifest, label, &self.inner.identity)
            });
            Some((workload_of(&id, &lease), (id, lease, manifest)))
        });
        leases.collect()
    }

    /// Has a tally and probes for every lease that needs them.
    fn watch_over(&mut self, leases: &Leases) {
        let now = steady_ms();
        for (id, (_, lease, manifest)) in leases {
            let may_run = self.may_run(id, lease);
            let entry = self.entries.entry(*id).or_default();
            entry.allow(may_run);
            entry.local.slot = Some(lease.slot());
            entry.local.claims = Claim::of(lease);
            let tally = entry
                .tally
                .get_or_insert_with(|| Tally::new(lease.meter.clone(), now));
            if entry.local.stage != Stage::Running || !may_run || !entry.probes.is_empty() {
                continue;
            }
            let Some((_, service)) = manifest.as_ref().and_then(|m| find(m, lease)) else {
                continue;
            };
            let Some(address) = entry.address else {
                continue;
            };
            let was_ready = matches!(lease.phase, Phase::Ready { .. });
            match readiness_of(service) {
                None => {
                    entry.health.is_ready = true;
                    entry.local.is_ready = true;
                    tally.set_ready(true, now);
                }
                Some(probe) => {
                    // Nothing of it is tallied before this agent has found it ready itself.
                    if was_ready {
                        entry.health = Health::taken_over();
                        entry.local.is_ready = true;
                    }
                    let target = self.inner.target(*id, address);
                    let asking = Asking {
                        probe,
                        is_liveness: false,
                        was_ready,
                    };
                    let task = asking.again_and_again(target, self.events.clone());
                    entry.probes.push(self.tasks.spawn(task));
                }
            }
            if let Some(probe) = service
                .liveness
                .clone()
                .filter(|p| Some(p) != service.readiness.as_ref())
            {
                let target = self.inner.target(*id, address);
                let asking = Asking {
                    probe,
                    is_liveness: true,
                    was_ready,
                };
                let task = asking.again_and_again(target, self.events.clone());
                entry.probes.push(self.tasks.spawn(task));
            }
        }
    }

    fn wanted(&self, leases: &Leases) -> BTreeMap<WorkloadId, Wanted> {
        let wanted = leases.iter().map(|(id, (_, lease, manifest))| {
            let found = manifest.as_ref().and_then(|manifest| find(manifest, lease));
            let is_blocked =
                found.is_some_and(|(_, service)| self.is_blocked(service, lease, leases));
            let wanted = Wanted {
                slot: lease.slot(),
                phase: lease.phase.clone(),
                claims: Claim::alone(lease),
                is_exclusive: lease.is_exclusive,
                is_ending: lease.ending.is_some(),
                is_readable: found.is_some(),
                is_awaited: self.awaited.may_come(&lease.manifest),
                is_blocked,
            };
            (*id, wanted)
        });
        wanted.collect()
    }

    /// Whether a service that this one depends on has not come far enough. Only the first start waits: a dependency
    /// that fails later is its own affair.
    fn is_blocked(&self, service: &Service, lease: &Lease, leases: &Leases) -> bool {
        let state = self.inner.ledger.state();
        service.depends_on.iter().any(|(name, condition)| {
            let label = service_label(&lease.app_label, name);
            let mut replicas = leases
                .iter()
                .filter(|(_, (_, other, _))| other.app == lease.app && other.service == label)
                .filter_map(|(id, _)| self.entries.get(id));
            // What stays together finds nothing elsewhere.
            let is_together = moving::is_together(&state, lease);
            let is_ready_elsewhere =
                || !is_together && self.is_ready_elsewhere(&state, &lease.app, &label);
            match condition {
                Condition::Started => {
                    !(replicas.any(|entry| entry.local.stage == Stage::Running)
                        || is_ready_elsewhere())
                }
                Condition::Healthy => {
                    !(replicas.any(|entry| entry.local.is_ready) || is_ready_elsewhere())
                }
                Condition::Completed => !act::has_completed(&state, lease, &label),
            }
        })
    }

    /// Whether another machine has a replica of that service ready.
    fn is_ready_elsewhere(&self, state: &State, app: &AppId, service: &Label) -> bool {
        let leases = state.active_leases_of(app);
        let mut leases = leases.iter().filter_map(|id| state.lease(id));
        leases.any(|lease| {
            lease.node != self.inner.node
                && lease.service == *service
                && matches!(lease.phase, Phase::Ready { .. })
        })
    }

    /// The workloads here whose lease the law has ended, and that nothing else here needs.
    fn ended(&self, state: &State) -> BTreeSet<WorkloadId> {
        let has_ended = |id: &WorkloadId| {
            state
                .lease(&LeaseId(id.lease))
                .is_some_and(|lease| !lease.is_active())
        };
        let mut ended: BTreeSet<WorkloadId> =
            self.entries.keys().copied().filter(has_ended).collect();
        for id in self.needed_to_the_end(state, &ended) {
            ended.remove(&id);
        }
        ended
    }

    fn service_of(&self, id: &WorkloadId) -> Option<(Service, Lease)> {
        let lease = self.inner.ledger.state().lease(&LeaseId(id.lease))?;
        let manifest = self.inner.manifests.opened(&lease.manifest)?;
        let (_, service) = find(&manifest, &lease)?;
        Some((service.clone(), lease))
    }
}

type Leases = BTreeMap<WorkloadId, (LeaseId, Lease, Option<Arc<Manifest>>)>;

/// The workload of a lease.
pub(crate) const fn workload_of(id: &LeaseId, lease: &Lease) -> WorkloadId {
    WorkloadId {
        lease: id.0,
        epoch: lease.epoch,
    }
}

/// The service of a lease in its manifest.
pub(crate) fn find<'a>(manifest: &'a Manifest, lease: &Lease) -> Option<(&'a str, &'a Service)> {
    let mut services = manifest.services.iter();
    let found = services.find(|(name, _)| service_label(&lease.app_label, name) == lease.service);
    found.map(|(name, service)| (name.as_str(), service))
}

/// How a service is known to be ready: its own probe, or its first TCP port listening, or nothing.
fn readiness_of(service: &Service) -> Option<Probe> {
    use crate::manifest::{Check, Protocol};
    service.readiness.clone().or_else(|| {
        let port = service
            .ports
            .iter()
            .find(|port| port.protocol == Protocol::Tcp)?;
        Some(Probe {
            check: Check::Tcp {
                port: port.container,
            },
            interval_ms: 5_000,
            timeout_ms: 2_000,
            retries: 3,
            start_period_ms: 60_000,
            within_ms: 60_000,
        })
    })
}
