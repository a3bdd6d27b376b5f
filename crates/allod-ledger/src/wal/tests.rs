//! The log under crashes, damage and reuse.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::disk::MemoryDisk;

const NETWORK: NetworkId = NetworkId([1; 32]);

fn open(disk: &MemoryDisk, first: u64) -> Result<(Wal, Recovered), WalError> {
    let on = || Arc::new(disk.clone());
    let (wal, recovered) = Wal::open(on(), NETWORK, first, 4_096)?;
    let begun = wal.map_or_else(|| Wal::create(on(), NETWORK, first, 4_096), Ok)?;
    Ok((begun, recovered))
}

fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn synced_frames_come_back_in_order() {
    let disk = MemoryDisk::default();
    let (mut wal, recovered) = open(&disk, 0).unwrap();
    assert!(recovered.is_missing);
    for payload in [&b"one"[..], b"two", b"three"] {
        wal.append(payload).unwrap();
    }
    wal.sync().unwrap();
    disk.crash(|_| 0);
    let (_, recovered) = open(&disk, 0).unwrap();
    assert_eq!(
        recovered.frames,
        [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]
    );
    assert!(!recovered.is_missing);
}

#[test]
fn a_flip_in_an_earlier_synced_frame_is_named_and_refused() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    for payload in [&b"first"[..], b"second", b"third"] {
        wal.append(payload).unwrap();
        wal.sync().unwrap();
    }
    let first_frame = to_u64(HEADER)..to_u64(HEADER + FRAME_HEADER + 5);
    for at in first_frame {
        disk.flip(&name_of(0), at, 1);
        let refused = open(&disk, 0);
        let is_named = matches!(
            refused,
            Err(WalError::Damaged {
                segment: 0,
                offset: 96
            })
        );
        assert!(is_named, "byte {at}: {refused:?}");
        disk.flip(&name_of(0), at, 1);
    }
    assert_eq!(open(&disk, 0).unwrap().1.frames.len(), 3);
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(b"kept").unwrap();
    wal.sync().unwrap();
    wal.append(&[7; 3_000]).unwrap();
    let tail = wal.bytes() - 1_000;
    disk.flip(&name_of(0), tail, 0xff);
    let (mut wal, recovered) = open(&disk, 0).unwrap();
    assert_eq!(recovered.frames, [b"kept".to_vec()]);
    wal.append(b"after").unwrap();
    wal.sync().unwrap();
    assert_eq!(
        open(&disk, 0).unwrap().1.frames,
        [b"kept".to_vec(), b"after".to_vec()]
    );
}

#[test]
fn frames_behind_the_cut_never_come_back() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(&[1; 16]).unwrap();
    wal.append(&[2; 16]).unwrap();
    disk.flip(&name_of(0), to_u64(HEADER + FRAME_HEADER), 1);
    let (mut wal, recovered) = open(&disk, 0).unwrap();
    assert!(recovered.frames.is_empty());
    // A frame of the same size ends exactly where the second old one began.
    wal.append(&[3; 16]).unwrap();
    wal.sync().unwrap();
    assert_eq!(open(&disk, 0).unwrap().1.frames, [vec![3; 16]]);
}

#[test]
fn reused_files_show_nothing_of_their_earlier_use() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    for round in 0u8..6 {
        wal.append(&[round; 40]).unwrap();
        wal.append(&[round; 40]).unwrap();
        wal.sync().unwrap();
        wal.rotate(wal.segment()).unwrap();
        wal.forget(wal.segment()).unwrap();
    }
    let segment = wal.segment();
    let (_, recovered) = open(&disk, segment).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert!(disk.list().unwrap().len() <= 3, "{:?}", disk.list());
}

#[test]
fn a_flip_in_the_header_of_a_segment_that_holds_frames_is_named_and_refused() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(b"earlier").unwrap();
    wal.sync().unwrap();
    wal.rotate(0).unwrap();
    wal.append(b"acknowledged").unwrap();
    wal.sync().unwrap();
    for segment in [0, 1] {
        for at in 0..84 {
            disk.flip(&name_of(segment), at, 1);
            let refused = open(&disk, 0);
            let is_named = matches!(
                refused,
                Err(WalError::Damaged { segment: named, offset: 0 }) if named == segment
            );
            assert!(is_named, "segment {segment}, byte {at}: {refused:?}");
            disk.flip(&name_of(segment), at, 1);
        }
    }
    assert_eq!(open(&disk, 0).unwrap().1.frames.len(), 2);
}

#[test]
fn a_segment_that_was_emptied_is_refused_where_it_must_be_there() {
    let disk = MemoryDisk::default();
    drop(open(&disk, 0).unwrap());
    disk.open(&name_of(0)).unwrap().set_len(0).unwrap();
    assert!(matches!(open(&disk, 0), Err(WalError::Damaged { .. })));
    forget_unmade(&disk, NETWORK).unwrap();
    assert!(open(&disk, 0).unwrap().1.is_missing);
}

