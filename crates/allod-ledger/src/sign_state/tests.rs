//! The checkpoint: whole, missing, damaged, somebody else's.

use super::*;
use crate::disk::MemoryDisk;

const NETWORK: NetworkId = NetworkId([1; 32]);
const KEY: PublicKey = PublicKey::Ed25519([2; 32]);

#[test]
fn what_was_saved_survives_a_crash() {
    let disk = MemoryDisk::default();
    assert_eq!(
        SignState::load(&disk, NETWORK, KEY).unwrap(),
        Found::Missing
    );
    let state = SignState::new(NETWORK, KEY, 7, 3);
    state.save(&disk).unwrap();
    disk.crash(|_| 0);
    assert_eq!(
        SignState::load(&disk, NETWORK, KEY).unwrap(),
        Found::Whole(state)
    );
}

#[test]
fn a_crash_while_saving_leaves_the_old_or_the_new() {
    for seed in 0..50u64 {
        let disk = MemoryDisk::default();
        let old = SignState::new(NETWORK, KEY, 7, 3);
        let new = SignState::new(NETWORK, KEY, 9, 4);
        old.save(&disk).unwrap();
        disk.fail_sync_after(seed % 2);
        let _ = new.save(&disk);
        let mut draws = seed;
        disk.crash(|below| {
            draws = draws
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (draws >> 33) % below
        });
        let found = SignState::load(&disk, NETWORK, KEY).unwrap();
        assert!(
            found == Found::Whole(old) || found == Found::Whole(new),
            "{found:?}"
        );
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    let disk = MemoryDisk::default();
    SignState::new(NETWORK, KEY, 7, 3).save(&disk).unwrap();
    for at in 0..disk.file_len(FILE) {
        disk.flip(FILE, at, 0x10);
        assert_eq!(
            SignState::load(&disk, NETWORK, KEY).unwrap(),
            Found::Damaged,
            "byte {at}"
        );
        disk.flip(FILE, at, 0x10);
    }
}

#[test]
fn another_nodes_folder_is_refused() {
    let disk = MemoryDisk::default();
    SignState::new(NETWORK, KEY, 7, 3).save(&disk).unwrap();
    let other = PublicKey::Ed25519([9; 32]);
    let refused = SignState::load(&disk, NETWORK, other);
    assert!(matches!(refused, Err(SignStateError::Foreign { .. })));
}
