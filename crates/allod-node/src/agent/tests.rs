//! What an end is called: the law's cause and the runtime's words stand side by side.

use super::{RuntimeEnd, cause_of, words_beyond};

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
