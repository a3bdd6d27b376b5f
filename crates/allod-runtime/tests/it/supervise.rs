//! The process beside the root process: few rights, its own descriptors, started again.

use std::os::unix::fs::PermissionsExt;

use allod_runtime::root::{Down, GIVES_UP};

use crate::house::{House, NETWORK_UID, until};

/// What a supervised shell reports about itself, line by line, each time it is started.
const SCRIPT: &str = "exec >>report; id -u; id -g; id -G; cat input; \
                      grep NoNewPrivs /proc/self/status; cat <&3; echo $ALLOD_FDS; kill -9 $$";

#[test]
fn a_child_gets_what_it_is_handed_and_no_more_and_is_started_again() {
    // A home that its user cannot walk to by path, as that of the one who starts the cloud.
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let inside = closed.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("input"), "in the working directory\n").unwrap();
    std::os::unix::fs::chown(&inside, Some(NETWORK_UID), None).unwrap();
    let house = House::supervising(&inside, SCRIPT);
    let report = inside.join("report");
    let text = || std::fs::read_to_string(&report).unwrap_or_default();
    until("it was started twice", || {
        text().matches("NoNewPrivs").count() >= 2
    });
    let first: Vec<String> = text().lines().take(7).map(str::to_owned).collect();
    let uid = NETWORK_UID.to_string();
    let expected = [
        &uid,
        &uid,
        &uid,
        "in the working directory",
        "NoNewPrivs:\t1",
        "handed over",
        "words:says",
    ];
    assert_eq!(first, expected);
    drop(house);
}

#[test]
fn a_child_that_gives_up_is_not_started_again_and_the_root_process_ends() {
    let inside = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(inside.path(), Some(NETWORK_UID), None).unwrap();
    // Only once, so that the house can be cleared afterwards.
    let script = format!("[ -e report ] && exec sleep 1000; echo once >>report; exit {GIVES_UP}");
    let mut house = House::supervising(inside.path(), &script);
    assert_eq!(house.root_exit_code(), 13);
    let report = std::fs::read_to_string(inside.path().join("report")).unwrap();
    assert_eq!(report, "once\n");
}

/// It ends with a word until somebody puts a `well` there; then it does its work.
const THIRSTY: &str = "[ -e well ] && { printf '\\006' >&4; exec sleep 1000; }; \
                       printf 'no\\033water' >&4; exit 1";

#[test]
fn a_child_that_cannot_start_is_told_of_until_it_does_its_work() {
    let inside = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(inside.path(), Some(NETWORK_UID), None).unwrap();
    let house = House::supervising(inside.path(), THIRSTY);
    let run = house.path().join("run");
    until("it was tried twice", || {
        Down::read(&run).is_some_and(|down| down.tries >= 2)
    });
    let down = Down::read(&run).unwrap();
    let said = (down.end.as_str(), down.words.as_str());
    assert_eq!(said, ("it ended with exit code 1", "no water"));
    std::fs::write(inside.path().join("well"), "").unwrap();
    until("nothing is said of it any more", || {
        Down::read(&run).is_none()
    });
    drop(house);
}

/// It does its work and ends soon; the next one says no word but its last one, and the one after that none.
const SHORT: &str = "[ -e vain ] && exec sleep 1000; [ -e well ] && { echo >vain; printf dry >&4; exit 1; }; \
                     echo >well; printf '\\006' >&4; exit 1";

#[test]
fn a_start_that_went_well_is_none_of_those_in_vain() {
    let inside = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(inside.path(), Some(NETWORK_UID), None).unwrap();
    let house = House::supervising(inside.path(), SHORT);
    let run = house.path().join("run");
    until("it is told of", || Down::read(&run).is_some());
    let down = Down::read(&run).unwrap();
    assert_eq!((down.words.as_str(), down.tries), ("dry", 1));
    drop(house);
}

#[test]
fn a_child_that_is_killed_again_and_again_is_told_of() {
    let inside = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(inside.path(), Some(NETWORK_UID), None).unwrap();
    let house = House::supervising(inside.path(), "kill -9 $$");
    let run = house.path().join("run");
    until("it is told of", || Down::read(&run).is_some());
    let down = Down::read(&run).unwrap();
    assert_eq!(
        (down.end.as_str(), down.words.as_str()),
        ("signal 9 ended it", "")
    );
    // Once or twice is no reason yet: whoever asks then waits a moment, and is answered.
    assert!(down.tries > 2, "told of after {} tries", down.tries);
    drop(house);
}
