//! The real threads on a real folder.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::replica::tests::world::{self, Key, owner};
use allod_state::Rejection;
use allod_state::genesis::Genesis;

fn genesis_now(validators: usize) -> Genesis {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let time_ms = u64::try_from(now.as_millis()).unwrap() - 1_000;
    Genesis {
        time_ms,
        ..world::genesis(validators, 0)
    }
}

fn start(
    folder: &Path,
    genesis: &Genesis,
    at: usize,
) -> (Chain, mpsc::Receiver<Outbound>, Threads) {
    let config = Config {
        folder: folder.to_path_buf(),
        settings: world::settings(genesis.clone()),
        verify_threads: 1,
        aborts_on_failure: false,
    };
    Chain::start(config, world::validator(at)).unwrap()
}

fn transfer(genesis: &Genesis, from: usize, nonce: u64) -> Transaction {
    let mut transaction = world::transfer(genesis, from, nonce, 1);
    transaction.body.expires_ms = genesis.time_ms + 600_000;
    let key: Key = owner(from);
    transaction.signature = key.sign(&transaction.body.sign_bytes());
    transaction
}

#[test]
fn a_submitted_transfer_is_committed_and_found_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(1);
    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    let mut commits = chain.subscribe();
    let transaction = transfer(&genesis, 0, 0);
    let committed = chain
        .submit(transaction.clone())
        .blocking_recv()
        .unwrap()
        .unwrap();
    assert_eq!(committed.receipt.outcome, Ok(()));
    let commit = commits.blocking_recv().unwrap();
    assert_eq!(commit.header.height, committed.height);
    let again = chain
        .submit(transaction.clone())
        .blocking_recv()
        .unwrap()
        .unwrap();
    assert_eq!(again, committed);
    let root = chain.view().state.root();
    chain.shutdown().blocking_recv().unwrap();
    drop(chain);
    threads.join();

    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    assert_eq!(chain.view().state.root(), root);
    assert_eq!(
        chain.receipt(&transaction.body.id()).unwrap(),
        Some(committed.clone())
    );
    let block = chain.block(committed.height).unwrap().unwrap();
    assert_eq!(block.block.transactions, [transaction.into()]);
    chain.shutdown().blocking_recv().unwrap();
    drop(chain);
    threads.join();
}

#[test]
fn many_at_once_share_blocks_and_all_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(1);
    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    let mut answers = Vec::new();
    for nonce in 0..100 {
        for from in 0..4 {
            answers.push(chain.submit(transfer(&genesis, from, nonce)));
        }
    }
    for answer in answers {
        answer.blocking_recv().unwrap().unwrap();
    }
    let height = chain.tip().unwrap().header.height;
    assert!(height < 400, "every transaction had a block of its own");
    drop(chain);
    threads.join();
}

/// Whoever is told of a transaction may not hear it, as while a link is being opened.
#[test]
fn what_waits_is_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(4);
    let (chain, mut outbound, threads) = start(folder.path(), &genesis, 0);
    let transaction = transfer(&genesis, 0, 0);
    let _answer = chain.submit(transaction.clone());
    let mut told = 0;
    while told < 3 {
        let said = outbound.blocking_recv().unwrap();
        if let Message::Transactions(transactions) = &*said.message {
            assert_eq!(*transactions, [transaction.to_bytes()]);
            told += 1;
        }
    }
    drop(chain);
    threads.join();
}

#[test]
fn a_false_signature_is_named_and_harms_nobody_in_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(1);
    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    let good = chain.submit(transfer(&genesis, 0, 0));
    let mut forged = transfer(&genesis, 1, 0);
    forged.body.nonce = 7;
    let refused = chain.submit(forged).blocking_recv().unwrap();
    assert_eq!(refused, Err(SubmitError::BadSignature));
    good.blocking_recv().unwrap().unwrap();
    drop(chain);
    threads.join();
}

#[test]
fn a_stranger_is_refused_before_any_work_and_this_machine_has_a_way_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(1);
    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    let mut unknown = transfer(&genesis, 0, 0);
    unknown.body.key = Key::new(9, 77).public_key();
    let refused = chain.submit(unknown).blocking_recv().unwrap();
    let unknown = Refusal::Rejected(Rejection::UnknownKey);
    assert_eq!(
        refused,
        Err(SubmitError::Refused(unknown)),
        "not even its signature was checked"
    );
    // Nobody verifies any more, and nothing enters the queue of those who want that.
    let (jobs, _kept) = std::sync::mpsc::sync_channel(0);
    let flooded = Chain {
        verifiers: jobs,
        ..chain.clone()
    };
    let busy = flooded.submit(transfer(&genesis, 0, 0)).blocking_recv();
    assert!(matches!(busy.unwrap(), Err(SubmitError::Busy { .. })));
    let own = transfer(&genesis, 0, 0).verify().unwrap();
    let committed = flooded.submit_own(own).blocking_recv().unwrap().unwrap();
    assert_eq!(committed.receipt.outcome, Ok(()));
    drop((chain, flooded));
    threads.join();
}

