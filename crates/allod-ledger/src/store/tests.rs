//! The store: reopening, reading back, pruning, snapshots, damage.

use std::collections::BTreeMap;
use std::sync::Arc;

use allod_state::certificate::{VoteKind, vote_bytes};
use allod_state::validator::ValidatorSet;
use allod_state::{BlockId, Digest, Rejection};

use super::rows::{Row, changed};
use super::*;
use crate::bft::Signer;
use crate::disk::MemoryDisk;
use crate::limits::SNAPSHOT_CHUNKS_MAX;
use crate::replica::tests::world::{START_MS, genesis, settings, transfer, validator};
use crate::replica::{Clock, Input, Output, Replica};

/// A disk with a closed chain of `blocks` blocks, one minute apart.
fn chain(blocks: u64) -> (MemoryDisk, State) {
    let disk = MemoryDisk::default();
    let clock = |minute: u64| Clock {
        steady_ms: minute,
        wall_ms: START_MS + 60_000 * minute,
    };
    let genesis = genesis(1, 0);
    let mut replica = Replica::open(
        Arc::new(disk.clone()),
        validator(0),
        settings(genesis.clone()),
        clock(0),
    )
    .unwrap();
    for nonce in 0..blocks {
        let mut transaction = transfer(&genesis, 0, nonce, 1);
        transaction.body.expires_ms = START_MS + 60_000 * nonce + 600_000;
        let key = crate::replica::tests::world::owner(0);
        transaction.signature = Signer::sign(&key, &transaction.body.sign_bytes());
        let input = Input::Offer(vec![transaction.verify().unwrap()]);
        replica
            .step(clock(nonce + 1), input, &mut Output::default())
            .unwrap();
    }
    let state = replica.state().clone();
    replica.close().unwrap();
    (disk, state)
}

fn open(disk: &MemoryDisk) -> Store {
    Store::open(disk, &genesis(1, 0)).unwrap()
}

#[test]
fn reopening_rebuilds_the_state_with_the_tips_root() {
    let (disk, state) = chain(5);
    let (loaded, tip) = open(&disk).load().unwrap();
    assert_eq!(loaded.root(), state.root());
    assert_eq!(loaded.tip(), state.tip());
    assert_eq!(tip.unwrap().header.height, 5);
}

#[test]
fn a_new_store_holds_genesis() {
    let disk = MemoryDisk::default();
    let (state, tip) = open(&disk).load().unwrap();
    assert_eq!(state.root(), genesis(1, 0).state().0.root());
    assert_eq!(tip, None);
}

#[test]
fn another_networks_store_is_refused() {
    let (disk, _) = chain(1);
    let refused = Store::open(&disk, &genesis(1, 7));
    assert!(matches!(refused, Err(StoreError::Foreign { .. })));
}

#[test]
fn blocks_outcomes_and_receipts_are_read_back_by_height_and_id() {
    let (disk, _) = chain(3);
    let store = open(&disk);
    for height in 1..=3 {
        let stored = store.block(height).unwrap().unwrap();
        let id = stored.block.transactions[0].body.id();
        let (found, index, receipt) = store.receipt(&id).unwrap().unwrap();
        assert_eq!((found, index), (height, 0));
        assert_eq!(receipt.outcome, Ok::<(), Rejection>(()));
        assert_eq!(store.outcome(height).unwrap().unwrap().receipts, [receipt]);
    }
    assert_eq!(store.block(4).unwrap(), None);
    assert_eq!(store.receipt(&TransactionId([9; 32])).unwrap(), None);
}

