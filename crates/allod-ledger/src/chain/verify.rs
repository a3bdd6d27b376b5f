//! Threads that check signatures, in batches, before the replica sees a transaction.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use allod_state::Transaction;
use allod_state::key::KnownKeys;
use allod_state::transaction::Verified;
use tokio::sync::oneshot;

use super::driver::{Inbound, Offer};
use super::{Committed, SubmitError};
use crate::limits::{VERIFY_BATCH_MAX, VERIFY_SPLIT};

/// A transaction whose signature is to be checked.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) transaction: Arc<Transaction>,
    /// Who waits for it; nobody where it came by gossip.
    pub(super) answer: Option<oneshot::Sender<Result<Committed, SubmitError>>>,
}

impl Job {
    /// Tells the sender no. Whoever has stopped waiting does not mind.
    pub(super) fn refuse(self, error: SubmitError) {
        if let Some(answer) = self.answer {
            let _ = answer.send(Err(error));
        }
    }
}

pub(super) struct Verifiers;

impl Verifiers {
    pub(super) fn start(
        jobs: Receiver<Job>,
        inbox: SyncSender<Inbound>,
        count: usize,
    ) -> std::io::Result<Vec<JoinHandle<()>>> {
        let jobs = Arc::new(Mutex::new(jobs));
        (0..count.max(1))
            .map(|index| {
                let (jobs, inbox) = (Arc::clone(&jobs), inbox.clone());
                let thread = std::thread::Builder::new().name(format!("verify-{index}"));
                thread.spawn(move || run(&jobs, &inbox))
            })
            .collect()
    }
}

fn run(jobs: &Mutex<Receiver<Job>>, inbox: &SyncSender<Inbound>) {
    let mut keys = KnownKeys::default();
    while let Some(batch) = next_batch(jobs) {
        let offers = verify(&mut keys, batch);
        if !offers.is_empty() && inbox.send(Inbound::Offers(offers)).is_err() {
            return;
        }
    }
}

/// Waits for one job and takes what else is there; nothing when all handles are gone.
fn next_batch(jobs: &Mutex<Receiver<Job>>) -> Option<Vec<Job>> {
    let jobs = jobs
        .lock()
        .expect("no code panics while it holds the queue");
    let mut batch = vec![jobs.recv().ok()?];
    while batch.len() < VERIFY_BATCH_MAX {
        match jobs.try_recv() {
            Ok(job) => batch.push(job),
            Err(_) => break,
        }
    }
    Some(batch)
}

/// Checks a batch together; where it fails, in smaller and smaller parts, to find the false ones.
/// One alone is checked by itself, which is cheaper than a batch of one.
fn verify(keys: &mut KnownKeys, batch: Vec<Job>) -> Vec<Offer> {
    let mut offers = Vec::with_capacity(batch.len());
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        if part.len() <= 1 {
            offers.extend(part.into_iter().filter_map(verify_one));
            continue;
        }
        let transactions = part.iter().map(|job| Arc::clone(&job.transaction));
        if let Ok(verified) = Verified::batch_knowing(keys, transactions.collect()) {
            let answers = part.into_iter().map(|job| job.answer);
            let good = verified.into_iter().zip(answers);
            offers.extend(good.map(|(verified, answer)| Offer { verified, answer }));
            continue;
        }
        // What came first is looked at first: a key's transactions stay in their order.
        let size = part.len().div_ceil(VERIFY_SPLIT);
        let starts: Vec<usize> = (0..part.len()).step_by(size).collect();
        parts.extend(starts.into_iter().rev().map(|start| part.split_off(start)));
    }
    offers
}

fn verify_one(job: Job) -> Option<Offer> {
    match Verified::one(Arc::clone(&job.transaction)) {
        Ok(verified) => Some(Offer {
            verified,
            answer: job.answer,
        }),
        Err(_) => {
            job.refuse(SubmitError::BadSignature);
            None
        }
    }
}

#[cfg(test)]
mod tests;
