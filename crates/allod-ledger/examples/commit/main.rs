//! What a commit costs on a quorum of one: the shipping chain on a real folder, synced, with the real
//! law, every signature verified.
//!
//! `commit [<folder>]` measures, one after the other, how long single transfers take (each waits for
//! the one before) and how many a second are committed when thousands are under way. Its last line
//! is one JSON object, for `bench/run.py`: `{"latency_seconds":[...],"transfers_per_second":X}`.
//!
//! `commit parts [<folder>]` measures the steps of a block alone, one after the other, on one thread:
//! where the time goes when a chain is slower than wished.
//!
//! The folder is where the data lies; without one, a new folder under the system's temporary folder,
//! which must not be in memory if the figures are to mean anything. What is written there is removed.

mod network;
mod parts;

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use allod_ledger::chain::{Answer, Chain, Config, Threads};
use allod_ledger::replica::Settings;
use allod_state::Transaction;

use network::Network;

/// Single transfers, each after the one before.
const SINGLE: usize = 2_000;
/// Single transfers before them, which are not counted.
const WARM_UP: usize = 100;
/// Transfers with many under way.
const SUSTAINED: usize = 120_000;
/// How many of them are under way at a time.
const UNDER_WAY: usize = 8_000;
/// As many as `allod up` has.
const VERIFY_THREADS: usize = 2;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    let is_parts = words.next_if(|word| word == "parts").is_some();
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("allod-commit-");
    let folder = match words.next() {
        Some(folder) => builder.tempdir_in(folder),
        None => builder.tempdir(),
    };
    let measured = folder.map_err(Failure::from).and_then(|folder| {
        if is_parts {
            parts::measure(folder.path())
        } else {
            measure(folder.path())
        }
    });
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("commit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(folder: &Path) -> Result<(), Failure> {
    let mut network = Network::found();
    let (chain, threads) = start(&network, folder)?;
    let seconds = one_by_one(&chain, network.transfers(WARM_UP + SINGLE))?;
    let seconds = &seconds[WARM_UP..];

    let transfers = network.transfers(SUSTAINED);
    let before = chain.view().state.tip().height;
    let began = Instant::now();
    many_under_way(&chain, transfers)?;
    let took = began.elapsed().as_secs_f64();
    let blocks = chain.view().state.tip().height - before;
    let per_second = count(SUSTAINED) / took;
    println!("{SUSTAINED} transfers in {took:.3} s, {UNDER_WAY} under way, {blocks} blocks");

    if chain.shutdown().blocking_recv().is_err() {
        return Err("the ledger did not stop cleanly".into());
    }
    drop(chain);
    threads.join();

    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted[(sorted.len() * share / 100).min(sorted.len() - 1)] * 1_000.0;
    let (middle, high) = (at(50), at(99));
    println!("{SINGLE} single transfers: p50 {middle:.3} ms, p99 {high:.3} ms");
    let listed: Vec<String> = seconds.iter().map(|one| format!("{one:.7}")).collect();
    let listed = listed.join(",");
    println!("{{\"latency_seconds\":[{listed}],\"transfers_per_second\":{per_second:.1}}}");
    Ok(())
}

fn start(network: &Network, folder: &Path) -> Result<(Chain, Threads), Failure> {
    let config = Config {
        folder: folder.to_owned(),
        settings: Settings::new(network.genesis.clone(), true, [0; 32]),
        verify_threads: VERIFY_THREADS,
        aborts_on_failure: false,
    };
    // Nobody is there to take a message, as on every network of one.
    let (chain, _outbound, threads) = Chain::start(config, network.validator())?;
    Ok((chain, threads))
}

fn one_by_one(chain: &Chain, transfers: Vec<Transaction>) -> Result<Vec<f64>, Failure> {
    let mut seconds = Vec::with_capacity(transfers.len());
    for transfer in transfers {
        let began = Instant::now();
        let answer = chain.submit(transfer);
        committed(answer)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

fn many_under_way(chain: &Chain, transfers: Vec<Transaction>) -> Result<(), Failure> {
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for transfer in transfers {
        if under_way.len() == UNDER_WAY {
            under_way.pop_front().map_or(Ok(()), committed)?;
        }
        under_way.push_back(chain.submit(transfer));
    }
    under_way.into_iter().try_for_each(committed)
}

/// Waits for an answer; anything but a committed and executed transfer ends the measurement.
fn committed(answer: Answer) -> Result<(), Failure> {
    let committed = answer.blocking_recv()??;
    Ok(committed.receipt.outcome?)
}

fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::INFINITY, f64::from)
}
