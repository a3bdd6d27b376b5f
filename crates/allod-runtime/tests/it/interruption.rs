//! Killed anywhere, nothing stays behind that the next root process does not know of.

use std::process::Command;
use std::time::{Duration, Instant};

use allod_runtime::Phase;

use crate::house::{House, until};

/// The processes that a root process has forked, shims included.
fn children_of_root(house: &House) -> Vec<String> {
    let root = house.client.identify().unwrap().pid;
    let path = format!("/proc/{root}/task/{root}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_maker_killed_at_any_moment_leaves_nothing() {
    let house = House::new();
    let started = Instant::now();
    house
        .client
        .create(house.spec(255, "exec sleep 1000"))
        .unwrap();
    let whole = started.elapsed();
    house.client.reap(&[]).unwrap();
    let mut interrupted = 0;
    for step in 0..24u8 {
        let spec = house.spec(step, "exec sleep 1000");
        let id = spec.id;
        let client = house.client.clone();
        let asking = std::thread::spawn(move || client.create(spec));
        // Not a wait for anything: the moment of the kill is what is varied.
        std::thread::sleep(whole * u32::from(step) / 24);
        for pid in children_of_root(&house) {
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
        let answer = asking.join().unwrap();
        if answer.is_err() {
            interrupted += 1;
            // Whatever it had come to is put right by itself, or by whoever asks next.
            until("it is settled", || match house.client.status(id) {
                // It ran already: then it lives, under a new shim.
                Ok(status) => match status.phase {
                    Phase::Created => false,
                    Phase::Running { .. } => house.shim(id).is_some(),
                    Phase::Exited { .. } => true,
                },
                Err(_) => true,
            });
        }
        house.client.delete(id).unwrap();
        assert_eq!(house.left_for_good(), [], "killed at step {step}");
    }
    assert!(interrupted > 0, "no start was interrupted");
}

#[test]
fn root_and_all_its_children_killed_in_the_middle_leave_nothing() {
    let mut house = House::new();
    for step in 0..6u8 {
        let spec = house.spec(step, "exec sleep 1000");
        let client = house.client.clone();
        let asking = std::thread::spawn(move || client.create(spec));
        std::thread::sleep(Duration::from_millis(u64::from(step) * 15));
        let children = children_of_root(&house);
        house.kill_root();
        for pid in children {
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
        house.start_root();
        house.client.reap(&[]).unwrap();
        // What the dead have left held the connection open; now nothing does.
        let _ = asking.join().unwrap();
        assert_eq!(house.left_for_good(), [], "killed at step {step}");
    }
}

#[test]
fn many_start_at_once_and_all_can_be_told_apart() {
    let house = House::new();
    let starters: Vec<_> = (1..=12u8)
        .map(|number| {
            let spec = house.spec(number, &format!("exit {number}"));
            let client = house.client.clone();
            std::thread::spawn(move || client.create(spec).map(|status| status.id))
        })
        .collect();
    for (number, starter) in (1..).zip(starters) {
        let id = starter.join().unwrap().unwrap();
        assert_eq!(
            house.end(id),
            allod_runtime::EndCause::Exited { code: number }
        );
    }
    house.client.reap(&[]).unwrap();
    assert_eq!(house.left_for_good(), []);
}
