//! For tests: a machine with an agent that looks once when it is told to.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use allod_ledger::chain::View;
use allod_runtime::{Phase as RuntimePhase, Status, WorkloadId, boot_ms};
use allod_state::lease::{Lease, Phase};
use allod_state::{LeaseId, NodeId};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::health::Answer;
use super::plan::{Step, plan};
use super::sight::Sight;
use super::tally::Moment;
use super::{Agent, Leases, find, service_label, tables, tally, workload_of};
use crate::founding::found;
use crate::home::Home;
use crate::manifest::tests::guestbook;
use crate::node::Node;
use crate::node::start::tests::settings;
use crate::time::{now_ms, steady_ms};

/// How long it is confirmed for, and how long what was ready is tallied for.
pub(super) const LONG_MS: u64 = 60_000;

/// A machine that has an exclusive replica which others watch, ready as the law knows it. Nothing else of its node runs while a test waits for nothing.
pub(crate) struct Scene {
    pub(super) agent: Agent,
    pub(crate) node: Node,
    pub(super) leases: Leases,
    pub(super) id: WorkloadId,
    _dir: TempDir,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        found(&home, None, None).unwrap();
        let node = Node::start(settings(&home)).await.unwrap();
        let tables = tables::tests::tables(&dir, PathBuf::new());
        let (seen, _) = watch::channel(Arc::default());
        // Nobody listens: what the replica answers is said below.
        let (events, _) = mpsc::channel(1);
        let agent = Agent::new(Arc::clone(&node.inner), tables, seen, events);
        let lease = watched();
        let lease_id = LeaseId([7; 32]);
        let id = workload_of(&lease_id, &lease);
        let manifest = Arc::new(guestbook());
        Self {
            agent,
            node,
            leases: [(id, (lease_id, lease, Some(manifest)))].into(),
            id,
            _dir: dir,
        }
    }

    /// The same, once the ledger knows the machine.
    pub(crate) async fn listed() -> Self {
        let scene = Self::set().await;
        let inner = &scene.node.inner;
        let mut views = inner.ledger.chain().views();
        let is_listed = |view: &Arc<View>| view.state.node(&inner.node).is_some();
        views.wait_for(is_listed).await.unwrap();
        scene
    }

    /// The runtime says that it runs, and until when it may.
    pub(super) fn runs(&mut self, until_boot_ms: Option<u64>) {
        let status = self.running();
        self.agent.learn_one(Status {
            until_boot_ms,
            ..status
        });
    }

    pub(super) fn running(&self) -> Status {
        Status {
            id: self.id,
            app: [0; 32],
            service: "web".into(),
            until_boot_ms: None,
            phase: RuntimePhase::Running {
                pid: 1,
                address: Ipv4Addr::LOCALHOST,
                started_ms: 0,
            },
        }
    }

    pub(super) fn confirm(&self, ms: u64) {
        let until = [(self.id, boot_ms() + ms)].into();
        self.agent.inner.until.send_replace(until);
    }

    pub(super) fn answers(&mut self, outcome: Result<(), String>) {
        let (_, lease, manifest) = self.leases[&self.id].clone();
        let manifest = manifest.unwrap();
        let (_, service) = find(&manifest, &lease).unwrap();
        let answer = Answer {
            age_ms: 120_000,
            outcome,
        };
        self.agent.heed(&self.id, (service, &lease), false, answer);
    }

    /// What the next look of the agent comes to.
    pub(super) fn look(&mut self) -> Looked {
        let state = self.node.state();
        self.agent.watch_over(&self.leases);
        self.agent.hold(&state, &self.leases);
        let sight: Sight = self.agent.sight(&state, &self.leases);
        let wanted = self.agent.wanted(&self.leases);
        let entry = &self.agent.entries[&self.id];
        let locals = [(self.id, entry.local.clone())].into();
        let steps = plan(&wanted, Some(&locals), &[].into());
        let tally = entry.tally.as_ref().unwrap();
        let (now_ms, now) = (now_ms(), steady_ms());
        let ready_ms = |later_ms| {
            let moment = Moment {
                wall_ms: now_ms + LONG_MS,
                steady_ms: now + later_ms,
            };
            let (lease_id, lease, _) = &self.leases[&self.id];
            let items = tally.items(*lease_id, lease, moment);
            items.iter().map(|item| item.ready_ms).sum::<u64>()
        };
        let seen = &sight.workloads[&self.id];
        Looked {
            is_routed: seen.is_ready,
            is_billed: ready_ms(LONG_MS) > ready_ms(0),
            is_asked: !entry.probes.is_empty(),
            words: seen.stage.clone(),
            steps: steps.into_iter().map(|(_, step)| step).collect(),
        }
    }
}

/// What the agent makes of it.
#[derive(Debug, PartialEq)]
pub(super) struct Looked {
    pub(super) is_routed: bool,
    pub(super) is_billed: bool,
    pub(super) is_asked: bool,
    pub(super) words: String,
    pub(super) steps: Vec<Step>,
}

/// The lease of an exclusive replica that is ready, with one witness.
pub(crate) fn watched() -> Lease {
    let mut lease = tally::tests::lease(now_ms());
    lease.service = service_label(&lease.app_label, "web");
    lease.phase = Phase::Ready { since_ms: 1 };
    lease.is_exclusive = true;
    lease.witnesses = [NodeId([9; 32])].into();
    lease
}
