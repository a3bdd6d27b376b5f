//! One contract, kept by the real disk and by the one in memory.

use super::*;

fn contract(disk: &dyn Disk) {
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    let file = disk.open("a").unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(0, b"hello").unwrap();
    file.write_at(7, b"you").unwrap();
    file.sync().unwrap();
    let mut bytes = [9; 10];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello\0\0you");
    let past = file.read_at(8, &mut bytes).unwrap_err();
    assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);

    file.set_len(5).unwrap();
    file.set_len(8).unwrap();
    assert_eq!(file.len().unwrap(), 8);
    let mut bytes = [9; 8];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello\0\0\0");
    assert_eq!(disk.open("a").unwrap().len().unwrap(), 8);

    disk.open("b").unwrap().write_at(0, b"b").unwrap();
    disk.rename("b", "a").unwrap();
    assert_eq!(disk.list().unwrap(), ["a"]);
    assert_eq!(read_whole(disk, "a").unwrap(), Some(b"b".to_vec()));
    disk.remove("a").unwrap();
    disk.remove("a").unwrap();
    assert_eq!(read_whole(disk, "a").unwrap(), None);
    assert!(disk.rename("missing", "a").is_err());

    replace(disk, "c", b"one").unwrap();
    replace(disk, "c", b"two!").unwrap();
    assert_eq!(read_whole(disk, "c").unwrap(), Some(b"two!".to_vec()));
    assert_eq!(disk.list().unwrap(), ["c"]);

    let lock = disk.lock().unwrap();
    assert_eq!(disk.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    disk.lock().unwrap();
    assert!(disk.free_bytes().unwrap() > 0);
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract(&RealDisk::new(&folder.path().join("ledger")).unwrap());
}

#[test]
fn the_disk_in_memory_keeps_the_contract() {
    contract(&MemoryDisk::default());
}

#[test]
fn a_disk_with_a_reserve_keeps_the_contract() {
    contract(&Reserved::new(
        std::sync::Arc::new(MemoryDisk::default()),
        0,
    ));
}

#[test]
fn a_full_disk_is_written_to_once_more_from_the_reserve() {
    let disk = MemoryDisk::default();
    let reserved = Reserved::new(std::sync::Arc::new(disk.clone()), 1 << 20);
    reserved.take().unwrap();
    let file = reserved.open("a").unwrap();
    disk.set_capacity(disk.file_len("reserve"));
    file.write_at(0, &[1; 1 << 19]).unwrap();
    assert!(reserved.is_used());
    let refused = file.write_at(1 << 19, &[1; 1 << 20]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    disk.set_capacity(u64::MAX);
    reserved.take().unwrap();
    assert!(!reserved.is_used());
    assert_eq!(disk.file_len("reserve"), 1 << 20);
}

#[test]
fn a_reserve_without_room_is_not_taken() {
    let disk = MemoryDisk::default();
    let reserved = Reserved::new(std::sync::Arc::new(disk.clone()), 1 << 20);
    disk.set_capacity(1 << 19);
    reserved.take().unwrap();
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
}

#[test]
fn the_folder_and_its_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let disk = RealDisk::new(&path).unwrap();
    disk.open("a").unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("a")), 0o600);
}

#[test]
fn a_crash_keeps_what_was_synced_and_kills_open_handles() {
    let disk = MemoryDisk::default();
    let file = disk.open("a").unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync().unwrap();
    file.write_at(0, b"UNSYNC").unwrap();
    disk.crash(|_| 0);
    assert!(file.sync().is_err());
    assert_eq!(read_whole(&disk, "a").unwrap(), Some(b"synced".to_vec()));
}

#[test]
fn an_unsynced_write_may_survive_in_some_sectors_only() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200u64 {
        let disk = MemoryDisk::default();
        let file = disk.open("a").unwrap();
        file.write_at(0, &[0; 1_024]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[1; 1_024]).unwrap();
        let mut state = seed;
        disk.crash(|below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        });
        let bytes = read_whole(&disk, "a").unwrap().unwrap();
        seen.insert((bytes[0], bytes[1_023]));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn what_a_failed_sync_lost_may_be_seen_until_the_power_goes() {
    let disk = MemoryDisk::default();
    disk.forget_failed_syncs();
    let file = disk.open("a").unwrap();
    file.write_at(0, b"lost").unwrap();
    disk.fail_sync_after(0);
    file.sync().unwrap_err();
    disk.fail_sync_after(u64::MAX);
    file.sync().unwrap();
    assert_eq!(read_whole(&disk, "a").unwrap(), Some(b"lost".to_vec()));
    disk.crash(|_| 2);
    assert_eq!(read_whole(&disk, "a").unwrap(), None);
}
