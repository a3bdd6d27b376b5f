//! One member that lies, one that dawdles, and one that gives the snapshot.

use std::sync::Mutex;
use std::time::Duration;

use allod_ledger::Chain;
use allod_ledger::chain::Config;
use allod_ledger::replica::Settings;
use allod_state::BlockId;
use tempfile::TempDir;

use super::*;
use crate::carrier::tests::{genesis, transfer, validator};
use crate::invite::Greeter;

const FALSE: PeerKey = PeerKey([1; 32]);
const HONEST: PeerKey = PeerKey([2; 32]);
/// A little less than a question may take.
const NEARLY_TOO_LONG: Duration = Duration::from_secs(19);

type Chunks = BTreeMap<Digest, Vec<u8>>;

/// A snapshot of a chain of one block.
async fn snapshot() -> (Genesis, Manifest, Chunks) {
    let (folder, genesis) = (TempDir::new().unwrap(), genesis(1));
    let config = Config {
        folder: folder.path().to_owned(),
        settings: Settings::new(genesis.clone(), true, [0; 32]),
        verify_threads: 1,
        aborts_on_failure: false,
    };
    let (chain, _said, threads) = Chain::start(config, validator(0)).unwrap();
    chain.submit(transfer(&genesis, 0)).await.unwrap().unwrap();
    let mut chunks = Chunks::new();
    let manifest = chain.snapshot(|digest, bytes| {
        chunks.insert(digest, bytes.to_vec());
        Ok(())
    });
    drop(chain);
    threads.join();
    (genesis, manifest.unwrap(), chunks)
}

fn greeters() -> Greeters {
    let greeter = |key: PeerKey| Greeter {
        key: key.0,
        addresses: Vec::new(),
        relays: Vec::new(),
    };
    Greeters::of(&Entrance {
        height: 0,
        block: BlockId([0; 32]),
        members: vec![greeter(FALSE), greeter(HONEST)],
    })
}

/// Asks the false one first, whose snapshot has these chunks, given after so long. Tells how long it took, and whom was asked how
/// often for a chunk.
async fn fetched(lies: &[Vec<u8>], after: Duration) -> (Duration, BTreeMap<PeerKey, usize>) {
    let (genesis, manifest, chunks) = snapshot().await;
    let lies: Vec<(Digest, Vec<u8>)> = lies
        .iter()
        .map(|chunk| (Digest::of(chunk), chunk.clone()))
        .collect();
    let lie = Manifest {
        chunks: lies.iter().map(|(digest, _)| *digest).collect(),
        ..manifest.clone()
    };
    let offered = BTreeMap::from([(FALSE, lie), (HONEST, manifest.clone())]);
    let given = BTreeMap::from([(FALSE, lies.into_iter().collect()), (HONEST, chunks)]);
    let asked = Mutex::new(BTreeMap::new());
    let ask = |member: PeerKey, question: Question| {
        let answer = match question {
            Question::Snapshot(_) => {
                Answer::Snapshot(Some((codec::encode(&offered[&member]), None)))
            }
            Question::Chunk(digest) => {
                *asked.lock().unwrap().entry(member).or_default() += 1;
                let chunks: &Chunks = &given[&member];
                Answer::Chunk(chunks.get(&digest).cloned())
            }
            _ => unreachable!("nothing else is asked"),
        };
        let is_late = member == FALSE && matches!(answer, Answer::Chunk(_));
        async move {
            if is_late {
                tokio::time::sleep(after).await;
            }
            Ok(answer)
        }
    };
    tokio::time::pause();
    let began = Instant::now();
    let known = Anchor {
        height: 0,
        block: BlockId([0; 32]),
        header: None,
    };
    let fetched = fetch(ask, &greeters(), &genesis, &known).await;
    let fetched = fetched.expect("nobody gives it");
    assert_eq!(fetched.0.height(), manifest.header.height);
    (began.elapsed(), asked.into_inner().unwrap())
}

#[tokio::test]
async fn rows_that_are_not_the_state_are_asked_of_the_next_member() {
    let no_rows = codec::encode(&Vec::<(Vec<u8>, Vec<u8>)>::new());
    let (_, asked) = fetched(&[no_rows], Duration::ZERO).await;
    assert_eq!(asked[&FALSE], 1);
    assert!(asked[&HONEST] > 0);
}

#[tokio::test]
async fn a_member_that_gives_next_to_nothing_at_a_time_is_left() {
    let crumbs: Vec<Vec<u8>> = (0..400_u16).map(|at| at.to_le_bytes().to_vec()).collect();
    let (took, asked) = fetched(&crumbs, NEARLY_TOO_LONG).await;
    assert!(took < SNAPSHOT_PERIOD * 2, "{took:?}");
    assert!(asked[&FALSE] < 20 && asked[&HONEST] > 0);
}
