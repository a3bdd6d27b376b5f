//! A workload that may run for a time only stands still when it is over, whoever of those around it has died.

use std::path::{Path, PathBuf};

use allod_runtime::{
    ClientError, EndCause, Phase, VolumeMount, VolumeName, WorkloadId, WorkloadSpec, boot_ms,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, until};

/// How late the last word of a workload may be: what it takes to freeze it, on a machine with much to do.
const LATE_MS: u64 = 2_000;

/// A workload that says the time since the boot, again and again.
fn ticking(house: &House, ms: u64) -> WorkloadSpec {
    let script = "trap 'echo asked; exit 3' TERM
        while :; do read up rest </proc/uptime; echo $up; sleep 0.02; done";
    let mut spec = house.spec(1, script);
    spec.until_boot_ms = Some(boot_ms() + ms);
    spec
}

/// When it has said something, in milliseconds since the boot.
fn ticks(house: &House, id: WorkloadId) -> Vec<u64> {
    let output = house.output(id);
    let parts = output.lines().filter_map(|line| line.split_once('.'));
    let ticks = parts.map(|(seconds, rest)| {
        let number = |text: &str| text.parse::<u64>().unwrap();
        number(seconds) * 1_000 + number(rest) * 10
    });
    ticks.collect()
}

/// Waits until it has said nothing for a while; its last word.
#[track_caller]
fn stands_still(house: &House, id: WorkloadId) -> u64 {
    until("it stands still", || {
        let before = ticks(house, id);
        std::thread::sleep(std::time::Duration::from_millis(400));
        !before.is_empty() && before == ticks(house, id)
    });
    *ticks(house, id).last().unwrap()
}

