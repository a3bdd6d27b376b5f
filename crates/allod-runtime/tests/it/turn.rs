//! However many long requests there are, short ones are answered.

use std::io::Write;
use std::os::unix::net::UnixStream;

use allod_runtime::limits::{EXECS_MAX, STOPS_MAX, TURNS_MAX, WORKERS_MAX};
use allod_runtime::{ClientError, EndCause, Exec, Phase, Refusal, WorkloadId, WorkloadSpec};
use serde_json::json;

use crate::house::{House, until};
use crate::life::exec_spec;

/// A workload with room for many processes that does nothing, and does not listen.
fn idle(house: &House, number: u8) -> WorkloadSpec {
    let mut spec = house.spec(
        number,
        "trap '' TERM; echo up; while true; do sleep 1000; done",
    );
    spec.resources.pids = 1_000;
    spec.resources.memory_bytes = 512 << 20;
    spec
}

fn start(house: &House, number: u8) -> WorkloadId {
    let spec = idle(house, number);
    let id = spec.id;
    house.client.create(spec).unwrap();
    until("it is up", || house.output(id) == "up");
    id
}

/// Both kinds of requests that nobody may be kept from.
fn is_served(house: &House, number: u8) {
    house.client.list().unwrap();
    house.client.create(house.spec(number, "true")).unwrap();
}

/// How many who ask the root process itself keeps, and no child of it.
fn kept(house: &House) -> usize {
    let root = house.client.identify().unwrap().pid;
    let open = std::fs::read_dir(format!("/proc/{root}/fd")).unwrap();
    let names = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    names
        .filter(|name| name.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn stops_that_take_long_wait_for_each_other_and_hold_up_nobody_else() {
    let house = House::new();
    let id = start(&house, 1);
    let many = WORKERS_MAX + 16;
    assert!(STOPS_MAX < many && many < STOPS_MAX + TURNS_MAX);
    let before = kept(&house);
    let stops: Vec<_> = (0..many)
        .map(|_| {
            let client = house.client.clone();
            std::thread::spawn(move || client.stop(id, None, Some(60_000)))
        })
        .collect();
    until("all but those whose turn it is wait", || {
        kept(&house) >= before + many - STOPS_MAX
    });
    is_served(&house, 2);
    house.client.signal(id, libc::SIGKILL).unwrap();
    until("all are answered", || {
        stops.iter().all(std::thread::JoinHandle::is_finished)
    });
    for stop in stops {
        let phase = stop.join().unwrap().unwrap().phase;
        let is_stopped = matches!(
            phase,
            Phase::Exited {
                cause: EndCause::Stopped,
                ..
            }
        );
        assert!(is_stopped, "{phase:?}");
    }
}

#[test]
fn processes_beside_workloads_leave_room_for_everything_else() {
    let house = House::new();
    let id = start(&house, 1);
    let run = || house.client.exec(exec_spec(id, "sleep 1000"));
    let mut running: Vec<Exec> = (0..EXECS_MAX).map(|_| run().unwrap()).collect();
    let refused = run().unwrap_err();
    let ClientError::Refused(refusal @ Refusal::Busy { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(refusal.to_string().contains("end one of them"), "{refusal}");
    is_served(&house, 2);
    running.pop().unwrap().end.hang_up();
    until("another takes its place", || match run() {
        Ok(exec) => {
            running.push(exec);
            true
        }
        Err(_) => false,
    });
}

/// Asks for a process beside a workload as [`allod_runtime::Client`] does, and waits for nothing.
fn ask_to_run(house: &House, id: WorkloadId) -> UnixStream {
    let request = json!({"request": "exec", "exec": exec_spec(id, "true")});
    let text = serde_json::to_vec(&request).unwrap();
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    let mut stream = UnixStream::connect(house.path().join("run/root.sock")).unwrap();
    stream
        .write_all(&[&b"ALR1"[..], &length, &text].concat())
        .unwrap();
    stream
}

#[test]
fn who_hangs_up_on_a_frozen_workload_holds_nothing() {
    let house = House::new();
    let (frozen, other) = (start(&house, 1), start(&house, 2));
    house.client.freeze(frozen).unwrap();
    let asked: Vec<UnixStream> = (0..EXECS_MAX).map(|_| ask_to_run(&house, frozen)).collect();
    until("there is room for no more", || {
        let run = house.client.exec(exec_spec(other, "true"));
        matches!(run, Err(ClientError::Refused(Refusal::Busy { .. })))
    });
    drop(asked);
    until("there is room again", || {
        house.client.exec(exec_spec(other, "true")).is_ok()
    });
    // What was let in does not run any more.
    house.client.thaw(frozen).unwrap();
    house
        .client
        .exec(exec_spec(frozen, "true"))
        .unwrap()
        .end
        .wait()
        .unwrap();
}
