//! The thread that owns the replica: takes what has come, steps, tells what came of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use allod_state::transaction::Verified;
use allod_state::{Rejection, Transaction, TransactionId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{Committed, Outbound, SubmitError, View};
use crate::bft::{Equivocation, Message, Peer, Signer, Voted};
use crate::limits::{
    ANSWERS_PER_TRANSACTION_MAX, GOSSIP_BYTES_MAX, OWN_OFFERS_MAX, RETELL_MS, RETRY_AFTER_MS,
    STEP_INPUTS_MAX, TRANSACTIONS_PER_MESSAGE_MAX,
};
use crate::mempool::{Admitted, Refusal};
use crate::replica::{Clock, Commit, Input, Output, Replica, ReplicaError, To};
use crate::store::Tip;

/// A verified transaction and who waits for it.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) verified: Verified,
    pub(super) answer: Option<oneshot::Sender<Result<Committed, SubmitError>>>,
}

/// What comes to the thread.
#[derive(Debug)]
pub(super) enum Inbound {
    Message(Peer, Message),
    Offers(Vec<Offer>),
    /// There is an own offer.
    Wake,
    Shutdown(oneshot::Sender<()>),
}

type Answers = Vec<oneshot::Sender<Result<Committed, SubmitError>>>;

pub(super) struct Driver<S> {
    pub(super) replica: Replica<S>,
    pub(super) inbound: Receiver<Inbound>,
    pub(super) own: Receiver<Offer>,
    pub(super) outbox: mpsc::Sender<Outbound>,
    pub(super) commits: broadcast::Sender<Arc<Commit>>,
    pub(super) conflicts: broadcast::Sender<Equivocation>,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) voted: watch::Sender<Option<Voted>>,
    pub(super) steady: Instant,
    pub(super) waiting: HashMap<TransactionId, Answers>,
    pub(super) retelling: Retelling,
    pub(super) aborts_on_failure: bool,
}

/// What is told again: a message may be lost, and a transaction that no proposer knows waits until it expires.
#[derive(Debug, Default)]
pub(super) struct Retelling {
    /// When it was looked last, by the steady clock.
    looked_ms: u64,
    /// What waited then.
    waited: BTreeSet<TransactionId>,
}

/// Both clocks, now.
pub(super) fn clock(steady: Instant) -> Clock {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // A clock before 1970 gives block times just above the parent's, which the law allows.
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms);
    Clock {
        steady_ms: ms(steady.elapsed()),
        wall_ms,
    }
}

/// What a reader sees of the replica.
pub(super) fn view<S: Signer>(replica: &Replica<S>, tip: Option<Tip>) -> View {
    View {
        state: replica.state().clone(),
        tip,
        is_voting: replica.is_voting(),
        quarantine: replica.quarantine(),
        is_read_only: replica.is_read_only(),
        is_halted: replica.is_halted(),
        waiting: replica.waiting(),
    }
}

/// A process whose ledger thread has panicked must not go on answering as if nothing had happened.
struct PanicEndsProcess(bool);

impl Drop for PanicEndsProcess {
    fn drop(&mut self) {
        if self.0 && std::thread::panicking() {
            tracing::error!("the ledger thread panicked; the process ends and starts again");
            std::process::abort();
        }
    }
}

