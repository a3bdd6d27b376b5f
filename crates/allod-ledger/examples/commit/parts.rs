//! The steps of a block, each timed alone on one thread.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allod_ledger::bft::Signer;
use allod_ledger::disk::RealDisk;
use allod_ledger::limits::{VERIFY_BATCH_MAX, WAL_FIRST_SEGMENT, WAL_PREPARED_BYTES};
use allod_ledger::mempool::Mempool;
use allod_ledger::store::Store;
use allod_ledger::wal::{Owner, Wal};
use allod_state::block::Block;
use allod_state::certificate::Certificate;
use allod_state::transaction::Verified;
use allod_state::{Proposal, Transaction, build};

use crate::network::{Network, now_ms};
use crate::{Failure, count};

const BLOCKS: usize = 20;
const PER_BLOCK: usize = 4_000;
/// Blocks of one, for what a block costs however little is in it.
const SINGLE_BLOCKS: usize = 500;

/// Sums of time by step, in the order of first use.
#[derive(Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    fn time<T>(&mut self, step: &'static str, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        let took = began.elapsed();
        match self.0.iter_mut().find(|(name, _)| *name == step) {
            Some((_, sum)) => *sum += took,
            None => self.0.push((step, took)),
        }
        result
    }

    fn print(&self, blocks: usize, per_block: usize) {
        println!("\n{blocks} blocks of {per_block}:");
        println!("{:34} {:>12} {:>16}", "step", "us/transfer", "us/block");
        let mut sum = 0.0;
        for (step, took) in &self.0 {
            let per = took.as_secs_f64() * 1e6 / count(blocks);
            sum += per;
            println!("{step:34} {:12.3} {per:16.1}", per / count(per_block));
        }
        let all = "all, one after the other";
        println!("{all:34} {:12.3} {sum:16.1}", sum / count(per_block));
    }
}

struct Bench {
    state: allod_state::State,
    mempool: Mempool,
    store: Store,
    wal: Wal,
    proposer: allod_state::PublicKey,
}

pub(crate) fn measure(folder: &Path) -> Result<(), Failure> {
    let mut network = Network::found();
    let disk = Arc::new(RealDisk::new(folder)?);
    let store = Store::open(&*disk, &network.genesis)?;
    let owner = Owner {
        network: network.genesis.network(),
        secret: network.validator().secret(),
    };
    let wal = Wal::create(disk, owner, WAL_FIRST_SEGMENT, WAL_PREPARED_BYTES)?;
    let mut bench = Bench {
        state: network.genesis.state().0,
        mempool: Mempool::default(),
        store,
        wal,
        proposer: network.validator().public_key(),
    };
    for (blocks, per_block) in [(SINGLE_BLOCKS, 1), (BLOCKS, PER_BLOCK)] {
        let mut times = Times::default();
        for _ in 0..blocks {
            bench.block(&mut times, network.transfers(per_block))?;
        }
        times.print(blocks, per_block);
    }
    Ok(())
}

impl Bench {
    fn block(&mut self, times: &mut Times, transfers: Vec<Transaction>) -> Result<(), Failure> {
        for transfer in &transfers {
            let id = transfer.body.id();
            times.time("submit: look for a receipt", || self.store.receipt(&id))?;
        }
        let mut verified = Vec::with_capacity(transfers.len());
        for batch in transfers.chunks(VERIFY_BATCH_MAX) {
            let batch = batch.to_vec();
            let batch = times.time("verify signatures, make ids", || Verified::batch(batch))?;
            verified.extend(batch);
        }
        let wall_ms = now_ms();
        for one in verified {
            times.time("mempool: offer", || {
                self.mempool.offer(&self.state, wall_ms, one)
            })?;
        }
        let count_max = transfers.len();
        let candidates = times.time("mempool: candidates", || {
            self.mempool.candidates(&self.state, count_max, usize::MAX)
        });
        if candidates.len() != count_max {
            return Err("the mempool does not give back what it took".into());
        }
        let proposal = Proposal {
            time_ms: wall_ms.max(self.state.tip().time_ms + 1),
            proposer: self.proposer,
            transactions: &candidates,
        };
        let (mut executed, left_out) = times.time("execute and hash the state", || {
            build(&self.state, &proposal)
        })?;
        if !left_out.is_empty() {
            return Err("the law left transfers out".into());
        }
        let bytes = times.time("encode the block", || executed.block.to_bytes());
        times.time("decode the block", || Block::from_bytes(&bytes))?;
        times.time("log: append", || self.wal.append(&bytes))?;
        times.time("log: sync", || self.wal.sync())?;
        let certificate = Certificate {
            height: executed.block.header.height,
            round: 0,
            block: executed.block.header.id(),
            signatures: Vec::new(),
        };
        times.time("store: commit", || {
            self.store.commit(&mut executed, &bytes, &certificate)
        })?;
        self.state = times.time("state: change", || executed.state.clone());
        times.time("mempool: settle", || {
            self.mempool.settle(&executed);
        });
        times.time("drop", || drop((executed, candidates)));
        Ok(())
    }
}