#[test]
fn a_transaction_that_the_index_has_lost_is_named_by_the_scrub() {
    let (disk, _) = chain(40);
    let store = open(&disk);
    assert_eq!(store.scrub(0, usize::MAX).unwrap(), None);
    // In steps, too.
    assert_eq!(store.scrub(0, 15).unwrap(), Some(16));
    assert_eq!(store.scrub(16, 25).unwrap(), Some(41));
    assert_eq!(store.scrub(41, 25).unwrap(), None);
    let block = store.block(17).unwrap().unwrap();
    let id = block.block.transactions[0].body.id();
    drop(store);
    let bytes = disk::read_whole(&disk, FILE).unwrap().unwrap();
    let places = bytes.windows(32).enumerate();
    let places = places.filter(|(_, window)| *window == id.as_bytes());
    let mut lost = 0;
    for (at, _) in places {
        let hurt = disk.fork();
        hurt.flip(FILE, at as u64, 1 << 7);
        let store = open(&hurt);
        // Elsewhere the id is in what has a seal.
        if !matches!(store.receipt(&id), Ok(None)) {
            continue;
        }
        lost += 1;
        let damaged = store.scrub(0, usize::MAX).unwrap_err();
        // Others may not be found either.
        let is_named = damaged
            .to_string()
            .contains("damaged place of a transaction at height");
        assert!(is_named, "{damaged}");
    }
    assert!(lost > 0, "the id is in no index");
}

#[test]
fn pruning_removes_old_blocks_but_never_the_tip() {
    let (disk, state) = chain(6);
    let store = open(&disk);
    let first = store.block(1).unwrap().unwrap().block.transactions[0]
        .body
        .id();
    assert_eq!(store.prune(START_MS + 60_000 * 4).unwrap(), 3);
    assert_eq!(store.oldest_height().unwrap(), Some(4));
    assert_eq!(store.block(3).unwrap(), None);
    assert_eq!(store.receipt(&first).unwrap(), None);
    assert_eq!(store.prune(u64::MAX).unwrap(), 2);
    assert_eq!(store.oldest_height().unwrap(), Some(6));
    assert_eq!(store.load().unwrap().0.root(), state.root());
}

fn of_genesis(genesis: &Genesis) -> Anchor {
    Anchor {
        height: 0,
        block: BlockId(*genesis.network().as_bytes()),
        header: None,
    }
}

#[test]
fn a_snapshot_leads_past_what_is_known_to_be_decided() {
    let (disk, _) = chain(4);
    let mut chunks = BTreeMap::new();
    let store = open(&disk);
    let manifest = store
        .snapshot(|digest, bytes| {
            chunks.insert(digest, bytes.to_vec());
            Ok(())
        })
        .unwrap();
    let genesis = genesis(1, 0);
    let import = |anchor: &Anchor| {
        let fetch = |digest: &Digest| Ok(chunks[digest].clone());
        let disk = MemoryDisk::default();
        Store::import(&disk, &genesis, &manifest, anchor, fetch).map(drop)
    };
    let at = |height: u64| {
        let header = store.block(height).unwrap().unwrap().block.header;
        Anchor {
            height,
            block: header.id(),
            header: Some(header),
        }
    };
    for height in 1..=4 {
        import(&at(height)).unwrap();
    }
    let mut others = vec![at(2), at(2), at(2), at(2)];
    others[0].block.0[0] ^= 1;
    others[1].header = None;
    others[2].header = at(3).header;
    others[3].height = 3;
    // Of validators that the network never had.
    let mut strange = at(2);
    let mut header = strange.header.take().unwrap();
    header.validators_hash[0] ^= 1;
    strange.block = header.id();
    strange.header = Some(header);
    others.push(strange);
    // Younger than the snapshot.
    let mut younger = at(4);
    let mut header = younger.header.take().unwrap();
    (header.height, younger.height) = (5, 5);
    younger.block = header.id();
    younger.header = Some(header);
    others.push(younger);
    for other in others {
        let refused = import(&other).unwrap_err();
        assert!(matches!(refused, SnapshotError::Unanchored(_)), "{refused}");
    }
}

#[test]
fn a_snapshot_founds_an_equal_store() {
    let (disk, state) = chain(4);
    let mut chunks = BTreeMap::new();
    let manifest = open(&disk)
        .snapshot(|digest, bytes| {
            chunks.insert(digest, bytes.to_vec());
            Ok(())
        })
        .unwrap();
    let fresh = MemoryDisk::default();
    let genesis = genesis(1, 0);
    let trusted = of_genesis(&genesis);
    let fetch = |digest: &Digest| Ok(chunks[digest].clone());
    let store = Store::import(&fresh, &genesis, &manifest, &trusted, fetch).unwrap();
    assert_eq!(store.load().unwrap().0.root(), state.root());
    drop(store);
    fresh.crash(|_| 0);
    assert_eq!(open(&fresh).load().unwrap().0.tip(), state.tip());
}

