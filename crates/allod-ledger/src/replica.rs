//! One replica of the ledger: agreement, the law, the log, the store and the mempool, in one value.
//!
//! It does input and output only through its [`Disk`] and takes the time as data; it has no thread
//! and no socket. The real node drives it from one thread ([`crate::chain`]), and the simulator
//! steps many of them, with the very log and store that ship.
//!
//! Its one duty is the order of things. The core's actions are carried out one after the other: the
//! log is synced before a message leaves, and a decision is in the log before the store, the
//! callers and the next height learn of it. Where a step fails, nothing after it happens.

mod open;
mod quarantine;

use std::collections::VecDeque;
use std::sync::Arc;

use allod_state::block::Header;
use allod_state::certificate::Certificate;
use allod_state::event::Event as LawEvent;
use allod_state::genesis::Genesis;
use allod_state::receipt::Receipt;
use allod_state::transaction::Verified;
use allod_state::{InvalidBlock, PublicKey, Rejection, State, Transaction, TransactionId};
use bytes::Bytes;

use crate::bft::{
    Action, Alarm, Core, Equivocation, Event, Message, Peer, Record, Signer, Standing, Timing,
    Voted, encode_frame,
};
use crate::disk::{Disk, Reserved};
use crate::law::{ApplyError, Law};
use crate::limits::{
    BLOCK_BYTES_WANTED, CHECKPOINT_BLOCKS, CHECKPOINT_LOG_BYTES, FILES_LOW, RETENTION_MS,
    SPACE_CHECK_EVERY_MS, SPACE_LOW_BYTES, WAKE_MS_MIN, WAL_PREPARED_BYTES,
};
use crate::mempool::{Admitted, Mempool, Refusal};
use crate::sign_state::{SignState, SignStateError};
use crate::store::{Store, StoreError};
use crate::wal::{Wal, WalError};

/// What a replica is told about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// A clock that never goes back, in milliseconds from anywhere: for timers.
    pub steady_ms: u64,
    /// Milliseconds since 1970: for block time.
    pub wall_ms: u64,
}

/// What a replica is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network.
    pub genesis: Genesis,
    /// The timers of agreement.
    pub timing: Timing,
    /// The largest block this node proposes, in bytes.
    pub block_bytes_max: usize,
    /// How long blocks are kept, in block time.
    pub retention_ms: u64,
    /// Whether this node's key never opened a ledger before, and cannot have signed anything.
    pub is_new_key: bool,
    /// Drawn at random for this start; see [`Replica::quarantine`].
    pub challenge: [u8; 32],
    /// How much of a new log segment is written in advance.
    pub wal_prepared_bytes: u64,
    /// After how many blocks the store is synced and the log cut, at the latest.
    pub checkpoint_blocks: u64,
    /// Below how many free bytes the replica only reads.
    pub space_low_bytes: u64,
}

impl Settings {
    /// What suits most nodes; `is_new_key` says that the key never opened a ledger before, and `challenge` is drawn at
    /// random.
    #[must_use]
    pub fn new(genesis: Genesis, is_new_key: bool, challenge: [u8; 32]) -> Self {
        Self {
            genesis,
            timing: Timing::default(),
            block_bytes_max: BLOCK_BYTES_WANTED,
            retention_ms: RETENTION_MS,
            is_new_key,
            challenge,
            wal_prepared_bytes: WAL_PREPARED_BYTES,
            checkpoint_blocks: CHECKPOINT_BLOCKS,
            space_low_bytes: SPACE_LOW_BYTES,
        }
    }
}

/// What happens to a replica.
#[derive(Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A peer said something.
    Message(Peer, Message),
    /// Transactions to put into a block; their signatures have been checked.
    Offer(Vec<Verified>),
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every connected ledger.
    All,
    /// One peer.
    One(Peer),
}

/// A block that was decided, executed and is safe on disk.
#[derive(Debug)]
pub struct Commit {
    /// The block's header.
    pub header: Header,
    /// The proof that it was decided.
    pub certificate: Certificate,
    /// The ids of its transactions, in order.
    pub ids: Vec<TransactionId>,
    /// What they did.
    pub receipts: Vec<Receipt>,
    /// What the law did by itself.
    pub events: Vec<LawEvent>,
    /// The state after it.
    pub state: State,
}

