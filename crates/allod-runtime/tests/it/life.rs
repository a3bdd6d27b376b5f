//! From the start of a workload to its end, and to nothing being left of it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use allod_runtime::logs::{self, Cursor, Stream};
use allod_runtime::{
    ClientError, EndCause, EnvVar, ExecEnd, ExecSpec, ExecStdio, FileMount, Phase, Refusal,
    StartFault, TmpfsMount, VolumeMount, WorkloadId,
};

use crate::house::{House, until};

pub(crate) fn exec_spec(id: WorkloadId, script: &str) -> ExecSpec {
    ExecSpec {
        id,
        args: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: Vec::new(),
        user: None,
        working_dir: None,
        terminal: None,
    }
}

fn read_all(fd: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // The master of a terminal whose other side is closed reads as an error.
    let _ = std::fs::File::from(fd).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a script inside, and answers with its code and what it wrote.
pub(crate) fn exec(house: &House, spec: ExecSpec) -> (i32, String) {
    let exec = house.client.exec(spec).unwrap();
    let ExecStdio::Pipes {
        stdin,
        stdout,
        stderr,
    } = exec.stdio
    else {
        panic!("pipes were asked for");
    };
    drop(stdin);
    let mut text = read_all(stdout);
    text.push_str(&read_all(stderr));
    (exec.end.wait().unwrap().code(), text)
}

/// The same on a terminal.
pub(crate) fn exec_in_terminal(house: &House, spec: ExecSpec) -> (i32, String) {
    let exec = house.client.exec(spec).unwrap();
    let ExecStdio::Terminal(master) = exec.stdio else {
        panic!("a terminal was asked for");
    };
    let text = read_all(master);
    (exec.end.wait().unwrap().code(), text)
}

#[test]
fn a_workload_runs_is_logged_ends_and_leaves_nothing() {
    let house = House::new();
    assert!(house.leftovers().is_empty());
    let spec = house.spec(1, "echo out; echo bad >&2; exit 7");
    let id = spec.id;
    let (cause, output) = house.run(spec);
    assert_eq!(cause, EndCause::Exited { code: 7 }, "{output}");
    let (lines, _) = logs::read(
        &logs::directory(house.path(), &id),
        Cursor::default(),
        1 << 20,
    )
    .unwrap();
    let mut seen: Vec<_> = lines
        .iter()
        .map(|line| (line.stream, line.text.as_slice()))
        .collect();
    seen.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    assert_eq!(
        seen,
        [(Stream::Stdout, &b"out"[..]), (Stream::Stderr, b"bad")]
    );
    house.client.delete(id).unwrap();
    assert_eq!(house.left_for_good(), []);
    let gone = house.client.status(id).unwrap_err();
    assert!(matches!(
        gone,
        ClientError::Refused(Refusal::NotFound { .. })
    ));
}

#[test]
fn what_cannot_start_has_a_name_and_leaves_nothing() {
    let house = House::new();
    let start = |number: u8, args: &[&str], user: Option<&str>| {
        let mut spec = house.spec(number, "");
        spec.command = Some(args.iter().map(|arg| (*arg).to_owned()).collect());
        spec.user = user.map(str::to_owned);
        match house.client.create(spec).unwrap_err() {
            ClientError::Refused(Refusal::NotStarted {
                cause: EndCause::StartFailed { fault },
            }) => fault,
            other => panic!("{other:?}"),
        }
    };
    let not_found = start(1, &["nothing-here"], None);
    assert_eq!(
        not_found,
        StartFault::CommandNotFound {
            command: "nothing-here".into()
        }
    );
    let denied = start(2, &["/bin/not-executable"], None);
    assert!(
        matches!(denied, StartFault::CommandNotExecutable { .. }),
        "{denied:?}"
    );
    let interpreter = start(3, &["/bin/bad-interpreter"], None);
    assert!(
        matches!(&interpreter, StartFault::CommandNotExecutable { why, .. } if why.contains("interpreter")),
        "{interpreter:?}"
    );
    assert_eq!(start(4, &[], None), StartFault::NoCommand);
    let user = start(5, &["true"], Some("nobody-here"));
    assert_eq!(
        user,
        StartFault::UnknownUser {
            user: "nobody-here".into()
        }
    );
    let mut spec = house.spec(6, "true");
    spec.image.layers = vec![allod_runtime::LayerId([0xee; 32])];
    let missing = house.client.create(spec).unwrap_err();
    assert!(
        matches!(
            &missing,
            ClientError::Refused(Refusal::NotStarted {
                cause: EndCause::ImageMissing { .. }
            })
        ),
        "{missing:?}"
    );
    assert_eq!(house.left_for_good(), []);
    assert_eq!(house.client.list().unwrap(), []);
}

#[test]
fn one_identity_is_one_workload() {
    let house = House::new();
    let spec = house.spec(1, "exec sleep 1000");
    house.client.create(spec.clone()).unwrap();
    let again = house.client.create(spec.clone()).unwrap_err();
    assert!(
        matches!(again, ClientError::Refused(Refusal::Exists { .. })),
        "{again:?}"
    );
    let status = house.client.status(spec.id).unwrap();
    assert!(matches!(status.phase, Phase::Running { .. }));
}

#[test]
fn environment_user_directory_and_files_are_as_specified() {
    let house = House::new();
    let script = "id -u; id -g; id -G; pwd; echo $FROM_IMAGE $SECRET $HOME; cat /run/secret; \
                  stat -c %a:%u /run/secret; hostname; cat /etc/resolv.conf; echo x > /run/secret";
    let mut spec = house.spec(1, script);
    spec.user = Some("app".into());
    spec.working_dir = Some("/home/app".into());
    spec.image.env = vec!["FROM_IMAGE=image".into(), "SECRET=image".into()];
    spec.env = vec![EnvVar {
        name: "SECRET".into(),
        value: "hunter2".into(),
    }];
    spec.files = vec![FileMount {
        target: "/run/secret".into(),
        contents: "contents\n".into(),
        mode: 0o400,
        owner: None,
    }];
    let id = spec.id;
    let (_, output) = house.run(spec);
    let lines: Vec<&str> = output.lines().collect();
    let expected = [
        "1000",
        "1000",
        "1000 44",
        "/home/app",
        "image hunter2 /home/app",
        "contents",
        "400:1000",
    ];
    assert_eq!(lines[..7], expected, "{output}");
    assert_eq!(lines[7], "box");
    assert!(lines[8].starts_with("nameserver 10."), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    // No secret reaches the disk.
    let record = house.path().join("workloads").join(id.to_string());
    for entry in std::fs::read_dir(record).unwrap().flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&text).contains("hunter2"),
            "{:?}",
            entry.path()
        );
    }
}

