//! The end of a workload is told as it was, though the disk was full when it came.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use allod_runtime::{EndCause, Phase, WorkloadId};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use crate::adoption::keeps_ends;
use crate::house::{House, until};
use crate::storage::{Disk, MIB};

/// Sees each try to write down how a workload is doing.
struct Tries {
    directory: PathBuf,
    seen: OwnedFd,
}

impl Tries {
    fn of(house: &House, id: WorkloadId) -> Self {
        let directory = house.path().join("workloads").join(id.to_string());
        let seen = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&seen, &directory, WatchFlags::CREATE).unwrap();
        Self { directory, seen }
    }

    fn wait_for(&self, wanted: usize) {
        let mut count = 0;
        until("its end was tried to be written down", || {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(&self.seen, &mut buffer);
            while let Ok(event) = reader.next() {
                let name = event.file_name().map(|name| name.to_string_lossy());
                count += usize::from(name.is_some_and(|name| name.starts_with("status.json.")));
            }
            count >= wanted
        });
    }

    /// What tries in vain have left.
    fn left(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.directory).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".json.")).collect()
    }
}

/// A workload that ends with a code of its own when it is told to.
fn start(house: &House) -> WorkloadId {
    let script = "trap 'exit 7' TERM; echo up; while true; do sleep 0.02; done";
    let spec = house.spec(1, script);
    let id = spec.id;
    house.client.create(spec).unwrap();
    until("it is up", || house.output(id) == "up");
    id
}

/// Has it end while the disk is full, and makes room after so many tries to write that down.
fn ends_on_a_full_disk(disk: &Disk, house: &House, id: WorkloadId, expected: &EndCause) {
    let tries = Tries::of(house, id);
    let filler = disk.fill();
    house.client.signal(id, libc::SIGTERM).unwrap();
    // One more than there were without anybody to try again.
    tries.wait_for(3);
    let phase = house.client.status(id).unwrap().phase;
    assert!(matches!(phase, Phase::Running { .. }), "{phase:?}");
    std::fs::remove_file(filler).unwrap();
    assert_eq!(house.end(id), *expected);
    assert_eq!(tries.left(), [""; 0]);
    house.client.delete(id).unwrap();
    assert_eq!(house.left_for_good(), []);
}

#[test]
fn an_end_that_could_not_be_written_down_is_told_once_there_is_room() {
    let disk = Disk::new(64 * MIB);
    let house = House::on(disk.path());
    let id = start(&house);
    ends_on_a_full_disk(&disk, &house, id, &EndCause::Exited { code: 7 });
}

/// Its shim is no child of the root process then, and nobody but the shim will ever know.
#[test]
fn an_end_that_only_the_shim_knows_is_not_lost_on_a_full_disk() {
    let disk = Disk::new(64 * MIB);
    let mut house = House::on(disk.path());
    let id = start(&house);
    house.kill_root();
    house.start_root();
    ends_on_a_full_disk(&disk, &house, id, &EndCause::Exited { code: 7 });
}

/// Neither is the workload then, whose first shim is gone: it is the kernel that knows.
#[test]
fn an_end_that_the_kernel_tells_is_not_lost_on_a_full_disk() {
    let disk = Disk::new(64 * MIB);
    let mut house = House::on(disk.path());
    let id = start(&house);
    house.kill_root();
    house.start_root();
    let old = house.shim(id).unwrap();
    let pid = rustix::process::Pid::from_raw(old).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("a new shim takes over", || {
        house.shim(id).is_some_and(|new| new != old)
    });
    let expected = match keeps_ends() {
        true => EndCause::Exited { code: 7 },
        false => EndCause::Lost,
    };
    ends_on_a_full_disk(&disk, &house, id, &expected);
}