#[test]
fn the_first_transaction_of_a_new_account_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(1);
    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    // The last founder pays somebody who is new.
    for from in [7, 8] {
        let answer = chain.submit(transfer(&genesis, from, 0)).blocking_recv();
        assert_eq!(answer.unwrap().unwrap().receipt.outcome, Ok(()));
    }
    drop(chain);
    threads.join();
}

#[test]
fn a_used_nonce_is_refused_with_the_laws_reason() {
    let folder = tempfile::tempdir().unwrap();
    let genesis = genesis_now(1);
    let (chain, _outbound, threads) = start(folder.path(), &genesis, 0);
    chain
        .submit(transfer(&genesis, 0, 0))
        .blocking_recv()
        .unwrap()
        .unwrap();
    let mut other = transfer(&genesis, 0, 0);
    other.body.work_limit = 999;
    other.signature = owner(0).sign(&other.body.sign_bytes());
    let refused = chain.submit(other).blocking_recv().unwrap();
    let is_nonce = matches!(
        refused,
        Err(SubmitError::Refused(Refusal::Rejected(
            allod_state::Rejection::WrongNonce { .. }
        )))
    );
    assert!(is_nonce, "{refused:?}");
    drop(chain);
    threads.join();
}

/// One carrier thread per chain; it ends when its chain has ended.
fn carry(
    chains: &[Chain],
    outbounds: Vec<mpsc::Receiver<Outbound>>,
) -> Vec<std::thread::JoinHandle<()>> {
    let others = |from: usize| -> Vec<(usize, Chain)> {
        chains
            .iter()
            .cloned()
            .enumerate()
            .filter(|(at, _)| *at != from)
            .collect()
    };
    let outbounds = outbounds.into_iter().enumerate();
    outbounds
        .map(|(from, mut outbound)| {
            let to = others(from);
            let me = chains[from].clone();
            std::thread::spawn(move || {
                let mut name = [0; 32];
                name[0] = u8::try_from(from).unwrap();
                while let Some(Outbound {
                    to: target,
                    message,
                }) = outbound.blocking_recv()
                {
                    let bytes = message.encode();
                    let read = || Message::decode(&bytes).unwrap();
                    for (at, chain) in &to {
                        let is_for = match target {
                            To::All => true,
                            To::One(peer) => usize::from(peer.0[0]) == *at,
                        };
                        if !is_for {
                            continue;
                        }
                        // The answer goes back the way the question came.
                        if let Ok(Some(answer)) = chain.receive(Peer(name), read()) {
                            let mut back = [0; 32];
                            back[0] = u8::try_from(*at).unwrap();
                            let _ = me.receive(Peer(back), answer);
                        }
                    }
                }
            })
        })
        .collect()
}

#[test]
fn four_chains_agree_over_channels() {
    let genesis = genesis_now(4);
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut chains = Vec::new();
    let mut outbounds = Vec::new();
    let mut all_threads = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        let (chain, outbound, threads) = start(folder.path(), &genesis, at);
        chains.push(chain);
        outbounds.push(outbound);
        all_threads.push(threads);
    }
    let carriers = carry(&chains, outbounds);
    for nonce in 0..10 {
        let at = usize::try_from(nonce % 4).unwrap();
        let committed = chains[at].submit(transfer(&genesis, at, nonce / 4));
        committed.blocking_recv().unwrap().unwrap();
    }
    let height = chains[0].tip().unwrap().header.height;
    let end = Instant::now() + Duration::from_secs(20);
    while chains
        .iter()
        .any(|chain| chain.tip().is_none_or(|tip| tip.header.height < height))
    {
        assert!(
            Instant::now() < end,
            "not all chains came to height {height}"
        );
        std::thread::yield_now();
    }
    for at in 1..=height {
        let ids: Vec<_> = chains
            .iter()
            .map(|chain| chain.block(at).unwrap().unwrap().certificate.block)
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
    }
    for chain in &chains {
        chain.shutdown().blocking_recv().unwrap();
    }
    drop(chains);
    for carrier in carriers {
        carrier.join().unwrap();
    }
    all_threads.into_iter().for_each(Threads::join);
}

#[test]
fn nothing_is_acknowledged_after_the_disk_has_failed() {
    let disk = crate::disk::MemoryDisk::default();
    let genesis = genesis_now(1);
    let config = Config {
        folder: "unused".into(),
        settings: world::settings(genesis.clone()),
        verify_threads: 1,
        aborts_on_failure: false,
    };
    let disk_of_chain = Arc::new(disk.clone());
    let (chain, _outbound, threads) =
        Chain::start_on(disk_of_chain, config, world::validator(0)).unwrap();
    chain
        .submit(transfer(&genesis, 0, 0))
        .blocking_recv()
        .unwrap()
        .unwrap();
    let height = chain.tip().unwrap().header.height;
    disk.fail_sync_after(0);
    assert!(
        chain
            .submit(transfer(&genesis, 0, 1))
            .blocking_recv()
            .is_err()
    );
    assert_eq!(chain.tip().unwrap().header.height, height);
    drop(chain);
    threads.join();
}
