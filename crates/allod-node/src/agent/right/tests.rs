//! An exclusive replica that others watch, from the moment at which they confirm it no more until they do again.

use std::sync::Arc;

use allod_runtime::Phase as RuntimePhase;
use allod_state::lease::Report;
use allod_state::limits::EVIDENCE_AHEAD_MS_MAX;

use super::*;
use crate::agent::Scene;
use crate::agent::plan::Step;
use crate::agent::scene::{LONG_MS, Looked};
use crate::agent::tally::Moment;
use crate::manifest::tests::guestbook;

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
