//! What a workload writes has a limit, and a greedy one does not fill the disk: on a small disk of its own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use allod_runtime::{
    EndCause, Phase, StoragePlace, VolumeMount, VolumeName, WorkloadId, WorkloadSpec,
};

use crate::house::{House, until};

pub(crate) const MIB: u64 = 1 << 20;
/// What each workload here may write.
const LIMIT: u64 = 32 * MIB;
/// What the ledger of this machine needs to go on: nobody may come near it.
const LEDGER_NEEDS: u64 = 64 * MIB;

/// A file system in a file, gone when dropped.
pub(crate) struct Disk {
    mounted: tempfile::TempDir,
    _image: tempfile::NamedTempFile,
}

impl Disk {
    pub(crate) fn new(bytes: u64) -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(bytes).unwrap();
        let mounted = tempfile::tempdir().unwrap();
        run("mkfs.ext4", &["-q", "-m", "0", "-N", "40000"], image.path());
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop"])
            .arg(image.path())
            .arg(mounted.path());
        assert!(mount.status().unwrap().success());
        Self {
            mounted,
            _image: image,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Takes every byte, as another program would; gives the file that has them.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut filler = File::create(&path).unwrap();
        let mut piece = &[1u8; 1 << 20][..];
        while !piece.is_empty() {
            match filler.write(piece) {
                Ok(count) => assert!(count > 0),
                // The last of it goes by the byte.
                Err(_) => piece = &piece[..piece.len() / 2],
            }
        }
        path
    }

    /// Does something, and says how little was free meanwhile.
    fn least_free<T>(&self, act: impl FnOnce() -> T) -> (T, u64) {
        let (is_over, least) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    least.fetch_min(self.free(), Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            is_over.store(true, Ordering::Relaxed);
            result
        });
        match result {
            Ok(result) => (result, least.into_inner()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn run(program: &str, args: &[&str], path: &Path) {
    let status = Command::new(program).args(args).arg(path).status();
    assert!(status.unwrap().success(), "{program}");
}

fn volume(house: &House, target: &str) -> VolumeMount {
    let name: VolumeName = "data".parse().unwrap();
    house.client.ensure_volume(name.clone()).unwrap();
    VolumeMount {
        name,
        target: target.into(),
        read_only: false,
        bytes_max: Some(LIMIT),
    }
}

fn bounded(house: &House, number: u8, script: &str) -> WorkloadSpec {
    let mut spec = house.spec(number, script);
    spec.storage_bytes_max = Some(LIMIT);
    spec
}

fn running(house: &House, id: WorkloadId) -> bool {
    matches!(
        house.client.status(id).unwrap().phase,
        Phase::Running { .. }
    )
}

#[track_caller]
fn assert_exceeded(cause: &EndCause, expected: &StoragePlace) {
    let EndCause::StorageExceeded {
        place,
        used_bytes,
        limit_bytes,
    } = cause
    else {
        panic!("{cause}");
    };
    assert_eq!(place, expected);
    assert!(used_bytes > limit_bytes, "{cause}");
    assert!(cause.to_string().contains("x-allod"), "{cause}");
}

/// Every way to write without end that is known to us, each on the same small disk.
#[test]
fn a_greedy_writer_is_ended_and_the_disk_is_not_full() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let innocent = bounded(&house, 100, "while true; do echo x >/file; sleep 0.1; done");
    let innocent_id = innocent.id;
    house.client.create(innocent).unwrap();

    let fill = "dd if=/dev/zero of=/data/big bs=1M";
    for (number, script, place) in [
        (1, "dd if=/dev/zero of=/big bs=1M", StoragePlace::Scratch),
        (
            2,
            fill,
            StoragePlace::Volume {
                target: "/data".into(),
            },
        ),
        (
            3,
            "exec 3>/gone; rm /gone; dd if=/dev/zero bs=1M >&3",
            StoragePlace::Deleted,
        ),
        (
            4,
            "i=0; while true; do i=$((i+1)); dd if=/dev/zero of=/f$i bs=64k count=1; done",
            StoragePlace::Scratch,
        ),
    ] {
        // One that is killed while it waits for its child is told from one that goes on.
        let script = format!("{script}; sleep 1000");
        let mut spec = bounded(&house, number, &script);
        spec.volumes = vec![volume(&house, "/data")];
        let id = spec.id;
        house.client.create(spec).unwrap();
        let (cause, least) = disk.least_free(|| house.end(id));
        assert_exceeded(&cause, &place);
        assert!(least > LEDGER_NEEDS, "{number}: {} MiB left", least / MIB);
        println!("{number}: {cause}; {} MiB left at least", least / MIB);
        // What it wrote stays until it is deleted; a volume's contents stay after that.
        let big = house.path().join("volumes/data/big");
        assert_eq!(big.exists(), number >= 2);
        house.client.delete(id).unwrap();
        assert_eq!(big.exists(), number >= 2);
        if number == 2 {
            std::fs::remove_file(big).unwrap();
            std::fs::write(house.path().join("volumes/data/big"), "small").unwrap();
        }
    }
    assert!(running(&house, innocent_id));
}

/// Where a lot is free, nobody has to be quick for the sake of the disk; who passes a limit is ended soon all the same.
#[test]
fn on_a_large_disk_a_limit_is_passed_by_little() {
    let disk = Disk::new(64 << 30);
    let house = House::on(disk.path());
    for (number, wait) in [(1, "0"), (2, "2.5")] {
        let script = format!("sleep {wait}; dd if=/dev/zero of=/big bs=1M; sleep 1000");
        let mut spec = bounded(&house, number, &script);
        // So that it writes as fast on a busy machine as on any other, or the guard is late for nothing.
        spec.resources.cpu_milli = 250;
        let id = spec.id;
        let before = disk.free();
        house.client.create(spec).unwrap();
        assert_exceeded(&house.end(id), &StoragePlace::Scratch);
        let wrote = before - disk.free();
        println!("{wait} s: {} MiB of {} MiB", wrote / MIB, LIMIT / MIB);
        assert!(wrote < 5 * LIMIT, "{} MiB were written", wrote / MIB);
        house.client.delete(id).unwrap();
    }
}

/// Files that have neither a name nor a descriptor.
fn held(house: &House, number: u8, how: &str) -> WorkloadSpec {
    house.lay(0xcc, crate::escape::image::lay_probe);
    let script = format!("mkdir /held; /probe hold {how} /held; sleep 1000");
    let mut spec = bounded(house, number, &script);
    spec.image.layers.push(House::layer(0xcc));
    spec
}

#[test]
fn a_file_that_is_mapped_and_nothing_else_counts() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let spec = held(&house, 1, "mapped");
    let id = spec.id;
    house.client.create(spec).unwrap();
    assert_exceeded(&house.end(id), &StoragePlace::Deleted);
}

/// Nothing tells of a descriptor that is on its way through a socket; who wrote it is known.
#[test]
fn a_file_that_is_held_by_a_message_does_not_fill_the_disk() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let innocent = house.spec(1, "while true; do echo x >>/file; sleep 0.1; done");
    let innocent_id = innocent.id;
    house.client.create(innocent).unwrap();
    let spec = held(&house, 2, "in-flight");
    let id = spec.id;
    house.client.create(spec).unwrap();
    let (cause, least) = disk.least_free(|| house.end(id));
    assert!(matches!(cause, EndCause::DiskFull { .. }), "{cause}");
    assert!(least > LEDGER_NEEDS, "{} MiB left", least / MIB);
    assert!(running(&house, innocent_id));
}

