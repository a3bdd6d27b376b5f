//! A replica in the real world: one thread that drives it, and the handle by which everything else
//! in the process speaks to the ledger.
//!
//! * One thread owns the replica. It takes what has come since the last step in one batch, so that
//!   under load one block and one sync carry many transactions.
//! * A few threads verify signatures, in batches, before the replica sees a transaction.
//! * Every queue is bounded: a full one refuses at once, and whoever lags behind is told.
//! * An answer to [`Chain::submit`] that says *committed* means: decided by a quorum, executed, and
//!   synced on this machine's disk.
//! * When the disk fails, the process ends: what an operating system says about a file after a
//!   failed sync cannot be relied on. The supervisor starts it again, from the log.

mod driver;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use allod_state::certificate::Handover;
use allod_state::receipt::Receipt;
use allod_state::transaction::Verified;
use allod_state::{State, Transaction, TransactionId, check_signer};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::bft::{Equivocation, Message, Peer, Signer, Voted};
use crate::disk::{Disk, RealDisk};
use crate::limits::{
    COMMITS_BEHIND_MAX, CONFLICTS_BEHIND_MAX, INBOX_MAX, OUTBOX_MAX, OWN_OFFERS_MAX,
    VERIFY_QUEUE_MAX,
};
use crate::mempool::Refusal;
use crate::replica::{Commit, Replica, ReplicaError, Settings, To};
use crate::store::{SnapshotError, Store, StoreError, StoredBlock, Tip};
use driver::{Driver, Inbound, Offer};
use verify::{Job, Verifiers};

/// Where and how a chain runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder of this ledger alone.
    pub folder: PathBuf,
    /// What the replica is told.
    pub settings: Settings,
    /// Threads that verify signatures.
    pub verify_threads: usize,
    /// Whether the process ends when the replica cannot go on. Only tests say no.
    pub aborts_on_failure: bool,
}

/// Why a chain did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be used.
    #[error("opening the data folder {folder}: {source}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The replica cannot be opened.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The system gives no thread.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

/// A transaction in a decided block, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The block's height.
    pub height: u64,
    /// The transaction's place in the block.
    pub index: u32,
    /// What it did.
    pub receipt: Receipt,
}

/// Why a transaction was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Its signature is not its key's.
    #[error("the transaction's signature does not match its key")]
    BadSignature,
    /// The mempool or the law refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much is being submitted.
    #[error("the ledger is busy; try again in {retry_after_ms} ms")]
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The ledger stopped before it knew.
    #[error(
        "the ledger stopped before the transaction's fate was known; ask for its receipt by its id"
    )]
    Stopped,
    /// The store cannot be read.
    #[error("looking the transaction up failed: {0}")]
    Store(String),
}

/// A message to carry to other ledgers. Whoever carries it encodes it: [`Message::encode`].
#[derive(Clone, Debug)]
pub struct Outbound {
    /// For whom.
    pub to: To,
    /// What.
    pub message: Arc<Message>,
}

/// Why a peer's message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The inbox is full; the peer will say it again.
    #[error("the ledger's inbox is full; the message is dropped")]
    Full,
    /// The ledger has stopped.
    #[error("the ledger has stopped")]
    Stopped,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The ledger as a reader sees it at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The committed state; cheap to keep.
    pub state: State,
    /// The last decided block; none at genesis.
    pub tip: Option<Tip>,
    /// Whether this node's key votes.
    pub is_voting: bool,
    /// See [`Replica::quarantine`].
    pub quarantine: Option<[u8; 32]>,
    /// Whether the disk is nearly full, so that nothing is taken.
    pub is_read_only: bool,
    /// Whether a quorum decided what this node finds invalid, so that it has stopped.
    pub is_halted: bool,
    /// Transactions waiting for a block.
    pub waiting: usize,
}

