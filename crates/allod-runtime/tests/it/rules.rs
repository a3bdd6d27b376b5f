//! What a workload may not do, and what survives whose death.

use std::process::Command;

use allod_runtime::root::Ended;
use allod_runtime::{EndCause, HostObjectKind, LogLimits, Phase, Resources};

use crate::house::{House, until};

#[test]
fn a_workload_is_confined() {
    let house = House::new();
    let script = "exec 2>&1
        cat /proc/self/uid_map; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status
        mount -t tmpfs none /tmp 2>&1 && echo MOUNTED
        unshare -U true 2>&1 && echo UNSHARED
        mknod /tmp/disk b 8 0 2>&1 && echo MADE
        echo 1 > /proc/sys/kernel/panic && echo WROTE
        echo b > /proc/sysrq-trigger && echo REBOOTED
        cat /proc/kcore 2>/dev/null | head -c 1 | wc -c
        ls /sys/firmware | wc -l
        ps | grep -c '[a]llod-shim'
        true";
    let spec = house.spec(1, script);
    let (cause, output) = house.run(spec);
    assert_eq!(cause, EndCause::Exited { code: 0 }, "{output}");
    for forbidden in ["MOUNTED", "UNSHARED", "MADE", "WROTE", "REBOOTED"] {
        assert!(!output.contains(forbidden), "{output}");
    }
    let map: Vec<u32> = output
        .lines()
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(
        map[0] == 0 && map[1] >= 0x2000_0000 && map[2] == 65_536,
        "{map:?}"
    );
    assert!(
        output.contains("NoNewPrivs:\t1") && output.contains("Seccomp:\t2"),
        "{output}"
    );
    // Eleven capabilities: no raw sockets, no device nodes, no administration.
    assert!(output.contains("CapEff:\t00000000800405fb"), "{output}");
    assert!(output.ends_with("0\n0\n0"), "{output}");
}

