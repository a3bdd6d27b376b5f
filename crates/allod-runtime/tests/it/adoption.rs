//! A workload does not need its shim: killed at any time, another one takes over.

use std::path::PathBuf;

use allod_runtime::{
    EndCause, EnvVar, ExecSpec, ExecStdio, Phase, VolumeMount, VolumeName, WorkloadId, WorkloadSpec,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, until};

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Kills the shim, and waits for the next one.
fn replace_shim(house: &House, id: WorkloadId) {
    let old = house.shim(id).unwrap();
    send(old, Signal::KILL);
    until("a new shim takes over", || {
        house.shim(id).is_some_and(|new| new != old)
    });
}

/// A workload that waits for a file in its volume before it runs the rest of its script.
fn waiting(house: &House, number: u8, script: &str) -> (WorkloadSpec, PathBuf) {
    let name: VolumeName = format!("v{number}").parse().unwrap();
    house.client.ensure_volume(name.clone()).unwrap();
    let go = house.path().join("volumes").join(name.as_str()).join("go");
    let wait = format!("echo up; while [ ! -e /v/go ]; do sleep 0.02; done; {script}");
    let mut spec = house.spec(number, &wait);
    spec.volumes = vec![VolumeMount {
        name,
        target: "/v".into(),
        read_only: false,
        bytes_max: None,
    }];
    (spec, go)
}

fn start(house: &House, spec: WorkloadSpec) -> (WorkloadId, i32) {
    let id = spec.id;
    house.client.create(spec).unwrap();
    until("it is up", || house.output(id).starts_with("up"));
    (id, running(house, id))
}