/// The answer to a submission, when it comes. Where the ledger stops first it never does, and
/// receiving fails: then the transaction's fate is unknown, and [`Chain::receipt`] tells it later.
pub type Answer = oneshot::Receiver<Result<Committed, SubmitError>>;

/// The handle. Clones speak to the same ledger; it stops when [`Chain::shutdown`] is called or the
/// last handle is dropped.
#[derive(Clone, Debug)]
pub struct Chain {
    inbox: SyncSender<Inbound>,
    verifiers: SyncSender<Job>,
    own: SyncSender<Offer>,
    view: watch::Receiver<Arc<View>>,
    voted: watch::Receiver<Option<Voted>>,
    steady: Instant,
    commits: broadcast::Sender<Arc<Commit>>,
    conflicts: broadcast::Sender<Equivocation>,
    store: Store,
}

/// The threads behind a [`Chain`].
#[derive(Debug)]
pub struct Threads {
    all: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Waits until every thread has ended.
    pub fn join(self) {
        for thread in self.all {
            if thread.join().is_err() {
                tracing::error!("a ledger thread panicked");
            }
        }
    }
}

impl Chain {
    /// Opens the ledger in `config.folder` and runs it. The receiver gives the messages to carry;
    /// where nobody takes them fast enough they are dropped, and said again by agreement itself.
    ///
    /// # Errors
    /// Where the folder cannot be used or holds something else.
    pub fn start<S: Signer + Send + 'static>(
        config: Config,
        signer: S,
    ) -> Result<(Self, mpsc::Receiver<Outbound>, Threads), StartError> {
        let folder = |source| StartError::Folder {
            folder: config.folder.clone(),
            source,
        };
        let disk = RealDisk::new(&config.folder).map_err(folder)?;
        Self::start_on(Arc::new(disk), config, signer)
    }

    /// As [`Chain::start`], on any disk; `config.folder` is not looked at.
    ///
    /// # Errors
    /// Where the disk cannot be used or holds something else.
    pub fn start_on<S: Signer + Send + 'static>(
        disk: Arc<dyn Disk>,
        config: Config,
        signer: S,
    ) -> Result<(Self, mpsc::Receiver<Outbound>, Threads), StartError> {
        let steady = Instant::now();
        let clock = driver::clock(steady);
        let replica = Replica::open(disk, signer, config.settings, clock)?;
        let (inbox, inbound) = std::sync::mpsc::sync_channel(INBOX_MAX);
        let (jobs, queue) = std::sync::mpsc::sync_channel(VERIFY_QUEUE_MAX);
        let (own, own_offers) = std::sync::mpsc::sync_channel(OWN_OFFERS_MAX);
        let (outbox, outbound) = mpsc::channel(OUTBOX_MAX);
        let (commits, _) = broadcast::channel(COMMITS_BEHIND_MAX);
        let (conflicts, _) = broadcast::channel(CONFLICTS_BEHIND_MAX);
        let tip = replica.store().tip().map_err(ReplicaError::from)?;
        let (view_sender, view) = watch::channel(Arc::new(driver::view(&replica, tip)));
        let (voted_sender, voted) = watch::channel(None);
        let store = replica.store().clone();
        let mut all = Verifiers::start(queue, inbox.clone(), config.verify_threads)
            .map_err(StartError::Thread)?;
        let driver = Driver {
            replica,
            inbound,
            own: own_offers,
            outbox,
            commits: commits.clone(),
            conflicts: conflicts.clone(),
            view: view_sender,
            voted: voted_sender,
            steady,
            waiting: Default::default(),
            retelling: Default::default(),
            aborts_on_failure: config.aborts_on_failure,
        };
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        all.push(
            thread
                .spawn(move || driver.run())
                .map_err(StartError::Thread)?,
        );
        let chain = Self {
            inbox,
            verifiers: jobs,
            own,
            view,
            voted,
            steady,
            commits,
            conflicts,
            store,
        };
        Ok((chain, outbound, Threads { all }))
    }

    /// Submits a transaction. The answer comes when it is committed or can no longer be; offering
    /// the same transaction again joins the first, or gives the receipt it has.
    #[must_use]
    pub fn submit(&self, transaction: Transaction) -> Answer {
        let (answer, receiver) = oneshot::channel();
        match self.earlier_receipt(&transaction) {
            Ok(Some((height, index, receipt))) => {
                let _ = answer.send(Ok(Committed {
                    height,
                    index,
                    receipt,
                }));
                return receiver;
            }
            // Whoever has no account here gets no work done: neither a signature checked nor a place.
            Ok(None) => {
                let body = &transaction.body;
                if let Err(rejection) = check_signer(&self.view.borrow().state, body) {
                    let _ = answer.send(Err(Refusal::Rejected(rejection).into()));
                    return receiver;
                }
            }
            Err(error) => {
                let _ = answer.send(Err(SubmitError::Store(error.to_string())));
                return receiver;
            }
        }
        let job = Job {
            transaction: transaction.into(),
            answer: Some(answer),
        };
        match self.verifiers.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => {
                let retry_after_ms = crate::limits::RETRY_AFTER_MS;
                job.refuse(SubmitError::Busy { retry_after_ms });
            }
            Err(TrySendError::Disconnected(job)) => job.refuse(SubmitError::Stopped),
        }
        receiver
    }

    /// The receipt of a transaction that is committed already. Where its key's turn has not come
    /// in the state that readers see, it cannot be; what is committed in this very moment is
    /// found when its nonce is refused.
    fn earlier_receipt(
        &self,
        transaction: &Transaction,
    ) -> Result<Option<(u64, u32, Receipt)>, StoreError> {
        let body = &transaction.body;
        let next = self.view.borrow().state.nonce(&body.account, &body.key);
        if next.is_some_and(|next| body.nonce >= next) {
            return Ok(None);
        }
        self.store.receipt(&body.id())
    }

    /// Submits a transaction that this machine itself has signed. It has a way of its own, which
    /// whatever strangers and peers submit does not fill.
    #[must_use]
    pub fn submit_own(&self, verified: Verified) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let offer = Offer {
            verified,
            answer: Some(answer),
        };
        let refused = match self.own.try_send(offer) {
            // Where the inbox is full, the thread is awake already.
            Ok(()) => return self.wake(receiver),
            Err(TrySendError::Full(offer)) => (
                offer,
                SubmitError::Busy {
                    retry_after_ms: crate::limits::RETRY_AFTER_MS,
                },
            ),
            Err(TrySendError::Disconnected(offer)) => (offer, SubmitError::Stopped),
        };
        if let (
            Offer {
                answer: Some(answer),
                ..
            },
            error,
        ) = refused
        {
            let _ = answer.send(Err(error));
        }
        receiver
    }

    fn wake(&self, receiver: Answer) -> Answer {
        if matches!(
            self.inbox.try_send(Inbound::Wake),
            Err(TrySendError::Disconnected(_))
        ) {
            tracing::debug!("the ledger had stopped before");
        }
        receiver
    }

    /// Takes a message that the transport received from `peer` and decoded. Where there is an answer
    /// at once, it is returned, to be sent back to that peer; reading it from the store is the
    /// caller's thread's work, so that curious peers never slow agreement down.
    ///
    /// # Errors
    /// Where the ledger cannot take it now.
    pub fn receive(&self, peer: Peer, message: Message) -> Result<Option<Message>, ReceiveError> {
        match message {
            Message::Transactions(transactions) => self.receive_transactions(&transactions)?,
            Message::SyncRequest(from) => {
                return Ok(Some(Message::SyncResponse(self.store.blocks_from(from)?)));
            }
            message => match self.inbox.try_send(Inbound::Message(peer, message)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(ReceiveError::Full),
                Err(TrySendError::Disconnected(_)) => return Err(ReceiveError::Stopped),
            },
        }
        Ok(None)
    }

    fn receive_transactions(&self, transactions: &[Vec<u8>]) -> Result<(), ReceiveError> {
        let state = self.view().state.clone();
        for bytes in transactions {
            let Ok(transaction) = Transaction::from_bytes(bytes) else {
                continue;
            };
            if check_signer(&state, &transaction.body).is_err() {
                continue;
            }
            match self.verifiers.try_send(Job {
                transaction: transaction.into(),
                answer: None,
            }) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(ReceiveError::Full),
                Err(TrySendError::Disconnected(_)) => return Err(ReceiveError::Stopped),
            }
        }
        Ok(())
    }

    /// The committed state and tip, now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// The committed state and tip, as they change; only the newest is kept.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Who has voted on the block that is being decided, and for how long it has been; nothing where none is.
    #[must_use]
    pub fn voted(&self) -> Option<(Voted, Duration)> {
        let voted = self.voted.borrow().clone()?;
        let began = self.steady + Duration::from_millis(voted.since_ms);
        Some((voted, began.elapsed()))
    }

    /// Every commit from now on. A reader that falls too far behind is told how many it missed, and
    /// finds them with [`Chain::block`] and [`Chain::outcome`].
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Commit>> {
        self.commits.subscribe()
    }

    /// What validators sign from now on that conflicts with what they signed before.
    #[must_use]
    pub fn conflicts(&self) -> broadcast::Receiver<Equivocation> {
        self.conflicts.subscribe()
    }

    /// The last decided block's header and certificate.
    #[must_use]
    pub fn tip(&self) -> Option<Tip> {
        self.view().tip.clone()
    }

    /// A decided block, where it is still kept.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn block(&self, height: u64) -> Result<Option<StoredBlock>, StoreError> {
        self.store.block(height)
    }

    /// Reads some of what is kept again; see [`Store::scrub`].
    ///
    /// # Errors
    /// Where something is damaged or cannot be read.
    pub fn scrub(&self, from: u64, transactions_max: usize) -> Result<Option<u64>, StoreError> {
        self.store.scrub(from, transactions_max)
    }

    /// The lowest height whose block is kept.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn oldest_height(&self) -> Result<Option<u64>, StoreError> {
        self.store.oldest_height()
    }

    /// The handovers from one validator set to the next, oldest first.
    ///
    /// # Errors
    /// Where one is damaged or cannot be read.
    pub fn handovers(&self) -> Result<Vec<Handover>, StoreError> {
        self.store.handovers()
    }

    /// What a decided block did, where it is still kept.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn outcome(&self, height: u64) -> Result<Option<crate::store::Outcome>, StoreError> {
        self.store.outcome(height)
    }

    /// The receipt of a committed transaction, where it is still kept.
    ///
    /// # Errors
    /// Where it is damaged or cannot be read.
    pub fn receipt(&self, id: &TransactionId) -> Result<Option<Committed>, StoreError> {
        let found = self.store.receipt(id)?;
        Ok(found.map(|(height, index, receipt)| Committed {
            height,
            index,
            receipt,
        }))
    }

    /// Takes a snapshot of the tip's state; see [`Store::snapshot`].
    ///
    /// # Errors
    /// Where there is no block yet, a chunk cannot be kept, or the store cannot be read.
    pub fn snapshot(
        &self,
        keep: impl FnMut(allod_state::Digest, &[u8]) -> std::io::Result<()>,
    ) -> Result<crate::store::Manifest, SnapshotError> {
        self.store.snapshot(keep)
    }

    /// Stops the ledger; everything committed is on disk when the answer comes.
    pub fn shutdown(&self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        // A full inbox empties within a step; waiting here is bounded by that.
        if self.inbox.send(Inbound::Shutdown(done)).is_err() {
            tracing::debug!("the ledger had stopped before");
        }
        receiver
    }
}

#[cfg(test)]
mod tests;
