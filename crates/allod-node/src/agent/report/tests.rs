//! What is told, and what that leaves alone.

use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::*;
use crate::agent::Scene;

#[tokio::test]
async fn the_end_of_a_report_is_the_end_of_nothing_else() {
    let mut stage = Scene::listed().await;
    stage.runs(None);
    let id = stage.id;
    // It is being removed, and its connections are let end.
    stage.agent.entries.get_mut(&id).unwrap().local.is_busy = true;
    for told in [Told::Taken, Told::Refused("no block took it".into())] {
        stage.agent.handle(Event::Told(id, told));
        let entry = &stage.agent.entries[&id];
        assert!(
            entry.local.is_busy,
            "another removal would let no connection end"
        );
    }
    stage.node.stop().await;
}

#[tokio::test]
async fn of_a_replica_one_report_waits_for_its_turn_and_is_told_if_it_is_true_by_then() {
    let mut stage = Scene::listed().await;
    let (events, mut inbox) = mpsc::channel(8);
    stage.agent.events = events;
    stage.runs(None);
    let (id, leases) = (stage.id, stage.leases.clone());
    let inner = Arc::clone(&stage.node.inner);
    for is_true in [false, true] {
        let held = inner.signer.hold().await;
        let steps = [Report::Ready, Report::NotReady, Report::Ready];
        for report in steps {
            // The planner wants it again and again, and sometimes the contrary, for longer than anything is waited for.
            let step = Step::Report(report);
            stage.agent.take_back(&[(id, step)]);
            stage.agent.report(id, step, report, &leases);
            tokio::time::pause();
            tokio::time::advance(REPORT_PATIENCE * 2).await;
            tokio::time::resume();
            yield_now().await;
            assert_eq!(stage.agent.tasks.len(), 1, "nothing was told yet");
        }
        if !is_true {
            stage.agent.take_back(&[]);
        }
        drop(held);
        let Some(Event::Told(_, told)) = inbox.recv().await else {
            panic!("a report is over");
        };
        // The law knows nothing of this lease.
        assert_eq!(matches!(told, Told::Refused(_)), is_true, "{told:?}");
        assert_eq!(matches!(told, Told::Withdrawn), !is_true, "{told:?}");
        stage.agent.handle(Event::Told(id, told));
        while stage.agent.tasks.join_next().await.is_some() {}
        tokio::time::pause();
        tokio::time::advance(REPORT_PATIENCE).await;
        tokio::time::resume();
    }
    stage.node.stop().await;
}