impl<S: Signer> Driver<S> {
    pub(super) fn run(mut self) {
        let aborts = self.aborts_on_failure;
        let _guard = PanicEndsProcess(aborts);
        let ended = self.work();
        let closed = ended.and_then(|done| {
            self.replica.close()?;
            Ok(done)
        });
        match closed {
            Ok(Some(done)) => drop(done.send(())),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the ledger cannot go on; the process ends and starts again");
                if aborts {
                    std::process::abort();
                }
            }
        }
    }

    /// Works until told to stop or all handles are gone.
    fn work(&mut self) -> Result<Option<oneshot::Sender<()>>, ReplicaError> {
        self.step(Input::Tick)?;
        loop {
            let now_ms = clock(self.steady).steady_ms;
            self.tell_again(now_ms);
            let wait = self.replica.deadline_ms().saturating_sub(now_ms);
            let wait = if self.waiting.is_empty() {
                wait
            } else {
                wait.min(RETELL_MS)
            };
            let first = match self.inbound.recv_timeout(Duration::from_millis(wait)) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.step(Input::Tick)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            let mut offers = Vec::new();
            let mut next = Some(first);
            let mut taken: usize = 0;
            while let Some(inbound) = next {
                match inbound {
                    Inbound::Message(peer, message) => {
                        self.step(Input::Message(peer, message))?;
                    }
                    Inbound::Offers(more) => offers.extend(more),
                    Inbound::Wake => {}
                    Inbound::Shutdown(done) => return Ok(Some(done)),
                }
                taken = taken.saturating_add(1);
                next = if taken < STEP_INPUTS_MAX {
                    self.inbound.try_recv().ok()
                } else {
                    None
                };
            }
            // What this machine has to say goes first.
            let mut own: Vec<Offer> = self.own.try_iter().take(OWN_OFFERS_MAX).collect();
            own.append(&mut offers);
            if !own.is_empty() {
                self.offer(own)?;
            }
        }
    }

    /// Gives the replica what was submitted and tells the other ledgers of it, where another one
    /// might propose it.
    fn offer(&mut self, offers: Vec<Offer>) -> Result<(), ReplicaError> {
        let is_told = !self.replica.is_sole_voter();
        let mut gossip = Vec::new();
        let mut transactions = Vec::with_capacity(offers.len());
        let mut ids = Vec::with_capacity(offers.len());
        for Offer { verified, answer } in offers {
            let id = verified.id();
            if let Some(answer) = answer {
                // What came by gossip went to everyone already.
                if is_told {
                    gossip.push(verified.transaction().to_bytes());
                }
                let answers = self.waiting.entry(id).or_default();
                if answers.len() < ANSWERS_PER_TRANSACTION_MAX {
                    answers.push(answer);
                }
            }
            ids.push(id);
            transactions.push(verified);
        }
        self.gossip(gossip);
        let mut output = Output::default();
        let clock = clock(self.steady);
        let result = self
            .replica
            .step(clock, Input::Offer(transactions), &mut output);
        for (id, answer) in ids.iter().zip(std::mem::take(&mut output.offers)) {
            match answer {
                Ok(Admitted::New | Admitted::Known) => {}
                Err(refusal) => self.refused(id, refusal),
            }
        }
        self.tell(output);
        result
    }

    /// Tells the others again what was submitted here and has waited for as long as two looks.
    fn tell_again(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.retelling.looked_ms) < RETELL_MS {
            return;
        }
        self.retelling.looked_ms = now_ms;
        let waiting: BTreeSet<TransactionId> = self.waiting.keys().copied().collect();
        let before = std::mem::replace(&mut self.retelling.waited, waiting);
        if self.replica.is_sole_voter() {
            return;
        }
        let still = before.iter().filter(|id| self.waiting.contains_key(*id));
        let still = still.filter_map(|id| self.replica.waiting_transaction(id));
        let still = still.take(TRANSACTIONS_PER_MESSAGE_MAX);
        self.gossip(still.map(Transaction::to_bytes).collect());
    }

    fn gossip(&self, transactions: Vec<Vec<u8>>) {
        let mut batch = Vec::new();
        let mut bytes: usize = 0;
        for transaction in transactions {
            bytes = bytes.saturating_add(transaction.len());
            batch.push(transaction);
            if bytes >= GOSSIP_BYTES_MAX || batch.len() >= TRANSACTIONS_PER_MESSAGE_MAX {
                self.send(To::All, Message::Transactions(std::mem::take(&mut batch)));
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.send(To::All, Message::Transactions(batch));
        }
    }

    fn send(&self, to: To, message: Message) {
        let outbound = Outbound {
            to,
            message: Arc::new(message),
        };
        // Agreement says everything again that matters, so a full outbox loses time, not safety.
        if self.outbox.try_send(outbound).is_err() {
            tracing::trace!("nobody carries the ledger's messages fast enough");
        }
    }

    fn step(&mut self, input: Input) -> Result<(), ReplicaError> {
        let mut output = Output::default();
        let result = self.replica.step(clock(self.steady), input, &mut output);
        self.tell(output);
        result
    }

    /// Answers a refusal; where the transaction was committed before, that is the answer.
    fn refused(&mut self, id: &TransactionId, refusal: Refusal) {
        if !self.waiting.contains_key(id) {
            return;
        }
        let stale = matches!(refusal, Refusal::Rejected(Rejection::WrongNonce { .. }));
        let receipt = if stale {
            self.replica.store().receipt(id).ok().flatten()
        } else {
            None
        };
        self.answer(
            id,
            match receipt {
                Some((height, index, receipt)) => Ok(Committed {
                    height,
                    index,
                    receipt,
                }),
                None => Err(refusal.into()),
            },
        );
    }

    fn answer(&mut self, id: &TransactionId, answer: Result<Committed, SubmitError>) {
        for sender in self.waiting.remove(id).unwrap_or_default() {
            // Whoever has stopped waiting does not mind.
            let _ = sender.send(answer.clone());
        }
    }

    /// Passes on what came of a step. Everything told as committed is on disk.
    fn tell(&mut self, output: Output) {
        for (to, message) in output.messages {
            self.send(to, message);
        }
        for (id, rejection) in output.dropped {
            self.answer(&id, Err(Refusal::Rejected(rejection).into()));
        }
        for id in output.pushed_out {
            let retry_after_ms = RETRY_AFTER_MS;
            self.answer(&id, Err(Refusal::Full { retry_after_ms }.into()));
        }
        for evidence in output.evidence {
            tracing::warn!(?evidence, "a validator signed two things that conflict");
            // Nobody listening is no fault.
            let _ = self.conflicts.send(evidence);
        }
        // Readers see a commit before anyone is told of it, so that whoever was answered finds it.
        self.show(output.commits.last().map(|commit| Tip {
            header: commit.header.clone(),
            certificate: commit.certificate.clone(),
        }));
        for commit in output.commits {
            for ((index, id), receipt) in (0u32..).zip(&commit.ids).zip(&commit.receipts) {
                if self.waiting.contains_key(id) {
                    let (height, receipt) = (commit.header.height, receipt.clone());
                    self.answer(
                        id,
                        Ok(Committed {
                            height,
                            index,
                            receipt,
                        }),
                    );
                }
            }
            // Nobody listening is no fault.
            let _ = self.commits.send(commit);
        }
    }

    /// Shows readers what has changed.
    fn show(&self, tip: Option<Tip>) {
        let voted = self.replica.voted();
        self.voted.send_if_modified(|shown| {
            let is_news = *shown != voted;
            *shown = voted;
            is_news
        });
        let shown = self.view.borrow().clone();
        let is_same = shown.is_voting == self.replica.is_voting()
            && shown.is_read_only == self.replica.is_read_only()
            && shown.is_halted == self.replica.is_halted()
            && shown.waiting == self.replica.waiting();
        if tip.is_none() && is_same {
            return;
        }
        let tip = tip.or_else(|| shown.tip.clone());
        self.view.send_replace(Arc::new(view(&self.replica, tip)));
    }
}