/// A snapshot of a chain of that many blocks, put on a disk that knows its own newest block to be decided.
fn import_onto(disk: &MemoryDisk, blocks: u64) -> Result<Store, SnapshotError> {
    let mut chunks = BTreeMap::new();
    let manifest = open(&chain(blocks).0)
        .snapshot(|digest, bytes| {
            chunks.insert(digest, bytes.to_vec());
            Ok(())
        })
        .unwrap();
    let genesis = genesis(1, 0);
    let own = Store::open(disk, &genesis).and_then(|store| store.tip());
    let anchor = own
        .ok()
        .flatten()
        .map_or(of_genesis(&genesis), |tip| Anchor {
            height: tip.header.height,
            block: tip.certificate.block,
            header: Some(tip.header),
        });
    let fetch = |digest: &Digest| Ok(chunks[digest].clone());
    Store::import(disk, &genesis, &manifest, &anchor, fetch)
}

#[test]
fn a_newer_snapshot_takes_the_place_of_an_older_chain_whose_key_goes_on() {
    let (disk, _) = chain(3);
    let old = open(&disk).block(2).unwrap().unwrap().block;
    let store = import_onto(&disk, 6).unwrap();
    let (state, _) = store.load().unwrap();
    assert_eq!(state.root(), chain(6).1.root());
    // What was decided before is not between what is known now and what comes.
    assert_eq!(store.oldest_height().unwrap(), None);
    assert_eq!(store.block(2).unwrap(), None);
    assert_eq!(store.outcome(2).unwrap(), None);
    assert_eq!(store.receipt(&old.transactions[0].body.id()).unwrap(), None);
    drop(store);

    // Whoever decides alone would wait for ever, had it forgotten what it signed.
    let (genesis, clock) = (
        genesis(1, 0),
        Clock {
            steady_ms: 1,
            wall_ms: START_MS + 600_000,
        },
    );
    let known = crate::replica::Settings {
        is_new_key: false,
        ..settings(genesis.clone())
    };
    let mut replica = Replica::open(Arc::new(disk.clone()), validator(0), known, clock).unwrap();
    assert!(replica.is_voting());
    let next = transfer(&genesis, 0, 6, 1).verify().unwrap();
    let mut output = Output::default();
    replica
        .step(clock, Input::Offer(vec![next]), &mut output)
        .unwrap();
    assert_eq!(output.commits[0].header.height, 7);
    replica.close().unwrap();
    assert_eq!(open(&disk).oldest_height().unwrap(), Some(7));
}

#[test]
fn a_snapshot_that_leads_no_further_is_refused() {
    let (disk, state) = chain(4);
    assert!(matches!(
        import_onto(&disk, 4),
        Err(SnapshotError::NotNewer(4))
    ));
    assert!(matches!(
        import_onto(&disk, 3),
        Err(SnapshotError::Unanchored(4))
    ));
    assert_eq!(open(&disk).load().unwrap().0.root(), state.root());
}

#[test]
fn an_import_that_stops_anywhere_leaves_what_was_there_and_is_begun_anew() {
    for before in [0, 3] {
        let disk = if before == 0 {
            MemoryDisk::default()
        } else {
            chain(before).0
        };
        let mut stopped = 0;
        for changes in 0.. {
            let disk = disk.fork();
            if before == 0 {
                drop(open(&disk));
            }
            disk.die_after(changes);
            let is_whole = import_onto(&disk, 6).is_ok();
            disk.crash(|below| changes % below);
            let height = open(&disk).load().unwrap().0.tip().height;
            assert!(height == before || height == 6, "{height} after {changes}");
            if is_whole {
                assert_eq!(height, 6);
                break;
            }
            stopped += 1;
            if height == before {
                import_onto(&disk, 6).unwrap();
            }
        }
        assert!(stopped > 3, "{stopped}");
    }
}

