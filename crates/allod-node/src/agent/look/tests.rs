//! What a look says and what it does not, and what an end is called: the law's cause and the runtime's words stand side by side.

use std::time::Duration;

use allod_state::lease::Report;

use super::*;
use crate::agent::Event;
use crate::agent::Scene;
use crate::agent::plan::{Step, plan};

/// As events tell it.
fn told(end: &RuntimeEnd) -> String {
    let cause = cause_of(end);
    match words_beyond(end) {
        Some(words) => format!("{cause} ({words})"),
        None => cause.to_string(),
    }
}

#[test]
fn how_a_process_ended_is_told_once() {
    let exited = RuntimeEnd::Exited { code: 3 };
    assert_eq!(told(&exited), "exited with code 3");
    let signaled = RuntimeEnd::Signaled { signal: 9 };
    assert_eq!(told(&signaled), "killed by signal 9");
}

#[test]
fn what_the_runtime_alone_knows_of_an_end_is_told() {
    assert_eq!(
        told(&RuntimeEnd::OutOfMemory),
        "out of memory (ended for want of memory: raise its memory limit)"
    );
}

fn look(begun: Instant, statuses: Vec<Status>) -> Event {
    let is_whole = true;
    let look = Look {
        begun,
        statuses,
        is_whole,
    };
    Event::Done(NOBODY, Done::Looked(look))
}

/// What the planner makes of it, where the law has it ready.
fn steps(scene: &Scene) -> Vec<Step> {
    let wanted = scene.agent.wanted(&scene.leases);
    let local = scene.agent.entries[&scene.id].local.clone();
    let steps = plan(&wanted, Some(&[(scene.id, local)].into()), &[].into());
    steps.into_iter().map(|(_, step)| step).collect()
}

#[tokio::test]
async fn a_look_says_nothing_of_what_was_started_or_removed_after_it_was_begun() {
    let mut scene = Scene::set().await;
    scene.agent.watch_over(&scene.leases);
    let id = scene.id;
    let begun = Instant::now();
    scene.agent.handle(look(begun, vec![]));
    scene
        .agent
        .handle(Event::Done(id, Done::Started(scene.running())));
    scene.agent.handle(look(begun, vec![]));
    assert_eq!(steps(&scene), [Step::Report(Report::NotReady)], "it runs");

    let begun = Instant::now();
    scene.agent.handle(Event::Done(
        id,
        Done::Removed(None, Some(EndCause::OutOfMemory)),
    ));
    scene.agent.handle(look(begun, vec![scene.running()]));
    let told = Step::Report(Report::Ended(EndCause::OutOfMemory));
    assert_eq!(steps(&scene), [told], "it is gone");
    scene.node.stop().await;
}

#[tokio::test]
async fn what_is_not_seen_any_more_is_halted_and_then_told_as_lost() {
    let mut scene = Scene::set().await;
    scene.agent.watch_over(&scene.leases);
    let id = scene.id;
    scene
        .agent
        .handle(Event::Done(id, Done::Started(scene.running())));
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1)).await;
    tokio::time::resume();
    scene.agent.handle(look(Instant::now(), vec![]));
    let halt = Step::Halt(EndCause::Lost);
    assert_eq!(steps(&scene), [halt]);
    scene.agent.watch_over(&scene.leases);
    let entry = &scene.agent.entries[&id];
    assert!(!entry.local.is_ready && entry.probes.is_empty());
    assert_eq!(steps(&scene), [halt]);

    scene
        .agent
        .handle(Event::Done(id, Done::Removed(None, Some(EndCause::Lost))));
    assert_eq!(steps(&scene), [Step::Report(Report::Ended(EndCause::Lost))]);
    scene.node.stop().await;
}

#[tokio::test]
async fn what_is_seen_again_runs_on() {
    let mut scene = Scene::set().await;
    scene.agent.watch_over(&scene.leases);
    scene
        .agent
        .handle(Event::Done(scene.id, Done::Started(scene.running())));
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1)).await;
    tokio::time::resume();
    scene.agent.handle(look(Instant::now(), vec![]));
    scene
        .agent
        .handle(look(Instant::now(), vec![scene.running()]));
    scene.agent.watch_over(&scene.leases);
    assert!(!steps(&scene).contains(&Step::Halt(EndCause::Lost)));
    scene.node.stop().await;
}