#[test]
fn capabilities_can_be_added_and_the_root_made_read_only() {
    let house = House::new();
    let mut spec = house.spec(1, "grep CapEff /proc/self/status; echo x > /file");
    spec.cap_add = vec!["NET_RAW".into()];
    spec.read_only_root = true;
    let (cause, output) = house.run(spec);
    assert_eq!(cause, EndCause::Exited { code: 1 });
    assert!(output.contains("CapEff:\t00000000800425fb"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
}

#[test]
fn memory_is_limited_and_its_end_has_a_name() {
    let house = House::new();
    let mut spec = house.spec(1, "exec tail /dev/zero");
    spec.resources = Resources {
        memory_bytes: 16 << 20,
        ..spec.resources
    };
    let (cause, output) = house.run(spec);
    assert_eq!(cause, EndCause::OutOfMemory, "{output}");
}

#[test]
fn processes_are_limited() {
    let house = House::new();
    let script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done 2>&1; echo end";
    let mut spec = house.spec(1, script);
    spec.resources = Resources {
        pids: 8,
        ..spec.resources
    };
    let id = spec.id;
    house.client.create(spec).unwrap();
    until("the limit is hit", || {
        house.output(id).contains("can't fork")
    });
    let usage = house.client.usage_with_storage(&[id]).unwrap();
    assert_eq!(usage.len(), 1);
    let usage = usage[0].1;
    assert!(
        usage.pids <= 8 && usage.cpu_ns > 0 && usage.memory_bytes > 0,
        "{usage:?}"
    );
    assert!(usage.memory_peak_bytes >= usage.memory_bytes, "{usage:?}");
    assert!(usage.storage.unwrap().upper_bytes > 0, "{usage:?}");
}

#[test]
fn a_frozen_workload_stands_still_and_limits_change_while_it_runs() {
    let house = House::new();
    let spec = house.spec(1, "while :; do echo tick; sleep 0.01; done");
    let (id, resources) = (spec.id, spec.resources);
    house.client.create(spec).unwrap();
    until("it ticks", || house.output(id).contains("tick"));
    house.client.freeze(id).unwrap();
    // The shim may still hold what was written before.
    let mut last = String::new();
    until("its output stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(400));
        std::mem::replace(&mut last, house.output(id)) == house.output(id)
    });
    let cpu = house.client.usage(&[id]).unwrap()[0].1.cpu_ns;
    assert_eq!(house.client.usage(&[id]).unwrap()[0].1.cpu_ns, cpu);
    house.client.thaw(id).unwrap();
    until("it goes on", || house.output(id) != last);
    let less = Resources {
        memory_bytes: 8 << 20,
        pids: 3,
        ..resources
    };
    house.client.resize(id, less).unwrap();
    house.client.freeze(id).unwrap();
    // A frozen workload can be stopped as any other.
    let status = house.client.stop(id, Some(9), None).unwrap();
    let is_stopped = matches!(
        status.phase,
        Phase::Exited {
            cause: EndCause::Stopped,
            ..
        }
    );
    assert!(is_stopped, "{status:?}");
}

#[test]
fn logs_stay_within_their_limits() {
    let house = House::new();
    let mut spec = house.spec(1, "seq 1 20000; echo end");
    spec.logs = LogLimits {
        file_bytes_max: 16 * 1024,
        files: 3,
    };
    let id = spec.id;
    let (_, output) = house.run(spec);
    assert!(
        output.ends_with("20000\nend"),
        "{}",
        &output[output.len() - 100..]
    );
    let directory = allod_runtime::logs::directory(house.path(), &id);
    let sizes: Vec<u64> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert!(
        sizes.len() <= 3 && sizes.iter().all(|size| *size <= 16 * 1024),
        "{sizes:?}"
    );
}

#[test]
fn workloads_outlive_the_root_process_and_the_next_one_adopts_them() {
    let mut house = House::new();
    let spec = house.spec(
        1,
        "while [ ! -e /tmp/end ]; do sleep 0.05; done; echo seen; exit 5",
    );
    let id = spec.id;
    let before = house.client.create(spec).unwrap();
    house.kill_root();
    house.start_root();
    assert_eq!(house.client.status(id).unwrap(), before);
    let watch = house.client.watch().unwrap();
    let exec = allod_runtime::ExecSpec {
        id,
        args: vec!["touch".into(), "/tmp/end".into()],
        env: Vec::new(),
        user: None,
        working_dir: None,
        terminal: None,
    };
    // What it asks for may end the workload before it has ended itself, and so end it, too.
    let code = house.client.exec(exec).unwrap().end.wait().unwrap().code();
    assert!([0, 128 + libc::SIGKILL].contains(&code), "{code}");
    assert_eq!(watch.wait().unwrap(), id);
    assert_eq!(house.end(id), EndCause::Exited { code: 5 });
    assert_eq!(house.output(id), "seen");
    house.client.delete(id).unwrap();
    assert_eq!(house.left_for_good(), []);
}

#[test]
fn reaping_removes_what_is_not_to_be_kept() {
    let house = House::new();
    let (kept, removed) = (
        house.spec(1, "exec sleep 1000"),
        house.spec(2, "exec sleep 1000"),
    );
    let (kept_id, removed_id) = (kept.id, removed.id);
    house.client.create(kept).unwrap();
    house.client.create(removed).unwrap();
    assert_eq!(house.client.reap(&[kept_id]).unwrap(), [removed_id]);
    let left = house.leftovers();
    assert!(!left.is_empty());
    assert!(
        left.iter().all(|object| object.workload == Some(kept_id)),
        "{left:?}"
    );
}

#[test]
fn two_installations_live_side_by_side() {
    let (one, two) = (House::new(), House::new());
    let (first, second) = (
        one.spec(1, "exec sleep 1000"),
        two.spec(1, "exec sleep 1000"),
    );
    let id = first.id;
    one.client.create(first).unwrap();
    two.client.create(second).unwrap();
    one.client.reap(&[]).unwrap();
    assert_eq!(one.left_for_good(), []);
    let status = two.client.status(id).unwrap();
    assert!(matches!(status.phase, Phase::Running { .. }), "{status:?}");
}

#[test]
fn shutdown_stops_all_or_leaves_all() {
    let mut house = House::new();
    let spec = house.spec(1, "trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let id = spec.id;
    house.client.create(spec).unwrap();
    house.client.shutdown(false).unwrap();
    assert_eq!(house.root_exit_code(), exit_code(Ended::Request));
    house.start_root();
    assert!(matches!(
        house.client.status(id).unwrap().phase,
        Phase::Running { .. }
    ));
    house.client.shutdown(true).unwrap();
    assert_eq!(house.root_exit_code(), exit_code(Ended::RequestAndStopped));
    let groups = Command::new("find")
        .args(["/sys/fs/cgroup", "-name", &house.name()])
        .output()
        .unwrap();
    assert!(groups.stdout.is_empty(), "{groups:?}");
    house.start_root();
    assert_eq!(house.end(id), EndCause::Stopped);
    // What it wrote is still there, and nothing else.
    let on_disk = [HostObjectKind::Directory, HostObjectKind::UserRange];
    let objects = house.client.audit().unwrap();
    assert!(
        objects.iter().all(|object| on_disk.contains(&object.kind)),
        "{objects:?}"
    );
}

fn exit_code(ended: Ended) -> i32 {
    match ended {
        Ended::Signal { .. } => 10,
        Ended::Request => 11,
        Ended::RequestAndStopped => 12,
        Ended::GaveUp => 13,
    }
}
