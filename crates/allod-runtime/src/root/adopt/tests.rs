//! A workload whose shim writes its end is never taken for one that was only half made.

use std::sync::Barrier;

use super::*;
use crate::layout::Layout;
use crate::record::Allowance;
use crate::workload::{EndCause, InstallationId, LogLimits};

const ROUNDS: usize = 500;

const RUNNING: Phase = Phase::Running {
    pid: 2,
    address: std::net::Ipv4Addr::LOCALHOST,
    started_ms: 1,
};

fn place(directory: &std::path::Path) -> Place {
    let layout = Layout::new(InstallationId::derive(b"adopt"), directory);
    std::fs::create_dir_all(layout.workloads()).unwrap();
    let id = WorkloadId {
        lease: [1; 32],
        epoch: 1,
    };
    let place = Place::new(&layout, &id);
    place.create(0).unwrap();
    let record = Record {
        id,
        app: [0; 32],
        service: "web".to_owned(),
        layers: Vec::new(),
        volumes: Vec::new(),
        user_slot: 0,
        stop_signal: 15,
        stop_grace_ms: 0,
        logs: LogLimits::default(),
        allowance: Allowance::default(),
        is_fenced: false,
        shim: myself(),
    };
    place.write_record(&record).unwrap();
    place
}

fn myself() -> ProcessId {
    ProcessId::of(std::process::id().cast_signed()).unwrap()
}

fn running() -> State {
    State::running(RUNNING, myself())
}

fn ended() -> State {
    State {
        phase: Phase::Exited {
            cause: EndCause::Lost,
            at_ms: 2,
        },
        init: None,
    }
}

#[test]
fn whoever_looks_while_the_end_is_being_written_finds_one_or_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    for _ in 0..ROUNDS {
        place.write_state(&running()).unwrap();
        let begin = Barrier::new(2);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                begin.wait();
                place.write_state(&ended()).unwrap();
            });
            begin.wait();
            loop {
                match standing(&place).unwrap() {
                    Standing::Running(..) => {}
                    Standing::Ended => break,
                    Standing::Unmade => panic!("it would have been removed"),
                }
            }
        });
    }
}

#[test]
fn what_was_never_said_to_run_is_unmade() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    assert!(matches!(standing(&place).unwrap(), Standing::Unmade));
    let created = State {
        phase: Phase::Created,
        init: Some(myself()),
    };
    place.write_state(&created).unwrap();
    assert!(matches!(standing(&place).unwrap(), Standing::Unmade));
    place.write_state(&running()).unwrap();
    let found = orphan(&place).unwrap().unwrap();
    assert_eq!(found.1, myself());
}
