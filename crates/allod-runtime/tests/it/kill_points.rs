//! `kill -9` at every step between two changes on the host: what runs serves on, and after deletion nothing is left.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use allod_runtime::root::POINTS;
use allod_runtime::{Phase, WorkloadId};

use crate::house::{House, until};

/// How long anything may stay behind after a deletion.
const LEFT_FOR_MAX: Duration = Duration::from_secs(20);
/// The workload that has nothing to do with it, and must not notice.
const BYSTANDER: u8 = 200;

fn running(house: &House, id: WorkloadId) -> Option<i32> {
    match house.client.status(id).ok()?.phase {
        Phase::Running { pid, .. } => Some(pid),
        _ => None,
    }
}

/// Compares what is there with `before` until both are the same; says how long that took, or what was left.
fn audited(house: &House, before: &[String], limit: Duration) -> Result<Duration, Vec<String>> {
    let started = Instant::now();
    loop {
        let now = house.world().audit(house.path(), &house.name());
        if now == before {
            return Ok(started.elapsed());
        }
        if started.elapsed() > limit {
            let mut count: BTreeMap<&String, i32> = BTreeMap::new();
            now.iter()
                .for_each(|line| *count.entry(line).or_default() += 1);
            before
                .iter()
                .for_each(|line| *count.entry(line).or_default() -= 1);
            count.retain(|_, count| *count != 0);
            return Err(count
                .iter()
                .map(|(line, count)| format!("{count:+} {line}"))
                .collect());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Does what passes the point, as far as it comes; whether the workload was made and not meant to end.
fn provoke(house: &mut House, point: &str, id: WorkloadId, victim: &str) -> bool {
    let plan = |house: &House, text: String| {
        std::fs::write(house.fault_plan(), text).unwrap();
    };
    let spec = house.spec(id.lease[0], "exec sleep 1000");
    let words = format!("{point} {victim}");
    if point.starts_with("Create") {
        plan(house, words);
        return house.client.create(spec).is_ok();
    }
    if point.starts_with("Verdict") {
        plan(house, words);
        let script = "i=0; while true; do i=$((i+1)); dd if=/dev/zero of=/f$i bs=1M count=1; done";
        let mut spec = house.spec(id.lease[0], script);
        spec.storage_bytes_max = Some(8 << 20);
        house.client.create(spec).unwrap();
        return false;
    }
    house.client.create(spec).unwrap();
    if point.starts_with("Recover") {
        // Something to recover from: a deletion that was interrupted, with the root process.
        plan(house, "PurgeDetached both".to_owned());
        let _ = house.client.delete(id);
        until("the root process is dead", || house.has_no_root());
        plan(house, words);
        house.start_root();
        return false;
    }
    plan(house, words);
    if point.starts_with("Adopt") {
        let shim = house.shim(id).unwrap().to_string();
        let mut kill = house.world().command(&["-p", "-m"]);
        let kill = kill.args(["sh", "-c", &format!("kill -9 {shim}")]);
        assert!(kill.status().unwrap().success());
        return true;
    }
    if point.starts_with("End") {
        let _ = house.client.signal(id, 9);
    } else if point.starts_with("Stop") {
        let _ = house.client.stop(id, Some(9), None);
    } else {
        let _ = house.client.delete(id);
    }
    false
}

/// Kills `victim` at every point in turn.
fn kill_everywhere(victim: &str) {
    let mut house = House::in_a_world();
    let bystander = house.spec(BYSTANDER, "exec sleep 1000");
    let bystander_id = bystander.id;
    house.client.create(bystander).unwrap();
    let pid = running(&house, bystander_id).unwrap();
    let before = settled(&house);
    let mut longest = Duration::ZERO;
    let mut failures = Vec::new();
    for (number, point) in (1..).zip(POINTS) {
        let id = WorkloadId {
            lease: [number; 32],
            epoch: 1,
        };
        let runs = provoke(&mut house, point, id, victim);
        until(&format!("{point} is passed"), || {
            !house.fault_plan().exists()
        });
        if victim != "self" {
            until("the root process is dead", || house.has_no_root());
            house.start_root();
        }
        if runs {
            until("it has a shim", || house.shim(id).is_some());
            assert!(
                running(&house, id).is_some(),
                "{point}: it does not run any more"
            );
        }
        if running(&house, bystander_id) != Some(pid) {
            failures.push(format!("{point}: the bystander was hit"));
        }
        until("it can be deleted", || house.client.delete(id).is_ok());
        match audited(&house, &before, LEFT_FOR_MAX) {
            Ok(took) => longest = longest.max(took),
            Err(left) => failures.push(format!("{point}: {}", left.join("; "))),
        }
    }
    assert!(
        failures.is_empty(),
        "{victim} killed:\n{}",
        failures.join("\n")
    );
    println!(
        "{} points, {victim} killed, clean after {} ms at most",
        POINTS.len(),
        longest.as_millis()
    );
}

/// The audit when nothing is under way any more: twice the same.
pub(crate) fn settled(house: &House) -> Vec<String> {
    let audit = || house.world().audit(house.path(), &house.name());
    let mut last = audit();
    until("nothing moves any more", || {
        let now = audit();
        let is_same = now == last;
        last = now;
        is_same
    });
    last
}

#[test]
fn shims_and_workers_killed_at_every_point_leave_nothing_slow() {
    kill_everywhere("self");
}

#[test]
fn root_process_killed_at_every_point_leaves_nothing_slow() {
    kill_everywhere("root");
}

#[test]
fn both_killed_at_every_point_leave_nothing_slow() {
    kill_everywhere("both");
}

/// The first process of a workload that was not started yet holds the connection, too.
#[test]
fn whoever_asked_for_what_nobody_makes_any_more_hears_of_it_at_once() {
    let mut house = House::in_a_world();
    let spec = house.spec(1, "exec sleep 1000");
    std::fs::write(house.fault_plan(), "CreateContainerMade both").unwrap();
    let asked = Instant::now();
    assert!(house.client.create(spec).is_err());
    assert!(asked.elapsed() < LEFT_FOR_MAX, "{:?}", asked.elapsed());
    until("the root process is dead", || house.has_no_root());
}

/// Of each kind of leak: what it is called in the audit, where it is made, how, and how it is mended.
fn leaks(id: &str, group: &str) -> [(&'static str, &'static [&'static str], String, String); 8] {
    let mend = "kill $(cat /run/leak); rm /run/leak";
    [
        (
            "file",
            &["-m"],
            format!("mkdir {id}"),
            format!("rmdir {id}"),
        ),
        (
            "file",
            &["-m"],
            "touch /run/allod/leak".into(),
            "rm /run/allod/leak".into(),
        ),
        (
            "file",
            &["-m"],
            format!("mkdir {group}"),
            format!("rmdir {group}"),
        ),
        (
            "mount",
            &["-m"],
            "mount -t tmpfs leak /mnt".into(),
            "umount /mnt".into(),
        ),
        (
            "link",
            &["-n"],
            "ip link add leak type veth peer name leak2".into(),
            "ip link del leak".into(),
        ),
        (
            "nft",
            &["-n"],
            "nft add table inet leak".into(),
            "nft delete table inet leak".into(),
        ),
        (
            "process",
            &["-p", "-m"],
            "sleep 4321 >/dev/null 2>&1 & echo $! >/run/leak".into(),
            mend.into(),
        ),
        (
            "network namespaces",
            &["-p", "-m"],
            "unshare -n sleep 4322 >/dev/null 2>&1 & echo $! >/run/leak".into(),
            mend.into(),
        ),
    ]
}

/// The planted bug: each kind of leak, made by hand, is seen by the audit.
#[test]
fn the_audit_sees_every_kind_of_leak() {
    let house = House::in_a_world();
    house
        .client
        .create(house.spec(BYSTANDER, "exec sleep 1000"))
        .unwrap();
    let before = settled(&house);
    let world = house.world();
    let id = house.path().join("workloads/leak").display().to_string();
    let group = format!("/sys/fs/cgroup/pids/{}/leak", house.name());
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.procs").exists();
    let group = if unified {
        group.replace("/pids", "")
    } else {
        group
    };
    let leaks = leaks(&id, &group);
    for (kind, namespaces, leak, mend) in leaks {
        let run = |script: &str| {
            let mut command: Command = world.command(namespaces);
            assert!(
                command
                    .args(["sh", "-c", script])
                    .status()
                    .unwrap()
                    .success(),
                "{script}"
            );
        };
        run(&leak);
        let found = audited(&house, &before, Duration::ZERO).expect_err(&leak);
        assert!(
            found.iter().any(|line| line.contains(kind)),
            "{leak}: {found:?}"
        );
        run(&mend);
        audited(&house, &before, LEFT_FOR_MAX).unwrap();
    }
}