#[test]
fn blocks_are_given_by_so_many_bytes_and_one_at_least() {
    let (disk, _) = chain(4);
    let store = open(&disk);
    let sizes: Vec<usize> = store
        .blocks_from(1)
        .unwrap()
        .iter()
        .map(|one| one.block.len())
        .collect();
    assert_eq!(sizes.len(), 4);
    let within = |bytes| store.blocks_within(1, bytes).unwrap().len();
    assert_eq!(within(sizes[0] + sizes[1]), 2);
    assert_eq!(within(sizes[0] + sizes[1] - 1), 1);
    assert_eq!(within(0), 1);
}

#[test]
fn a_snapshot_from_a_liar_is_refused() {
    let (disk, _) = chain(4);
    let mut chunks = BTreeMap::new();
    let manifest = open(&disk)
        .snapshot(|digest, bytes| {
            chunks.insert(digest, bytes.to_vec());
            Ok(())
        })
        .unwrap();
    let genesis = genesis(1, 0);
    let trusted = of_genesis(&genesis);
    let import = |manifest: &Manifest, fetch: &dyn Fn(&Digest) -> Vec<u8>| {
        let disk = MemoryDisk::default();
        Store::import(&disk, &genesis, manifest, &trusted, |digest| {
            Ok(fetch(digest))
        })
    };
    let honest = |digest: &Digest| chunks[digest].clone();

    let flipped = |digest: &Digest| {
        let mut bytes = chunks[digest].clone();
        bytes[10] ^= 1;
        bytes
    };
    assert!(matches!(
        import(&manifest, &flipped),
        Err(SnapshotError::BadChunk(_))
    ));

    let mut short = manifest.clone();
    short.chunks.clear();
    assert!(matches!(
        import(&short, &honest),
        Err(SnapshotError::Rows(_))
    ));

    // Before anything is fetched.
    let mut endless = manifest.clone();
    endless.chunks = vec![Digest([0; 32]); SNAPSHOT_CHUNKS_MAX + 1];
    assert!(matches!(
        endless.verify(&genesis, &trusted),
        Err(SnapshotError::TooLarge(_))
    ));

    let mut forged = manifest.clone();
    forged.header.root.0[0] ^= 1;
    assert!(matches!(
        import(&forged, &honest),
        Err(SnapshotError::Certificate(_))
    ));

    let mut unsigned = manifest;
    unsigned.certificate.signatures.clear();
    assert!(matches!(
        import(&unsigned, &honest),
        Err(SnapshotError::Certificate(_))
    ));
}

/// Whoever is founded on it could show nobody else who decides what follows.
#[test]
fn a_snapshot_without_its_own_blocks_handover_is_refused() {
    let (disk, _) = chain(2);
    let mut manifest = open(&disk).snapshot(|_, _| Ok(())).unwrap();
    let genesis = genesis(1, 0);
    let next = ValidatorSet::new([(Signer::public_key(&validator(1)), 1)]);
    let header = &mut manifest.header;
    header.next_validators_hash = next.hash();
    let (height, round, block) = (header.height, 0, header.id());
    let vote = VoteKind::Precommit;
    let bytes = vote_bytes(&genesis.network(), vote, height, round, Some(&block));
    let decider = validator(0);
    manifest.certificate = Certificate {
        height,
        round,
        block,
        signatures: vec![(decider.public_key(), decider.sign(&bytes))],
    };
    let refused = manifest.verify(&genesis, &of_genesis(&genesis));
    assert!(
        matches!(refused, Err(SnapshotError::Succession)),
        "{refused:?}"
    );
    manifest.handovers.push(Handover {
        header: manifest.header.clone(),
        certificate: manifest.certificate.clone(),
        next,
    });
    manifest.verify(&genesis, &of_genesis(&genesis)).unwrap();
}

#[test]
fn a_changed_row_is_noticed_on_opening() {
    let (disk, _) = chain(2);
    let store = open(&disk);
    let change = store.database.begin(Durability::Immediate).unwrap();
    {
        let mut table = change.open_table(ROWS).unwrap();
        let (key, value) = {
            let (key, value) = table.last().unwrap().unwrap();
            (key.value().to_vec(), value.value().to_vec())
        };
        let mut changed = value;
        *changed.last_mut().unwrap() ^= 1;
        table.insert(&key[..], &changed[..]).unwrap();
    }
    change.commit().unwrap();
    assert!(matches!(store.load(), Err(StoreError::Restore(_))));
}

