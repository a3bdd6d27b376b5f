//! The log under crashes, damage and reuse.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::frame::{ALIGN, FRAME_HEADER, marked_at};
use super::*;
use crate::bft::Signer as _;
use crate::disk::MemoryDisk;

const OWNER: Owner = Owner {
    network: NetworkId([1; 32]),
    secret: [2; 32],
};

fn open(disk: &MemoryDisk, first: u64) -> Result<(Wal, Recovered), WalError> {
    let on = || Arc::new(disk.clone());
    let (wal, recovered) = Wal::open(on(), OWNER, first, 4_096)?;
    let begun = wal.map_or_else(|| Wal::create(on(), OWNER, first, 4_096), Ok)?;
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
        for at in (92..96).chain([8, 20]) {
            disk.flip(&name_of(segment), at, 1);
            assert!(open(&disk, 0).is_err(), "segment {segment}, byte {at}");
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
    forget_unmade(&disk, OWNER).unwrap();
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

/// What a process does that ends at the first failed sync, and is begun again.
struct Process {
    disk: MemoryDisk,
    wal: Option<Wal>,
    /// The first segment that is needed, and whether the files before it are used again.
    first: u64,
    reuses: bool,
    /// What is in the log for good.
    kept: Vec<Vec<u8>>,
}

impl Process {
    fn write(&mut self, payload: &[u8], rotates: bool) -> Result<(), WalError> {
        let wal = match &mut self.wal {
            Some(wal) => wal,
            none => {
                let (wal, recovered) = open(&self.disk, self.first)?;
                self.kept = recovered.frames;
                none.insert(wal)
            }
        };
        wal.append(payload)?;
        wal.sync()?;
        self.kept.push(payload.to_vec());
        if rotates {
            wal.rotate(if self.reuses { wal.segment() } else { 0 })?;
            if self.reuses {
                self.kept.clear();
                self.first = wal.segment();
                wal.forget(self.first)?;
            }
        }
        Ok(())
    }
}

/// After a failed sync, what is read back at the next start may be in the kernel's memory alone.
#[test]
fn what_was_read_back_after_a_failed_sync_is_there_after_a_power_cut() {
    for (good_syncs, reuses) in (0..30).zip([false, true].into_iter().cycle()) {
        let good_syncs = good_syncs / 2;
        let mut process = Process {
            disk: MemoryDisk::default(),
            wal: None,
            first: 0,
            reuses,
            kept: Vec::new(),
        };
        process.disk.forget_failed_syncs();
        process.disk.fail_sync_after(good_syncs);
        let mut failures = 0;
        for round in 0u8..30 {
            if process.write(&[round; 1_000], round % 4 == 3).is_err() {
                failures += 1;
                process.wal = None;
                process.disk.fail_sync_after(u64::MAX);
            }
        }
        assert_eq!(failures, 1, "after {good_syncs} good syncs");
        process.disk.crash(|_| 0);
        let (_, recovered) = open(&process.disk, process.first)
            .unwrap_or_else(|error| panic!("after {good_syncs} good syncs: {error}"));
        assert_eq!(
            recovered.frames, process.kept,
            "after {good_syncs} good syncs"
        );
    }
}

#[test]
fn frames_behind_a_cut_that_was_not_written_never_come_back() {
    let disk = MemoryDisk::default();
    disk.forget_failed_syncs();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(&[1; 16]).unwrap();
    wal.append(&[2; 16]).unwrap();
    wal.sync().unwrap();
    disk.flip(&name_of(0), to_u64(HEADER + FRAME_HEADER), 1);
    disk.fail_sync_after(0);
    assert!(open(&disk, 0).is_err());
    disk.fail_sync_after(u64::MAX);
    let (mut wal, recovered) = open(&disk, 0).unwrap();
    assert!(recovered.frames.is_empty());
    wal.append(&[3; 16]).unwrap();
    wal.sync().unwrap();
    disk.crash(|_| 0);
    let (mut wal, recovered) = open(&disk, 0).unwrap();
    assert_eq!(recovered.frames, [vec![3; 16]]);
    // The same where a frame is left.
    wal.append(&[4; 16]).unwrap();
    wal.append(&[5; 16]).unwrap();
    wal.sync().unwrap();
    disk.flip(&name_of(0), to_u64(HEADER + 2 * FRAME_HEADER + 16), 1);
    disk.fail_sync_after(0);
    assert!(open(&disk, 0).is_err());
    disk.fail_sync_after(u64::MAX);
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(&[6; 16]).unwrap();
    wal.sync().unwrap();
    disk.crash(|_| 0);
    assert_eq!(open(&disk, 0).unwrap().1.frames, [vec![3; 16], vec![6; 16]]);
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
fn the_log_of_another_key_is_refused_and_not_taken_for_an_empty_one() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(b"ours").unwrap();
    wal.sync().unwrap();
    let secret = [3; 32];
    for other in [
        Owner { secret, ..OWNER },
        Owner {
            network: NetworkId([3; 32]),
            ..OWNER
        },
    ] {
        let refused = Wal::open(Arc::new(disk.clone()), other, 0, 4_096);
        assert!(matches!(refused, Err(WalError::Foreign { segment: 0 })));
    }
}

/// What somebody puts into a block who knows everything but the secret: from every place on, all that follows as a frame.
fn crafted(len: usize) -> Vec<u8> {
    let guess = Owner {
        secret: [0; 32],
        ..OWNER
    };
    let marks = [*b"frm1", key_of(&guess, 0).mark, key_of(&guess, 1).mark];
    let mut payload = Vec::new();
    for mark in marks.into_iter().cycle() {
        let left = len.saturating_sub(payload.len() + FRAME_HEADER);
        let Ok(left) = u32::try_from(left) else { break };
        payload.extend_from_slice(&mark);
        payload.extend_from_slice(&left.to_le_bytes());
        payload.extend_from_slice(&u64::MAX.to_le_bytes());
        if left == 0 {
            break;
        }
    }
    payload
}

#[test]
fn what_others_wrote_into_blocks_is_not_hashed_in_search_of_frames() {
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    for round in 0..3 {
        for _ in 0..3 {
            wal.append(&crafted(200_000)).unwrap();
            wal.sync().unwrap();
        }
        wal.append(&crafted(100_000)).unwrap();
        let bytes = crate::disk::read_whole(&disk, &name_of(round));
        let (bytes, key) = (bytes.unwrap().unwrap(), key_of(&OWNER, round));
        let marked = (0..bytes.len()).step_by(ALIGN);
        let marked = marked.filter_map(|at| marked_at(&key, &bytes, at));
        let hashed: usize = marked.map(|marked| marked.payload.len()).sum();
        assert!(hashed <= bytes.len(), "{hashed} of {} bytes", bytes.len());
        wal.rotate(wal.segment()).unwrap();
        wal.forget(wal.segment()).unwrap();
    }
}

/// A whole frame in a block, where it would say that what a crash has torn had been synced.
#[test]
fn a_frame_that_others_made_up_claims_nothing() {
    let guess = Owner {
        secret: [0; 32],
        ..OWNER
    };
    let disk = MemoryDisk::default();
    let (mut wal, _) = open(&disk, 0).unwrap();
    wal.append(b"synced").unwrap();
    wal.sync().unwrap();
    let inside = wal.bytes() + to_u64(FRAME_HEADER);
    let made_up = encode_frame(&key_of(&guess, 0), inside, u64::MAX, b"made up");
    let torn = wal.bytes();
    wal.append(&made_up).unwrap();
    disk.flip(&name_of(0), torn, 1);
    assert_eq!(open(&disk, 0).unwrap().1.frames, [b"synced".to_vec()]);
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
        "83822806e0199faefe589487f2f74e75a01b07bacb01265a51648d20c1fbbf64"
    );
    let secret = crate::LocalSigner::from_seed(&[7; 32]).secret();
    assert_eq!(
        blake3::Hash::from(secret).to_hex().as_str(),
        "d1d778d4716debb73ed035900e329f3da8f4e5e524265e0875e34e1c3a6f959a"
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