/// The first process of a workload that runs.
fn running(house: &House, id: WorkloadId) -> i32 {
    match house.client.status(id).unwrap().phase {
        Phase::Running { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}

/// What the workload says after the file is there: so many lines.
const LINES: usize = 2_000;

fn lines_script(end: &str) -> String {
    format!("seq {LINES}; echo bad >&2; {end}")
}

#[track_caller]
fn has_said_everything(house: &House, id: WorkloadId) {
    let output = house.output(id);
    let lines: Vec<&str> = output.lines().filter(|line| *line != "bad").collect();
    let expected: Vec<String> = (1..=LINES).map(|number| number.to_string()).collect();
    assert_eq!(lines[0], "up");
    assert_eq!(lines[1..], expected);
    assert!(output.lines().any(|line| line == "bad"), "{output}");
}

#[test]
fn a_killed_shim_is_replaced_and_the_workload_runs_on() {
    let house = House::new();
    let (spec, go) = waiting(&house, 1, &lines_script("exit 7"));
    let (id, pid) = start(&house, spec);
    for _ in 0..5 {
        replace_shim(&house, id);
        assert_eq!(running(&house, id), pid);
    }
    std::fs::write(go, "").unwrap();
    assert_eq!(house.end(id), EndCause::Exited { code: 7 });
    has_said_everything(&house, id);
    house.client.delete(id).unwrap();
    until("nothing is left", || house.leftovers().is_empty());
}

#[test]
fn what_is_said_while_nobody_listens_is_not_lost() {
    let house = House::new();
    let (spec, go) = waiting(&house, 1, &lines_script("exit 9"));
    let (id, pid) = start(&house, spec);
    let old = house.shim(id).unwrap();
    let root = house.client.identify().unwrap().pid;
    // The root process sleeps through the death of the shim, all the lines, and the workload's end.
    send(root, Signal::STOP);
    send(old, Signal::KILL);
    std::fs::write(go, "").unwrap();
    until("the workload has ended", || is_dead(pid));
    send(root, Signal::CONT);
    assert_eq!(house.end(id), EndCause::Exited { code: 9 });
    has_said_everything(&house, id);
}

/// Whether a process is gone, or only waits to be reaped.
fn is_dead(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn root_process_and_shim_killed_together_leave_the_workload_to_the_next() {
    let mut house = House::new();
    let (spec, go) = waiting(&house, 1, &lines_script("exec sleep 1000"));
    let (id, pid) = start(&house, spec);
    let old = house.shim(id).unwrap();
    house.kill_root();
    send(old, Signal::KILL);
    std::fs::write(go, "").unwrap();
    house.start_root();
    until("a new shim takes over", || house.shim(id).is_some());
    assert_eq!(running(&house, id), pid);
    until("it has spoken", || house.output(id).ends_with("bad"));
    has_said_everything(&house, id);
    let status = house.client.stop(id, Some(9), None).unwrap();
    assert!(
        matches!(
            status.phase,
            Phase::Exited {
                cause: EndCause::Stopped,
                ..
            }
        ),
        "{status:?}"
    );
    house.client.delete(id).unwrap();
    until("nothing is left", || house.leftovers().is_empty());
}

/// Whether the kernel still says how a process has ended that somebody else has reaped.
pub(crate) fn keeps_ends() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(|sign: char| !sign.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

/// The workload's parent is none of ours then, and its shim is no child of it.
#[test]
fn the_end_is_known_though_root_process_and_shim_are_later_ones() {
    let mut house = House::new();
    let (spec, go) = waiting(&house, 1, "exit 7");
    let (id, pid) = start(&house, spec);
    house.kill_root();
    house.start_root();
    replace_shim(&house, id);
    assert_eq!(running(&house, id), pid);
    std::fs::write(go, "").unwrap();
    let expected = if keeps_ends() {
        EndCause::Exited { code: 7 }
    } else {
        EndCause::Lost
    };
    assert_eq!(house.end(id), expected);
    house.client.delete(id).unwrap();
    until("nothing is left", || house.leftovers().is_empty());
}

/// Runs a script in the workload, by a shell that is looked for; gives what it says.
fn run_beside(house: &House, id: WorkloadId, script: &str) -> String {
    let exec = ExecSpec {
        id,
        args: vec!["sh".into(), "-c".into(), script.into()],
        env: Vec::new(),
        user: None,
        working_dir: None,
        terminal: None,
    };
    let exec = house.client.exec(exec).unwrap();
    let ExecStdio::Pipes { stdout, .. } = exec.stdio else {
        panic!("pipes were asked for");
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(stdout), &mut text).unwrap();
    assert_eq!(exec.end.wait().unwrap().code(), 0, "{text}");
    text
}

/// Redis and nginx write their titles over their variables.
#[test]
fn exec_works_beside_an_adopted_workload_that_shows_no_variables() {
    let house = House::new();
    let script = "echo up; exec busybox env -i /bin/busybox sleep 1000";
    let (id, _) = start(&house, house.spec(1, script));
    let script = "echo $PATH; echo $HOME; cat /proc/1/environ | wc -c";
    let before = run_beside(&house, id, script);
    assert!(before.ends_with("/bin\n/root\n0\n"), "{before}");
    replace_shim(&house, id);
    assert_eq!(run_beside(&house, id, script), before);
}

#[test]
fn exec_works_beside_an_adopted_workload() {
    let house = House::new();
    let mut spec = house.spec(1, "echo up; exec sleep 1000");
    spec.user = Some("app".into());
    spec.working_dir = Some("/home/app".into());
    spec.env = vec![EnvVar {
        name: "SECRET".into(),
        value: "hunter2".into(),
    }];
    let (id, _) = start(&house, spec);
    let script = "id -u; id -G; pwd; echo $SECRET $HOME; cat /proc/self/uid_map; \
                  grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/self/status";
    let run = || run_beside(&house, id, script);
    let before = run();
    assert!(
        before.starts_with("1000\n1000 44\n/home/app\nhunter2 /home/app\n"),
        "{before}"
    );
    replace_shim(&house, id);
    assert_eq!(run(), before);
    let directory = house.path().join("workloads").join(id.to_string());
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.contains("hunter2"), "{:?}", entry.path());
    }
}

#[test]
fn a_workload_whose_shim_has_just_died_can_be_stopped_and_deleted() {
    let house = House::new();
    for step in 0..8u8 {
        let (id, _) = start(&house, house.spec(step, "echo up; exec sleep 1000"));
        send(house.shim(id).unwrap(), Signal::KILL);
        if step % 2 == 0 {
            let status = house.client.stop(id, Some(9), Some(0)).unwrap();
            let is_stopped = matches!(
                status.phase,
                Phase::Exited {
                    cause: EndCause::Stopped,
                    ..
                }
            );
            assert!(is_stopped, "{status:?}");
        }
        house.client.delete(id).unwrap();
        until("nothing is left", || house.leftovers().is_empty());
    }
}