#[track_caller]
fn is_in_time(last_ms: u64, until_ms: u64) {
    assert!(
        last_ms + 1_000 > until_ms,
        "it stood still early: {last_ms} {until_ms}"
    );
    assert!(
        last_ms < until_ms + LATE_MS,
        "{last_ms} is too late for {until_ms}"
    );
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn it_stands_still_when_its_time_is_over_and_goes_on_when_that_is_renewed() {
    let house = House::new();
    let spec = ticking(&house, 5_000);
    let (id, first) = (spec.id, spec.until_boot_ms.unwrap());
    let made = house.client.create(spec).unwrap();
    assert_eq!(made.until_boot_ms, Some(first));
    is_in_time(stands_still(&house, id), first);
    let thawed = house.client.thaw(id);
    assert!(
        matches!(thawed, Err(ClientError::Refused(_))),
        "by nobody else"
    );
    // An earlier time changes nothing, nor does that of a stranger.
    let other = WorkloadId { epoch: 9, ..id };
    house
        .client
        .renew(vec![(id, first - 1), (other, first)])
        .unwrap();
    let before = ticks(&house, id);
    let second = boot_ms() + 3_000;
    house.client.renew(vec![(id, second)]).unwrap();
    let told = house.client.status(id).unwrap();
    assert_eq!(told.until_boot_ms, Some(second));
    until("it goes on", || ticks(&house, id).len() > before.len() + 5);
    is_in_time(stands_still(&house, id), second);
    let forever = house.client.renew(vec![(id, boot_ms() + 60_000)]);
    assert!(forever.is_err(), "nobody may run on for a minute unheard");
}

#[test]
fn one_that_is_renewed_in_time_never_stands_still() {
    let house = House::new();
    let spec = ticking(&house, 5_000);
    let id = spec.id;
    house.client.create(spec).unwrap();
    let end_ms = boot_ms() + 7_000;
    until("seven seconds are over", || {
        let until_ms = boot_ms() + 3_000;
        house.client.renew(vec![(id, until_ms)]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(250));
        boot_ms() > end_ms
    });
    let ticks = ticks(&house, id);
    assert!(ticks.last().unwrap() + LATE_MS > end_ms);
    let longest = ticks.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(longest < LATE_MS, "{longest}");
}

#[test]
fn one_that_stands_still_is_killed_and_hears_nothing_more() {
    let house = House::new();
    let spec = ticking(&house, 5_000);
    let (id, until_ms) = (spec.id, spec.until_boot_ms);
    // It would hear at once.
    let mut spec = house.spec(
        1,
        "trap 'echo asked; exit 3' TERM; echo up; while :; do :; done",
    );
    spec.until_boot_ms = until_ms;
    house.client.create(spec).unwrap();
    until("its time is over", || {
        boot_ms() > until_ms.unwrap() + LATE_MS
    });
    let status = house.client.stop(id, None, None).unwrap();
    let is_stopped = matches!(
        status.phase,
        Phase::Exited {
            cause: EndCause::Stopped,
            ..
        }
    );
    assert!(is_stopped, "{status:?}");
    assert_eq!(house.output(id), "up", "it was thawed");
}

#[test]
fn without_a_root_process_it_stands_still_all_the_same() {
    let mut house = House::new();
    let spec = ticking(&house, 5_000);
    let (id, until_ms) = (spec.id, spec.until_boot_ms.unwrap());
    house.client.create(spec).unwrap();
    until("it ticks", || ticks(&house, id).len() > 5);
    house.kill_root();
    is_in_time(stands_still(&house, id), until_ms);
    // The next root process finds it as it is, and it goes on when it may.
    house.start_root();
    assert_eq!(ticks(&house, id).last(), Some(&stands_still(&house, id)));
    let count = ticks(&house, id).len();
    house.client.renew(vec![(id, boot_ms() + 3_000)]).unwrap();
    until("it goes on", || ticks(&house, id).len() > count);
}

#[test]
fn it_dies_with_the_process_beside_it_be_the_root_process_dead_as_well() {
    let mut house = House::new();
    for has_root in [true, false] {
        let mut spec = ticking(&house, 9_000);
        spec.id.epoch = 1 + u64::from(has_root);
        let id = spec.id;
        house.client.create(spec).unwrap();
        until("it ticks", || ticks(&house, id).len() > 5);
        let shim = house.shim(id).unwrap();
        if !has_root {
            house.kill_root();
        }
        kill(shim);
        let killed_ms = boot_ms();
        let last = stands_still(&house, id);
        assert!(last < killed_ms + LATE_MS, "{last} {killed_ms}");
        if !has_root {
            house.start_root();
        }
        // Nobody was there to be told how it ended.
        let expected = [EndCause::Lost, EndCause::Signaled { signal: 9 }];
        let end = house.end(id);
        assert!(expected.contains(&end), "{end:?}");
        house.client.delete(id).unwrap();
    }
}

/// A workload whose first process becomes somebody else, who writes the time since the boot to a file again and again,
/// whoever reads the logs; and that file.
fn as_somebody_else(house: &House, epoch: u64) -> (WorkloadSpec, PathBuf) {
    let name: VolumeName = format!("beats-{epoch}").parse().unwrap();
    house.client.ensure_volume(name.clone()).unwrap();
    let beats = "id -u >/v/user; while read up rest </proc/uptime; do echo $up >>/v/beats; sleep 0.02; done";
    let script = format!("chmod 777 /v; exec busybox su app -c '{beats}'");
    let mut spec = house.spec(1, &script);
    spec.id.epoch = epoch;
    spec.until_boot_ms = Some(boot_ms() + 5_000);
    let directory = house.path().join("volumes").join(name.as_str());
    spec.volumes = vec![VolumeMount {
        name,
        target: "/v".into(),
        read_only: false,
        bytes_max: None,
    }];
    (spec, directory)
}

/// When it has written last, in milliseconds since the boot.
fn last_beat(directory: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(directory.join("beats")).ok()?;
    let whole = text.rsplit_once('\n')?.0.lines().last()?;
    let seconds: f64 = whole.parse().ok()?;
    Some((seconds * 1_000.0) as u64)
}

#[test]
fn one_that_has_changed_its_user_dies_with_the_process_beside_it_all_the_same() {
    let mut house = House::new();
    for has_root in [true, false] {
        let (spec, directory) = as_somebody_else(&house, 1 + u64::from(has_root));
        let (id, until_ms) = (spec.id, spec.until_boot_ms.unwrap());
        house.client.create(spec).unwrap();
        until("it writes", || last_beat(&directory).is_some());
        let user = std::fs::read_to_string(directory.join("user")).unwrap();
        assert_eq!(user, "1000\n");
        let shim = house.shim(id).unwrap();
        if !has_root {
            house.kill_root();
        }
        kill(shim);
        let killed_ms = boot_ms();
        until("its time would be over", || boot_ms() > until_ms + LATE_MS);
        let last = last_beat(&directory).unwrap();
        assert!(last < killed_ms + LATE_MS, "{last} {killed_ms}");
        if !has_root {
            house.start_root();
        }
        let expected = [EndCause::Lost, EndCause::Signaled { signal: 9 }];
        let end = house.end(id);
        assert!(expected.contains(&end), "{end:?}");
        house.client.delete(id).unwrap();
    }
}

#[test]
fn what_may_not_run_is_not_even_started() {
    let house = House::new();
    let mut spec = ticking(&house, 0);
    spec.until_boot_ms = Some(boot_ms() - 1);
    let id = spec.id;
    assert!(house.client.create(spec).is_err());
    assert!(house.client.status(id).is_err(), "nothing of it is left");
}
