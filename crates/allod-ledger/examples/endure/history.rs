//! A long history, how long a start takes where there is one, and how long it takes to execute it again.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allod_ledger::Chain;
use allod_ledger::chain::{Answer, Config, Threads};
use allod_ledger::disk::RealDisk;
use allod_ledger::replica::{Replica, Settings};
use allod_state::transaction::Verified;

use crate::Failure;
use crate::book::{Book, clock};

/// Transfers under way at a time.
const UNDER_WAY: usize = 8_000;
/// As many as `allod up` has.
const VERIFY_THREADS: usize = 2;

/// The chain with the settings that ship.
fn start(book: &Book, folder: &Path) -> Result<(Chain, Threads), Failure> {
    let config = Config {
        folder: folder.join("ledger"),
        settings: Settings::new(book.genesis.clone(), true, [0; 32]),
        verify_threads: VERIFY_THREADS,
        aborts_on_failure: true,
    };
    let (chain, _outbound, threads) = Chain::start(config, book.validator())?;
    Ok((chain, threads))
}

/// Commits so many transfers, and dies as a killed process does.
pub(crate) fn make(book: &Book, folder: &Path, count: usize) -> Result<(), Failure> {
    let (chain, _threads) = start(book, folder)?;
    let began = Instant::now();
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for number in 0..count {
        if under_way.len() == UNDER_WAY {
            under_way.pop_front().map_or(Ok(()), committed)?;
        }
        let (at, nonce) = (number % book.accounts(), number / book.accounts());
        let transaction = book.transaction(at, u64::try_from(nonce)?);
        under_way.push_back(chain.submit(transaction));
    }
    under_way.into_iter().try_for_each(committed)?;
    println!(
        "{{\"transfers\":{count},\"blocks\":{},\"seconds\":{:.3}}}",
        chain.view().state.tip().height,
        began.elapsed().as_secs_f64()
    );
    std::process::abort();
}

/// Starts the chain, commits one more transfer, and stops cleanly.
pub(crate) fn open(book: &Book, folder: &Path) -> Result<(), Failure> {
    let began = Instant::now();
    let (chain, threads) = start(book, folder)?;
    let opened = began.elapsed().as_secs_f64();
    let nonce = book.nonce(&chain.view().state, 0);
    committed(chain.submit(book.transaction(0, nonce)))?;
    let answered = began.elapsed().as_secs_f64();
    let height = chain.view().state.tip().height;
    println!(
        "{{\"height\":{height},\"open_seconds\":{opened:.4},\"answer_seconds\":{answered:.4}}}"
    );
    chain.shutdown().blocking_recv()?;
    drop(chain);
    threads.join();
    Ok(())
}

/// Executes every block in the store again, from genesis on, and demands the root that the store has.
pub(crate) fn replay(book: &Book, folder: &Path) -> Result<(), Failure> {
    let disk = Arc::new(RealDisk::new(&folder.join("ledger"))?);
    let settings = Settings::new(book.genesis.clone(), true, [0; 32]);
    let replica = Replica::open(disk, book.validator(), settings, clock())?;
    let (mut state, _) = book.genesis.state();
    let (mut reading, mut verifying, mut executing) = <(Duration, Duration, Duration)>::default();
    let mut transactions = 0;
    for height in 1..=replica.state().tip().height {
        let began = Instant::now();
        let stored = replica.store().block(height)?;
        let block = stored.ok_or(format!("block {height} is not there"))?.block;
        reading += began.elapsed();
        let began = Instant::now();
        let verified = Verified::batch(block.transactions)?;
        verifying += began.elapsed();
        let began = Instant::now();
        state = allod_state::check(&state, &block.header, &verified)?.state;
        executing += began.elapsed();
        transactions += verified.len();
    }
    if state.root() != replica.state().root() {
        return Err("executing it again gives another state".into());
    }
    println!(
        "{{\"transactions\":{transactions},\"blocks\":{},\"read_seconds\":{:.3},\"verify_seconds\":{:.3},\"execute_seconds\":{:.3}}}",
        state.tip().height,
        reading.as_secs_f64(),
        verifying.as_secs_f64(),
        executing.as_secs_f64()
    );
    Ok(())
}

fn committed(answer: Answer) -> Result<(), Failure> {
    Ok(answer.blocking_recv()??.receipt.outcome?)
}