#[test]
fn volumes_outlive_workloads_and_stay_until_removed() {
    let house = House::new();
    let name: allod_runtime::VolumeName = "db".parse().unwrap();
    house.client.ensure_volume(name.clone()).unwrap();
    house.client.ensure_volume(name.clone()).unwrap();
    let mount = VolumeMount {
        name: name.clone(),
        target: "/home/app".into(),
        read_only: false,
        bytes_max: None,
    };
    let mut first = house.spec(
        1,
        "echo kept > /home/app/file; stat -c %u /home/app; cat /home/app/welcome",
    );
    // The image gives the directory to this user; a new volume follows it.
    first.user = Some("app".into());
    first.volumes = vec![mount.clone()];
    let first_id = first.id;
    let (cause, output) = house.run(first);
    assert_eq!(
        (cause, output.as_str()),
        (EndCause::Exited { code: 0 }, "1000\nfrom the image")
    );
    let busy = house.client.remove_volume(name.clone()).unwrap_err();
    assert!(
        matches!(busy, ClientError::Refused(Refusal::Busy { .. })),
        "{busy:?}"
    );
    house.client.delete(first_id).unwrap();

    let mut second = house.spec(2, "cat /v/file; echo no > /v/file");
    second.volumes = vec![VolumeMount {
        target: "/v".into(),
        read_only: true,
        bytes_max: None,
        ..mount
    }];
    second.tmpfs = vec![TmpfsMount {
        target: "/scratch".into(),
        bytes_max: 1 << 20,
        mode: 0o1777,
    }];
    let second_id = second.id;
    let (_, output) = house.run(second);
    assert!(output.starts_with("kept"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    house.client.delete(second_id).unwrap();
    assert_eq!(house.client.volumes().unwrap(), std::slice::from_ref(&name));
    house.client.remove_volume(name).unwrap();
    assert_eq!(house.client.volumes().unwrap(), []);
}

#[test]
fn exec_joins_everything_the_workload_is_in() {
    let house = House::new();
    let facts = "cat /proc/self/uid_map; grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):' \
                 /proc/self/status; hostname; cat /proc/self/cgroup; ls -l /proc/self/ns/user \
                 | sed 's/.*->//'; ls -l /proc/self/ns/net | sed 's/.*->//'; echo $SECRET; id -u";
    let mut spec = house.spec(1, &format!("{facts}; exec sleep 1000"));
    spec.env = vec![EnvVar {
        name: "SECRET".into(),
        value: "shared".into(),
    }];
    let id = spec.id;
    house.client.create(spec).unwrap();
    until("it has spoken", || {
        house.output(id).lines().last() == Some("0")
    });
    let (code, inside) = exec(&house, exec_spec(id, facts));
    assert_eq!(code, 0, "{inside}");
    assert_eq!(inside.trim_end(), house.output(id));
    assert!(inside.contains("NoNewPrivs:\t1"), "{inside}");
    assert!(inside.contains("Seccomp:\t2"), "{inside}");

    let (code, text) = exec(&house, exec_spec(id, "kill -9 $$"));
    assert_eq!((code, text.as_str()), (137, ""));
    let mut other = exec_spec(id, "id -u; id -G; pwd; echo $HOME > /dev/stdout");
    other.user = Some("app".into());
    other.working_dir = Some("/data".into());
    assert_eq!(
        exec(&house, other),
        (0, "1000\n1000 44\n/data\n/home/app\n".into())
    );

    let mut missing = exec_spec(id, "");
    missing.args = vec!["nothing-here".into()];
    let refused = house.client.exec(missing).unwrap_err();
    let cause = EndCause::StartFailed {
        fault: StartFault::CommandNotFound {
            command: "nothing-here".into(),
        },
    };
    assert!(
        matches!(&refused, ClientError::Refused(Refusal::NotStarted { cause: found }) if *found == cause),
        "{refused:?}"
    );
}

#[test]
fn exec_with_a_terminal_is_interactive_and_resizes() {
    let house = House::new();
    let spec = house.spec(1, "exec sleep 1000");
    let id = spec.id;
    house.client.create(spec).unwrap();
    let mut terminal = exec_spec(
        id,
        "tty; stty size; read line; stty size; echo got $line; exit 3",
    );
    terminal.terminal = Some((24, 80));
    let exec = house.client.exec(terminal).unwrap();
    exec.stdio.resize(50, 132).unwrap();
    let ExecStdio::Terminal(master) = exec.stdio else {
        panic!("a terminal was asked for");
    };
    let mut writer = std::fs::File::from(master.try_clone().unwrap());
    writer.write_all(b"typed\n").unwrap();
    let text = read_all(master);
    assert!(text.contains("/dev/pts/0"), "{text}");
    assert!(text.contains("50 132"), "{text}");
    assert!(text.contains("got typed"), "{text}");
    assert_eq!(exec.end.wait().unwrap(), ExecEnd::Exited { code: 3 });
}

#[test]
fn an_exec_ends_with_its_client() {
    let house = House::new();
    let spec = house.spec(1, "exec sleep 1000");
    let id = spec.id;
    house.client.create(spec).unwrap();
    let running = house.client.exec(exec_spec(id, "exec sleep 4321")).unwrap();
    let count = || exec(&house, exec_spec(id, "ps | grep -c '[s]leep 4321'")).1;
    assert_eq!(count(), "1\n");
    drop(running);
    until("the process is gone", || count() == "0\n");
}

#[test]
fn stopping_asks_first_and_kills_then() {
    let house = House::new();
    let polite = house.spec(
        1,
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
    );
    let deaf = house.spec(2, "trap '' TERM; echo up; while :; do sleep 0.05; done");
    let (polite_id, deaf_id) = (polite.id, deaf.id);
    house.client.create(polite).unwrap();
    house.client.create(deaf).unwrap();
    until("both are up", || {
        house.output(polite_id) == "up" && house.output(deaf_id) == "up"
    });
    let status = house.client.stop(polite_id, None, Some(30_000)).unwrap();
    assert!(matches!(
        status.phase,
        Phase::Exited {
            cause: EndCause::Stopped,
            ..
        }
    ));
    assert_eq!(house.output(polite_id), "up\nbye");
    let status = house.client.stop(deaf_id, None, Some(100)).unwrap();
    assert!(matches!(
        status.phase,
        Phase::Exited {
            cause: EndCause::Stopped,
            ..
        }
    ));
    // Stopping what has ended changes nothing.
    let again = house.client.stop(deaf_id, None, None).unwrap();
    assert_eq!(again, status);
    let refused = house.client.signal(deaf_id, 15).unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused(Refusal::Busy { .. })),
        "{refused:?}"
    );
}

