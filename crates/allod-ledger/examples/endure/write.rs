//! The victim: the shipping chain, writers who want to be answered, and a line for all that leaves.

use std::fmt::Display;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use allod_ledger::Chain;
use allod_ledger::bft::Message;
use allod_ledger::chain::{Config, Outbound, SubmitError};
use allod_ledger::disk::{Disk, RealDisk};
use allod_ledger::mempool::Refusal;
use allod_ledger::replica::Commit;
use allod_state::Rejection;
use allod_state::certificate::VoteKind;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::Failure;
use crate::book::Book;
use crate::options::Options;
use crate::snapshots;
use crate::unsynced::Unsynced;

/// As many as `allod up` has.
const VERIFY_THREADS: usize = 2;
/// Transfers that each writer offers again when it starts, though they may be committed.
const REPEATED: u64 = 4;
/// How long a writer who was refused waits before it asks again.
const PATIENCE: Duration = Duration::from_millis(20);
const SNAPSHOT_EVERY: Duration = Duration::from_millis(250);

/// Prints a line in one piece; whoever reads ignores a piece of one.
fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: then nothing that happens here matters.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn disk_in(folder: &Path, options: &Options) -> std::io::Result<Arc<dyn Disk>> {
    Ok(match options.sync_bug {
        Some(bug) => Arc::new(Unsynced::new(folder, bug)?),
        None => Arc::new(RealDisk::new(folder)?),
    })
}

/// Writes until standard input closes; then stops cleanly.
pub(crate) fn run(book: Book, folder: &Path, options: &Options) -> Result<(), Failure> {
    let began = Instant::now();
    let config = Config {
        folder: folder.join("ledger"),
        settings: book.settings(options),
        verify_threads: VERIFY_THREADS,
        aborts_on_failure: true,
    };
    let disk = disk_in(&config.folder, options)?;
    let (chain, outbound, threads) = Chain::start_on(disk, config, book.validator())?;
    let commits = chain.subscribe();
    let height = chain.view().state.tip().height;
    say(format_args!(
        "ready {height} {}",
        began.elapsed().as_millis()
    ));

    let stop = AtomicBool::new(false);
    let kept_in = disk_in(&folder.join("snapshots"), options)?;
    std::thread::scope(|scope| {
        scope.spawn(|| tell_messages(outbound));
        scope.spawn(|| tell_commits(commits));
        let watched = chain.clone();
        scope.spawn(|| watch(watched, &*kept_in, &stop));
        for at in 0..book.accounts() {
            let (chain, book, stop) = (chain.clone(), &book, &stop);
            scope.spawn(move || write(&chain, book, at, options, stop));
        }
        // The end of standard input is the only thing that is waited for.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        if chain.shutdown().blocking_recv().is_ok() {
            say("stopped");
        }
        drop(chain);
        threads.join();
    });
    Ok(())
}

/// One writer: each transfer is offered until it is answered, and then the next.
fn write(chain: &Chain, book: &Book, at: usize, options: &Options, stop: &AtomicBool) {
    let mut nonce = book.nonce(&chain.view().state, at).saturating_sub(REPEATED);
    let end = nonce.saturating_add(options.transfers);
    let mut is_refused = false;
    while nonce < end && !stop.load(Ordering::Relaxed) {
        if options.tells_early {
            say(format_args!("a {at} {nonce} ? ?"));
        }
        let Ok(answer) = chain.submit(book.transaction(at, nonce)).blocking_recv() else {
            return;
        };
        match answer {
            Ok(committed) => {
                let (height, index) = (committed.height, committed.index);
                say(format_args!("a {at} {nonce} {height} {index}"));
                nonce += 1;
                is_refused = false;
            }
            Err(SubmitError::Stopped) => return,
            Err(error) => {
                let is_used = matches!(
                    error,
                    SubmitError::Refused(Refusal::Rejected(Rejection::WrongNonce { .. }))
                );
                if is_used && nonce < book.nonce(&chain.view().state, at) {
                    say(format_args!("stale {at} {nonce}"));
                    nonce += 1;
                    continue;
                }
                if !std::mem::replace(&mut is_refused, true) {
                    say(format_args!("r {at} {nonce} {error}"));
                }
                std::thread::sleep(PATIENCE);
            }
        }
    }
}

/// Prints every signature that leaves.
fn tell_messages(mut outbound: mpsc::Receiver<Outbound>) {
    while let Some(out) = outbound.blocking_recv() {
        let (kind, height, round, value) = match &*out.message {
            Message::Proposal(proposal, _) => {
                (0, proposal.height, proposal.round, Some(proposal.value))
            }
            Message::Vote(vote) => {
                let kind = match vote.kind {
                    VoteKind::Prevote => 1,
                    VoteKind::Precommit => 2,
                };
                (kind, vote.height, vote.round, vote.value)
            }
            _ => continue,
        };
        let value = value.map_or("-".to_owned(), |value| value.to_string());
        say(format_args!("s {kind} {height} {round} {value}"));
    }
}

/// Prints every block that is told as committed.
fn tell_commits(mut commits: broadcast::Receiver<Arc<Commit>>) {
    loop {
        match commits.blocking_recv() {
            Ok(commit) => {
                let header = &commit.header;
                let (height, time_ms) = (header.height, header.time_ms);
                say(format_args!("b {height} {time_ms} {}", header.id()));
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Takes snapshots, and prints when the disk is full and when it no longer is.
fn watch(chain: Chain, kept_in: &dyn Disk, stop: &AtomicBool) {
    let mut was_full = false;
    while !stop.load(Ordering::Relaxed) {
        let is_full = chain.view().is_read_only;
        if is_full != was_full {
            say(if is_full { "full" } else { "room" });
            was_full = is_full;
        }
        if !is_full {
            match snapshots::take(&chain, kept_in) {
                Ok(Some(height)) => say(format_args!("m {height}")),
                Ok(None) => {}
                Err(error) => say(format_args!("x {error}")),
            }
        }
        std::thread::sleep(SNAPSHOT_EVERY);
    }
}