#[test]
fn a_changed_block_is_never_served() {
    let (disk, _) = chain(2);
    let store = open(&disk);
    let (mut bytes, _) = store.block_bytes(1).unwrap().unwrap();
    bytes[20] ^= 1;
    let change = store.database.begin(Durability::Immediate).unwrap();
    put(&change, BLOCKS, 1, &bytes).unwrap();
    change.commit().unwrap();
    let refused = store.block(1);
    assert!(matches!(
        refused,
        Err(StoreError::Damaged {
            what: "block",
            height: 1
        })
    ));
}

#[test]
fn a_block_out_of_order_is_refused() {
    let (disk, _) = chain(1);
    let store = open(&disk);
    let genesis = genesis(1, 0);
    let (state, _) = genesis.state();
    let proposal = allod_state::Proposal {
        time_ms: START_MS + 5,
        proposer: Signer::public_key(&validator(0)),
        transactions: &[],
    };
    let mut executed = allod_state::execute(&state, &proposal).unwrap();
    let certificate = store.block(1).unwrap().unwrap().certificate;
    let refused = store.commit(&mut executed, b"", &certificate);
    assert!(matches!(
        refused,
        Err(StoreError::OutOfOrder { height: 1, tip: 1 })
    ));
}

/// What a reader finds: the root, the blocks and the receipts.
fn read_all(disk: &MemoryDisk) -> Result<Vec<String>, StoreError> {
    let store = Store::open(disk, &genesis(1, 0))?;
    let mut found = vec![store.load()?.0.root().to_string()];
    for height in 1..=4 {
        found.push(format!("{:?}", store.block(height)?));
        found.push(format!("{:?}", store.outcome(height)?));
    }
    Ok(found)
}

#[test]
fn a_panic_while_reading_is_damage_and_no_news_for_a_panic_hook() {
    let read = guarded("block", 7, || -> Result<(), StoreError> {
        assert!(guarded("within", 0, || Ok(expects_panic())).unwrap());
        assert!(expects_panic());
        panic!("as redb does")
    });
    let what = read.unwrap_err().to_string();
    assert!(
        what.starts_with("the store holds a damaged block at height 7"),
        "{what}"
    );
    assert!(!expects_panic());
}

#[test]
fn a_flipped_bit_anywhere_in_the_file_is_never_served() {
    let (disk, _) = chain(4);
    let truth = read_all(&disk).unwrap();
    let len = disk.file_len(FILE);
    let mut noticed = 0;
    let mut at = 0;
    while at < len {
        let copy = disk.fork();
        copy.flip(FILE, at, 0x40);
        match read_all(&copy) {
            Ok(found) => assert_eq!(found, truth, "byte {at}"),
            Err(_) => noticed += 1,
        }
        at += 97;
    }
    assert!(noticed > 0);
}

#[test]
fn a_block_after_which_others_vote_is_a_handover_and_others_are_none() {
    let (disk, _) = chain(3);
    let certificate = open(&disk).block(1).unwrap().unwrap().certificate;
    assert_eq!(open(&disk).handovers().unwrap(), []);
    let disk = MemoryDisk::default();
    let (state, _) = genesis(1, 0).state();
    let proposal = allod_state::Proposal {
        time_ms: START_MS + 5,
        proposer: Signer::public_key(&validator(0)),
        transactions: &[],
    };
    let mut executed = allod_state::execute(&state, &proposal).unwrap();
    executed.block.header.next_validators_hash = [1; 32];
    let store = open(&disk);
    store.commit(&mut executed, b"", &certificate).unwrap();
    store.flush().unwrap();
    drop(store);
    let kept = open(&disk).handovers().unwrap();
    let header = executed.block.header;
    let next = state.validators().clone();
    let handover = Handover {
        header,
        certificate,
        next,
    };
    assert_eq!(kept, [handover]);
}