#[test]
fn signals_that_are_ignored_outside_have_their_effects_inside() {
    // A shell can ask for no signal that was ignored when it began.
    let deaf = |signal| format!("trap 'echo heard' {signal}; kill -{signal} $$; exit 3");
    let house = House::new();
    let (end, output) = house.run(house.spec(1, &deaf("QUIT")));
    assert_eq!(
        (end, output.as_str()),
        (EndCause::Exited { code: 3 }, "heard")
    );
    let runs = house.spec(2, "exec sleep 1000");
    let id = runs.id;
    house.client.create(runs).unwrap();
    let (code, output) = exec(&house, exec_spec(id, &deaf("INT")));
    assert_eq!((code, output.as_str()), (3, "heard\n"));
}

#[test]
fn watchers_hear_of_ends_and_a_foreign_signal_is_told_apart() {
    let house = House::new();
    let spec = house.spec(1, "exec sleep 1000");
    let id = spec.id;
    let watch = house.client.watch().unwrap();
    house.client.create(spec).unwrap();
    house.client.signal(id, 9).unwrap();
    assert_eq!(watch.wait().unwrap(), id);
    let status = house.client.status(id).unwrap();
    let cause = EndCause::Signaled { signal: 9 };
    assert!(
        matches!(&status.phase, Phase::Exited { cause: found, .. } if *found == cause),
        "{status:?}"
    );
}

#[test]
fn when_everything_is_stopped_nothing_is_made_anew_by_those_who_ask_meanwhile() {
    for round in 1..=5 {
        let mut house = House::new();
        house
            .client
            .create(house.spec(round, "exec sleep 1000"))
            .unwrap();
        std::thread::scope(|scope| {
            for maker in 0..3 {
                let house = &house;
                scope.spawn(move || {
                    for number in 0..50 {
                        let spec = house.spec(10 + maker * 60 + number, "exec sleep 1000");
                        if house.client.create(spec).is_err() {
                            return;
                        }
                    }
                });
            }
            // Another moment of their work each time.
            std::thread::sleep(Duration::from_millis(u64::from(round) * 30));
            house.client.shutdown(true).unwrap();
        });
        until("the root process has ended", || house.has_no_root());
        let left = format!("/run/allod/network-{}", house.installation());
        assert!(!Path::new(&left).exists(), "{left}, round {round}");
        assert_eq!(processes_of(house.path()), [0; 0], "round {round}");
    }
}

/// The processes that name this directory: the root process, its children and the shims.
fn processes_of(directory: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(directory.to_str().unwrap())
    };
    pids.filter(named).collect()
}
