//! An exclusive replica that others watch, from the moment at which they confirm it no more until they do again.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use allod_ledger::chain::View;
use allod_runtime::Phase as RuntimePhase;
use allod_state::lease::{Phase, Report};
use allod_state::limits::EVIDENCE_AHEAD_MS_MAX;
use allod_state::{LeaseId, NodeId};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::agent::health::Answer;
use crate::agent::plan::{Step, plan};
use crate::agent::sight::Sight;
use crate::agent::tally::Moment;
use crate::agent::{Leases, find, service_label, tables, tally, workload_of};
use crate::founding::found;
use crate::home::Home;
use crate::limits::IMAGES_BYTES_MAX;
use crate::manifest::tests::guestbook;
use crate::node::{Node, Places, Settings};
use crate::time::{now_ms, steady_ms};

/// How long it is confirmed for, and how long what was ready is tallied for.
const LONG_MS: u64 = 60_000;

/// A machine that has such a replica, ready as the law knows it. Nothing else of its node runs while a test waits for nothing.
pub(crate) struct Scene {
    pub(in crate::agent) agent: Agent,
    pub(crate) node: Node,
    pub(in crate::agent) leases: Leases,
    pub(in crate::agent) id: WorkloadId,
    _dir: TempDir,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path()).unwrap();
        found(&home, None, None).unwrap();
        let settings = Settings {
            places: Places {
                node: home.node_dir(),
                run: home.run_dir().to_owned(),
                runtime: home.root_dir(),
            },
            ingress: vec![TcpListener::bind("127.0.0.1:0").unwrap()],
            resolv_conf: PathBuf::new(),
            images_bytes_max: IMAGES_BYTES_MAX,
            peers: ([127, 0, 0, 1], 0).into(),
            relay: None,
            looks_on_lan: false,
        };
        let node = Node::start(settings).await.unwrap();
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
    pub(in crate::agent) fn runs(&mut self, until_boot_ms: Option<u64>) {
        let status = self.running();
        self.agent.learn_one(Status {
            until_boot_ms,
            ..status
        });
    }

    pub(in crate::agent) fn running(&self) -> Status {
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

    fn confirm(&self, ms: u64) {
        let until = [(self.id, boot_ms() + ms)].into();
        self.agent.inner.until.send_replace(until);
    }

    fn answers(&mut self, outcome: Result<(), String>) {
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
    fn look(&mut self) -> Looked {
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
struct Looked {
    is_routed: bool,
    is_billed: bool,
    is_asked: bool,
    words: String,
    steps: Vec<Step>,
}

fn ready() -> Looked {
    Looked {
        is_routed: true,
        is_billed: true,
        is_asked: true,
        words: "ready".into(),
        steps: vec![],
    }
}

fn standing_still() -> Looked {
    Looked {
        is_routed: false,
        is_billed: false,
        is_asked: false,
        words: "standing still, until most of its witnesses confirm it again".into(),
        steps: vec![Step::Report(Report::NotReady)],
    }
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

#[tokio::test]
async fn what_its_witnesses_do_not_confirm_is_ready_for_nobody_until_they_do() {
    let mut stage = Scene::set().await;
    stage.confirm(LONG_MS);
    stage.runs(None);
    stage.look();
    stage.answers(Ok(()));
    assert_eq!(stage.look(), ready());

    // Its time is over.
    stage.confirm(0);
    assert_eq!(stage.look(), standing_still());
    assert_eq!(stage.look(), standing_still());

    stage.confirm(LONG_MS);
    stage.look();
    stage.answers(Ok(()));
    assert_eq!(stage.look(), ready());
    stage.node.stop().await;
}

#[tokio::test]
async fn what_is_asked_nothing_is_ready_only_while_it_may_run_as_well() {
    let mut stage = Scene::set().await;
    let (_, _, manifest) = stage.leases.get_mut(&stage.id).unwrap();
    let mut silent = guestbook();
    let web = silent.services.get_mut("web").unwrap();
    (web.readiness, web.ports) = (None, vec![]);
    *manifest = Some(Arc::new(silent));
    stage.runs(None);
    for (ms, may_run) in [(LONG_MS, true), (0, false), (LONG_MS, true)] {
        stage.confirm(ms);
        let looked = stage.look();
        assert_eq!((looked.is_routed, looked.is_billed), (may_run, may_run));
    }
    stage.node.stop().await;
}

#[tokio::test]
async fn what_stands_still_is_not_given_up_for_what_its_probes_hear() {
    let mut stage = Scene::set().await;
    let (_, _, manifest) = stage.leases.get_mut(&stage.id).unwrap();
    let mut lively = guestbook();
    let web = lively.services.get_mut("web").unwrap();
    web.liveness.clone_from(&web.readiness);
    *manifest = Some(Arc::new(lively));
    stage.confirm(LONG_MS);
    stage.runs(None);
    stage.look();
    stage.answers(Ok(()));
    assert_eq!(stage.look(), ready());

    // Before the agent has looked, and after it has.
    stage.confirm(0);
    for _ in 0..2 {
        for _ in 0..9 {
            stage.answers(Err("no answer within 1000 ms".into()));
        }
        // A kernel takes connections for whoever stands still.
        stage.answers(Ok(()));
        assert_eq!(stage.look(), standing_still());
    }

    // None of it counts later.
    stage.confirm(LONG_MS);
    stage.look();
    stage.answers(Ok(()));
    stage.answers(Err("no answer within 1000 ms".into()));
    assert_eq!(stage.look(), ready());
    stage.node.stop().await;
}

/// What ran before the machine was started again may have been given a time that is far ahead by today's clock.
#[tokio::test]
async fn what_has_ended_has_no_time_that_could_be_taken_over() {
    let mut stage = Scene::set().await;
    let cause = allod_runtime::EndCause::Lost;
    stage.agent.learn_one(Status {
        until_boot_ms: Some(boot_ms() + 100 * LONG_MS),
        phase: RuntimePhase::Exited { cause, at_ms: 0 },
        ..stage.running()
    });
    assert!(stage.agent.inner.until.borrow().is_empty());
    stage.node.stop().await;
}

#[tokio::test]
async fn a_new_agent_takes_over_until_when_a_replica_may_run() {
    let mut stage = Scene::set().await;
    stage.runs(Some(boot_ms() + LONG_MS));
    stage.look();
    stage.answers(Ok(()));
    assert_eq!(stage.look(), ready());

    // What is over by now says nothing, and takes nothing from what is confirmed.
    stage.runs(Some(boot_ms()));
    assert_eq!(stage.look(), ready());
    stage.agent.inner.until.send_replace([].into());
    stage.runs(Some(boot_ms()));
    assert_eq!(stage.look(), standing_still());
    stage.node.stop().await;
}

#[tokio::test]
async fn evidence_ends_where_the_ledger_has_it_and_not_where_this_clock_does() {
    let mut stage = Scene::listed().await;
    stage.agent.pass();
    let now = Moment::now();
    let ahead = Moment {
        wall_ms: now.wall_ms + LONG_MS,
        ..now
    };
    let (_, lease, _) = &stage.leases[&stage.id];
    let until = stage.agent.metered_until(lease, ahead);
    let block_ms = stage.node.state().tip().time_ms;
    assert!(until.wall_ms <= block_ms + EVIDENCE_AHEAD_MS_MAX);
    assert_eq!(until.steady_ms, now.steady_ms);
    stage.node.stop().await;
}