/// Commits a block for each nonce.
fn commit(store: &Store, nonces: std::ops::Range<u64>) {
    let (mut state, _) = store.load().unwrap();
    for nonce in nonces {
        let verified = transfer(&genesis(1, 0), 0, nonce, 1).verify().unwrap();
        let proposal = allod_state::Proposal {
            time_ms: START_MS + 5 + nonce,
            proposer: Signer::public_key(&validator(0)),
            transactions: &[verified],
        };
        let mut executed = allod_state::execute(&state, &proposal).unwrap();
        state = executed.state.clone();
        let header = &executed.block.header;
        let certificate = Certificate {
            height: header.height,
            round: 0,
            block: header.id(),
            signatures: Vec::new(),
        };
        let bytes = executed.block.to_bytes();
        store.commit(&mut executed, &bytes, &certificate).unwrap();
        assert_eq!(store.load().unwrap().0.root(), state.root());
    }
}

/// All that a reader can ask for.
fn told(store: &Store) -> Vec<String> {
    let mut told = vec![
        format!("{:?}", store.tip().unwrap()),
        format!("{:?}", store.oldest_height().unwrap()),
        format!("{:?}", store.load().unwrap().0.tip()),
        format!("{:?}", store.snapshot(|_, _| Ok(())).unwrap()),
        format!("{:?}", store.blocks_from(2).unwrap()),
    ];
    for height in 1..=4 {
        let stored = store.block(height).unwrap().unwrap();
        let id = stored.block.transactions[0].body.id();
        told.push(format!("{stored:?} {:?}", store.outcome(height).unwrap()));
        told.push(format!("{:?}", store.receipt(&id).unwrap().unwrap()));
    }
    told
}

#[test]
fn what_waits_in_the_backlog_is_read_like_what_is_in_the_file() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    commit(&store, 0..2);
    assert_eq!(store.oldest_height().unwrap(), Some(1));
    store.database.write().unwrap();
    commit(&store, 2..4);
    let heights: Vec<u64> = store.database.backlog().iter().map(|e| e.height).collect();
    assert_eq!(heights, [3, 4], "the first two are in the file");
    let before = told(&store);
    // As in the moment between a write and the end of the backlog.
    let waiting = store.database.backlog().clone();
    store.database.write().unwrap();
    assert!(store.database.backlog().last().is_none());
    assert_eq!(told(&store), before);
    *store.database.backlog() = waiting;
    assert_eq!(told(&store), before, "the same blocks in both");
    store.database.backlog().forget_to(4);
    assert_eq!(store.database.backlog().bytes(), 0);
    drop(store);
    assert_eq!(told(&open(&disk)), before);
}

#[test]
fn a_backlog_is_bounded_and_goes_into_the_file_when_the_store_is_closed() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    commit(&store, 0..4);
    let before = told(&store);
    drop(store);
    let store = open(&disk);
    assert_eq!(told(&store), before);
    let mut large = store.database.backlog().clone();
    assert!(large.last().is_none());
    large.push(Entry {
        height: 4,
        block: vec![0; BACKLOG_BYTES_MAX],
        certificate: Vec::new(),
        outcome: Vec::new(),
        handover: None,
        tip: codec::encode(&store.tip().unwrap().unwrap()),
        ids: Vec::new(),
        rows: Vec::new(),
    });
    *store.database.backlog() = large;
    commit(&store, 4..5);
    assert!(store.database.backlog().last().is_none());
}

#[test]
fn changes_are_laid_over_rows() {
    let row = |key: u8, value: u8| (vec![key], vec![value]);
    let rows = [row(1, 1), row(3, 1), row(5, 1), row(7, 1)];
    let mut changes: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
    changes.insert(&[0], Some(&[2]));
    changes.insert(&[2], None);
    changes.insert(&[3], None);
    changes.insert(&[4], Some(&[2]));
    changes.insert(&[5], Some(&[2]));
    changes.insert(&[8], None);
    changes.insert(&[9], Some(&[2]));
    let found: Result<Vec<Row>, StoreError> = changed(rows.into_iter().map(Ok), changes).collect();
    let wanted = [
        row(0, 2),
        row(1, 1),
        row(4, 2),
        row(5, 2),
        row(7, 1),
        row(9, 2),
    ];
    assert_eq!(found.unwrap(), wanted);
}