#[test]
fn many_files_are_too_many_whatever_their_size() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let script = "i=0; while true; do i=$((i+1)); : >/f$i; done";
    let spec = bounded(&house, 1, script);
    let id = spec.id;
    house.client.create(spec).unwrap();
    let cause = house.end(id);
    let EndCause::FilesExceeded {
        place: StoragePlace::Scratch,
        used_files,
        limit_files,
    } = cause
    else {
        panic!("{cause}");
    };
    assert!(used_files > limit_files && limit_files < 40_000);
}

#[test]
fn what_is_long_and_empty_or_linked_twice_or_in_memory_is_not_much() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let script = "dd of=/sparse seek=1048576 bs=1M count=0; dd if=/dev/zero of=/once bs=1M count=20; \
                  ln /once /twice; exec 3>/dev/shm/gone; rm /dev/shm/gone; \
                  dd if=/dev/zero bs=1M count=20 >&3; echo done; exec sleep 1000";
    let spec = bounded(&house, 1, script);
    let id = spec.id;
    house.client.create(spec).unwrap();
    until("it has written", || house.output(id).contains("done"));
    // Another one is over its limit meanwhile: then this one was measured, too.
    let other = bounded(&house, 2, "dd if=/dev/zero of=/big bs=1M; sleep 1000");
    let other_id = other.id;
    house.client.create(other).unwrap();
    assert_exceeded(&house.end(other_id), &StoragePlace::Scratch);
    assert!(running(&house, id), "{:?}", house.client.status(id));
}

/// Nobody here has a limit: then whoever fills the disk is ended before the machine itself lacks room.
#[test]
fn who_fills_the_disk_is_ended_before_the_machine_lacks_room() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let innocent = house.spec(1, "while true; do echo x >/file; sleep 0.1; done");
    let innocent_id = innocent.id;
    house.client.create(innocent).unwrap();
    let greedy = house.spec(2, "dd if=/dev/zero of=/big bs=1M; sleep 1000");
    let id = greedy.id;
    house.client.create(greedy).unwrap();
    let (cause, least) = disk.least_free(|| house.end(id));
    assert!(matches!(cause, EndCause::DiskFull { .. }), "{cause}");
    assert!(least > LEDGER_NEEDS, "{} MiB left", least / MIB);
    assert!(running(&house, innocent_id));
}

#[test]
fn a_guard_that_dies_is_replaced() {
    let disk = Disk::new(512 * MIB);
    let house = House::on(disk.path());
    let root = house.client.identify().unwrap().pid;
    let guard = || {
        let children = format!("/proc/{root}/task/{root}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let pids = children.split_ascii_whitespace().map(str::to_owned);
        pids.filter(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "allod-guard")
        })
        .collect::<Vec<String>>()
    };
    until("there is a guard", || guard().len() == 1);
    let first = guard();
    // The nineteenth after its number; its name has no blank.
    let precedes = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.split(' ').nth(18) == Some("-10")
    };
    until("it goes before others", || precedes(&first[0]));
    let killed = Command::new("kill").args(["-9", &first[0]]).status();
    assert!(killed.unwrap().success());
    until("there is another", || {
        guard().len() == 1 && guard() != first
    });
    let spec = bounded(&house, 1, "dd if=/dev/zero of=/big bs=1M; sleep 1000");
    let id = spec.id;
    house.client.create(spec).unwrap();
    assert_exceeded(&house.end(id), &StoragePlace::Scratch);
}