#[test]
fn a_log_that_was_cut_is_named_and_refused() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(&[1; 300]).unwrap();
    wal.append(&[2; 300]).unwrap();
    wal.sync().unwrap();
    let whole = disk.fork();
    for len in (0..wal.bytes()).step_by(50) {
        let cut = whole.fork();
        cut.open(&name_of(0)).unwrap().set_len(len).unwrap();
        let refused = open(&cut, 0);
        let is_named = matches!(refused, Err(WalError::Damaged { segment: 0, .. }));
        assert!(is_named, "cut at {len}: {refused:?}");
    }
}

#[test]
fn frames_are_written_over_a_mark() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    let mut written = Vec::new();
    for round in 0u8..60 {
        let payload = vec![round; 150 + usize::from(round)];
        wal.append(&payload).unwrap();
        wal.sync().unwrap();
        wal.mark().unwrap();
        written.push(payload);
        assert_eq!(open(&disk.fork(), 0).unwrap().1.frames.len(), written.len());
        let crashed = disk.fork();
        crashed.crash(draws(u64::from(round)));
        assert_eq!(open(&crashed, 0).unwrap().1.frames, written);
    }
}

#[test]
fn a_removed_log_is_noticed() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.rotate(0).unwrap();
    let segment = wal.segment();
    disk.remove(&name_of(segment)).unwrap();
    assert!(open(&disk, segment).unwrap().1.is_missing);
}

#[test]
fn a_failed_sync_is_an_error() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    disk.fail_sync_after(0);
    wal.append(b"x").unwrap();
    assert!(wal.sync().is_err());
}

#[test]
fn a_full_disk_is_told_apart_and_the_frame_can_be_written_later() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    disk.set_capacity(5_000);
    let refused = wal.append(&[1; 100_000]).unwrap_err();
    assert!(refused.is_full());
    disk.set_capacity(u64::MAX);
    wal.append(&[1; 100_000]).unwrap();
    wal.sync().unwrap();
    assert_eq!(open(&disk, 0).unwrap().1.frames, [vec![1; 100_000]]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a crash leaves of the unsynced part, the synced part comes back whole, and what
    /// comes back is a prefix of what was written.
    #[test]
    fn a_crash_anywhere_keeps_what_was_synced(
        sizes in proptest::collection::vec((1usize..2_000, any::<bool>()), 1..30),
        seed in any::<u64>(),
    ) {
        let disk = MemoryDisk::default();
        let (mut wal, _) = open(&disk, 0).unwrap();
        let mut written = Vec::new();
        let mut synced = 0;
        for (index, (size, does_sync)) in sizes.iter().enumerate() {
            let payload = vec![u8::try_from(index).unwrap(); *size];
            wal.append(&payload).unwrap();
            written.push(payload);
            if *does_sync {
                wal.sync().unwrap();
                synced = written.len();
            }
        }
        disk.crash(draws(seed));
        let (_, recovered) = open(&disk, 0).unwrap();
        prop_assert!(recovered.frames.len() >= synced);
        prop_assert_eq!(&recovered.frames[..], &written[..recovered.frames.len()]);
    }
}

#[test]
fn the_format_is_frozen() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 3).unwrap();
    wal.append(b"frozen").unwrap();
    wal.sync().unwrap();
    let bytes = crate::disk::read_whole(&disk, "wal-0000000000000003")
        .unwrap()
        .unwrap();
    assert_eq!(
        blake3::hash(&bytes[..160]).to_hex().as_str(),
        "a07b5698cf7835d552a3b48fcd111dc22b906d96fbb61b9d05b4d87d81f9801f"
    );
}

#[test]
fn a_mark_vouches_for_the_last_frame() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(b"last").unwrap();
    wal.mark().unwrap();
    let unsynced = wal.bytes();
    wal.sync().unwrap();
    assert_eq!(
        wal.bytes(),
        unsynced,
        "marked before there was anything to vouch for"
    );
    let at = wal.bytes() - 16;
    let unmarked = disk.fork();
    wal.mark().unwrap();
    let marked = wal.bytes();
    wal.mark().unwrap();
    assert_eq!(wal.bytes(), marked, "marked twice");
    assert_eq!(open(&disk, 0).unwrap().1.frames, [b"last".to_vec()]);
    disk.flip(&name_of(0), at, 1);
    assert!(matches!(open(&disk, 0), Err(WalError::Damaged { .. })));
    // Nothing that takes the whole page takes the mark along.
    let file = disk.open(&name_of(0)).unwrap();
    file.write_at(0, &[0; 4_096]).unwrap();
    assert!(matches!(open(&disk, 0), Err(WalError::Damaged { .. })));
    // Without the mark the same damage passes for a crash.
    unmarked.flip(&name_of(0), at, 1);
    assert!(open(&unmarked, 0).unwrap().1.frames.is_empty());
}