/// What came of a step.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages to send.
    pub messages: Vec<(To, Message)>,
    /// Blocks committed, in order.
    pub commits: Vec<Arc<Commit>>,
    /// What became of each offered transaction, in order.
    pub offers: Vec<Result<Admitted, Refusal>>,
    /// Transactions that waited and never will be in a block.
    pub dropped: Vec<(TransactionId, Rejection)>,
    /// Transactions that waited for one missing before them and had to make room. They may be offered again.
    pub pushed_out: Vec<TransactionId>,
    /// Proofs that a validator is false.
    pub evidence: Vec<Equivocation>,
    /// What a person must look at.
    pub alarms: Vec<Alarm>,
}

/// Why a replica cannot go on. The process must end: a restart replays the log.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The log failed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sign-state failed.
    #[error(transparent)]
    SignState(#[from] SignStateError),
    /// A decided block cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The clock or the law does not allow building on the tip.
    #[error("building a block: {0}")]
    Build(#[from] InvalidBlock),
    /// Another process uses the folder.
    #[error("another process uses this data folder; stop it first (`allod down`)")]
    InUse,
    /// The log holds a decision without its block.
    #[error("the log decides block height {height} without holding the block")]
    NoBlock {
        /// The height.
        height: u64,
    },
    /// The log holds frames of another version.
    #[error("reading the log: {0}")]
    Frame(#[from] crate::bft::FrameError),
    /// The file system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A replica.
pub struct Replica<S> {
    core: Core<S>,
    key: PublicKey,
    law: Law,
    mempool: Mempool,
    wal: Wal,
    store: Store,
    disk: Reserved,
    sign_state: SignState,
    settings: Settings,
    blocks_since_checkpoint: u64,
    /// What is still to be done; more than nothing only between steps of a full disk.
    queue: VecDeque<Action>,
    is_read_only: bool,
    space_checked_ms: Option<u64>,
    _lock: Box<dyn std::any::Any + Send + Sync>,
}

impl<S: Signer> Replica<S> {
    /// Takes one input; what comes of it is added to `output`. What stands in `output` may leave
    /// the machine, even where the step then fails.
    ///
    /// # Errors
    /// Where the disk fails or the ledger cannot go on. Nothing more must be asked of this replica.
    pub fn step(
        &mut self,
        clock: Clock,
        input: Input,
        output: &mut Output,
    ) -> Result<(), ReplicaError> {
        self.watch_space(clock, output)?;
        self.drop_expired(clock, output);
        let event = match input {
            Input::Tick => Event::Tick,
            Input::Message(peer, message) => Event::Message(peer, message),
            Input::Offer(transactions) => {
                if !self.offer(clock, transactions, output) {
                    return Ok(());
                }
                Event::TransactionsAvailable
            }
        };
        if self.is_read_only {
            return Ok(());
        }
        let actions = self.core.step(clock.steady_ms, event);
        self.queue.extend(actions);
        self.carry_out(clock, output)
    }

    /// When to step with [`Input::Tick`] at the latest, on the steady clock.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        let space_ms = self
            .space_checked_ms
            .map(|at| at.saturating_add(SPACE_CHECK_EVERY_MS));
        let core_ms = if self.is_read_only {
            u64::MAX
        } else {
            self.core.deadline_ms()
        };
        core_ms.min(space_ms.unwrap_or(0))
    }

    /// The committed state.
    #[must_use]
    pub fn state(&self) -> &State {
        self.law.state()
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the disk is nearly full, so that nothing is taken or signed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Whether this node's key votes.
    #[must_use]
    pub fn is_voting(&self) -> bool {
        self.core.is_voting()
    }

    /// Who has voted on the height that is being decided; nothing where none is.
    #[must_use]
    pub fn voted(&self) -> Option<Voted> {
        self.core.voted()
    }

    /// Whether nobody but this node votes.
    #[must_use]
    pub fn is_sole_voter(&self) -> bool {
        self.core.is_sole_voter()
    }

    /// A transaction that waits for a block.
    #[must_use]
    pub fn waiting_transaction(&self, id: &TransactionId) -> Option<&Transaction> {
        self.mempool.get(id)
    }

    /// Whether a quorum decided what this node finds invalid, so that it has stopped.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.core.is_halted()
    }

    /// Transactions waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.mempool.len()
    }

    /// Puts everything on disk, so that the next start has little to replay.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn close(mut self) -> Result<(), ReplicaError> {
        self.wal.sync()?;
        self.store.flush()?;
        Ok(())
    }

    /// Takes transactions; says whether any is new and something could go into a block.
    fn offer(&mut self, clock: Clock, offered: Vec<Verified>, output: &mut Output) -> bool {
        let mut is_any_new = false;
        for verified in offered {
            let answer = if self.is_read_only {
                Err(Refusal::ReadOnly)
            } else {
                self.mempool
                    .offer(self.law.state(), clock.wall_ms, verified)
            };
            is_any_new |= answer == Ok(Admitted::New);
            output.offers.push(answer);
        }
        output.pushed_out.extend(self.mempool.take_pushed_out());
        is_any_new && self.mempool.has_ready()
    }

    fn drop_expired(&mut self, clock: Clock, output: &mut Output) {
        let expired = self.mempool.drop_expired(clock.wall_ms);
        output.dropped.extend(expired);
    }

    fn carry_out(&mut self, clock: Clock, output: &mut Output) -> Result<(), ReplicaError> {
        while let Some(action) = self.queue.pop_front() {
            let again = match &action {
                Action::Append(records) => self.append(records)?,
                _ => None,
            };
            if again.is_some() {
                self.queue.push_front(action);
                return Ok(());
            }
            if let Some(event) = self.act(clock, action, output)? {
                let actions = self.core.step(clock.steady_ms, event);
                self.queue.extend(actions);
            }
        }
        Ok(())
    }

    /// Appends to the log; `Some` means that the disk is full and the same must be done later.
    fn append(&mut self, records: &[Record]) -> Result<Option<()>, ReplicaError> {
        let frame = encode_frame(records);
        match self.wal.append(&frame) {
            Ok(()) => Ok(None),
            Err(error) if error.is_full() => {
                tracing::error!(%error, "the disk is full; this node only reads now");
                self.is_read_only = true;
                Ok(Some(()))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn act(
        &mut self,
        clock: Clock,
        action: Action,
        output: &mut Output,
    ) -> Result<Option<Event>, ReplicaError> {
        match action {
            Action::Append(_) => {}
            Action::Sync => self.wal.sync()?,
            Action::Broadcast(message) => output.messages.push((To::All, message)),
            Action::Send(peer, message) => output.messages.push((To::One(peer), message)),
            Action::Serve(peer, from) => {
                let blocks = self.store.blocks_from(from)?;
                output
                    .messages
                    .push((To::One(peer), Message::SyncResponse(blocks)));
            }
            Action::Commit { certificate, bytes } => {
                return self.commit(clock, certificate, &bytes, output).map(Some);
            }
            Action::Build {
                height,
                round,
                bytes_max,
                is_empty,
            } => {
                let bytes_max = if is_empty { 0 } else { bytes_max };
                return self
                    .build(clock, height, round, bytes_max, output)
                    .map(Some);
            }
            Action::Check {
                block,
                bytes,
                standing,
                ..
            } => {
                let wall_ms = (standing == Standing::Proposed).then_some(clock.wall_ms);
                let verdict = self.law.check(block, &bytes, wall_ms, &self.mempool);
                return Ok(Some(Event::Checked {
                    block,
                    standing,
                    verdict,
                }));
            }
            Action::Evidence(evidence) => output.evidence.push(evidence),
            Action::Alarm(alarm) => {
                tracing::error!(%alarm, "the ledger raised an alarm");
                output.alarms.push(alarm);
            }
        }
        Ok(None)
    }

    fn build(
        &mut self,
        clock: Clock,
        height: u64,
        round: u32,
        bytes_max: usize,
        output: &mut Output,
    ) -> Result<Event, ReplicaError> {
        let count_max = allod_state::limits::BLOCK_TRANSACTIONS_MAX;
        let candidates = self
            .mempool
            .candidates(self.law.state(), count_max, bytes_max);
        let built = self.law.build(self.key, clock.wall_ms, &candidates)?;
        for (id, rejection) in built.left_out {
            self.mempool.forget(&id);
            output.dropped.push((id, rejection));
        }
        Ok(Event::Built {
            height,
            round,
            block: built.block,
            bytes: built.bytes,
        })
    }

    fn commit(
        &mut self,
        clock: Clock,
        certificate: Certificate,
        bytes: &Bytes,
        output: &mut Output,
    ) -> Result<Event, ReplicaError> {
        let mut executed = self.law.commit(certificate.block, bytes, &self.mempool)?;
        self.store.commit(&mut executed, bytes, &certificate)?;
        output.dropped.extend(self.mempool.settle(&executed));
        let state = executed.state;
        let is_recent = self.is_past_quarantine(&executed.block)?;
        let header = executed.block.header;
        let has_transactions = self.mempool.is_ready(&state);
        let wake_in_ms = state
            .next_due_ms()
            .map(|due_ms| due_ms.saturating_sub(clock.wall_ms).max(WAKE_MS_MIN));
        let validators = state.validators();
        output.commits.push(Arc::new(Commit {
            header,
            certificate,
            ids: executed.ids,
            receipts: executed.receipts,
            events: executed.events,
            state,
        }));
        self.blocks_since_checkpoint = self.blocks_since_checkpoint.saturating_add(1);
        let is_due = self.blocks_since_checkpoint >= self.settings.checkpoint_blocks
            || self.wal.bytes() >= CHECKPOINT_LOG_BYTES;
        if is_due {
            self.checkpoint()?;
        }
        Ok(Event::Committed {
            validators,
            has_transactions,
            wake_in_ms,
            is_recent,
        })
    }

    /// Puts the store on disk and begins a new log segment: what lies before it is needed no more.
    /// Each step may be the last: where it took the reserve, the rest is left for when there is room.
    fn checkpoint(&mut self) -> Result<(), ReplicaError> {
        let tip = self.law.state().tip();
        self.store
            .prune(tip.time_ms.saturating_sub(self.settings.retention_ms))?;
        self.store.flush()?;
        if self.disk.is_used() {
            return Ok(());
        }
        self.wal.rotate(self.sign_state.segment)?;
        if self.disk.is_used() {
            return Ok(());
        }
        self.sign_state.floor = self.sign_state.floor.max(tip.height.saturating_add(1));
        self.sign_state.segment = self.wal.segment();
        self.sign_state.save(&self.disk)?;
        self.wal.forget(self.sign_state.segment)?;
        self.blocks_since_checkpoint = 0;
        Ok(())
    }

    /// Goes read-only while the disk is nearly full, and comes back by itself.
    fn watch_space(&mut self, clock: Clock, output: &mut Output) -> Result<(), ReplicaError> {
        if !self.is_read_only && self.disk.is_used() {
            tracing::error!("the disk is full; this node only reads now");
            self.is_read_only = true;
        }
        let is_due = self
            .space_checked_ms
            .is_none_or(|at_ms| clock.steady_ms >= at_ms.saturating_add(SPACE_CHECK_EVERY_MS));
        if !is_due {
            return Ok(());
        }
        self.space_checked_ms = Some(clock.steady_ms);
        let io = |source| ReplicaError::Io {
            what: "asking for free disk space",
            source,
        };
        let room = Room::on(&self.disk).map_err(io)?;
        let low_bytes = self.settings.space_low_bytes;
        let is_low = room.is_below(low_bytes, 1);
        if !self.is_read_only && !is_low {
            self.wal.mark()?;
        }
        if !self.is_read_only && is_low {
            tracing::error!(
                free_bytes = room.bytes,
                free_files = room.files,
                "the disk is nearly full; this node only reads now"
            );
            self.is_read_only = true;
        }
        if self.is_read_only && !room.is_below(low_bytes, 2) {
            tracing::info!(
                free_bytes = room.bytes,
                free_files = room.files,
                "there is disk space again; this node goes on"
            );
            self.is_read_only = false;
            self.take_reserve()?;
            self.carry_out(clock, output)?;
        }
        Ok(())
    }

    fn take_reserve(&mut self) -> Result<(), ReplicaError> {
        self.disk.take().map_err(|source| ReplicaError::Io {
            what: "reserving disk space",
            source,
        })
    }
}

/// What can still be put on a disk.
#[derive(Clone, Copy)]
struct Room {
    bytes: u64,
    files: u64,
}

impl Room {
    fn on(disk: &dyn Disk) -> std::io::Result<Self> {
        Ok(Self {
            bytes: disk.free_bytes()?,
            files: disk.free_files()?,
        })
    }

    /// Whether there is less than so many times what is little.
    fn is_below(self, low_bytes: u64, times: u64) -> bool {
        // A replica that keeps no bytes free keeps no files free either.
        let low_files = if low_bytes == 0 { 0 } else { FILES_LOW };
        self.bytes < low_bytes.saturating_mul(times) || self.files < low_files.saturating_mul(times)
    }
}

#[cfg(test)]
pub(crate) mod tests;
