//! Agreement on one block per height among validators of whom fewer than a third are faulty.
//!
//! # The rules
//! The protocol is Tendermint (Buchman, Kwon, Milosevic 2018, <https://arxiv.org/abs/1807.04938>), run by
//! Malachite's sans-IO core. A height is decided in rounds. In each round one validator, whose turn it is, proposes a
//! block. Every validator checks it by executing it and prevotes for its id, or for no block. Whoever sees prevotes
//! from more than two thirds of the power for one block (a polka) locks that block and precommits it. Precommits from
//! more than two thirds decide the height; together they are the certificate. Where a round fails, timers lead
//! everyone to the next one, and the timers grow. A locked validator prevotes another block only on seeing a polka
//! for it from a later round than its lock.
//!
//! On top of that, here:
//! * *Heights start on demand*: when there are transactions, when the first proposal or the word of more than a third of
//!   the power has come, when the law has something due, or at a slow tick; for the word of fewer, a second after the
//!   last block.
//! * *A block that comes too early for a validator's clock gets no vote of it*, until a quorum has prevoted the block and
//!   it is proposed again: whoever is locked on it may need that vote.
//! * *Failed rounds shrink the block*: each halves it, and from round 3 on it is empty.
//! * *Signatures pass a guard* ([`SignGuard`]) that never lets two different ones out for the same height, round and
//!   step, whatever the engine asks.
//! * *Disk before wire*: the records of a step ([`Record`]) and a [`Action::Sync`] stand before every action that lets
//!   a signature leave or makes a decision known.
//! * *A node that may have lost its log does not vote* until a block has been decided that is younger than its start;
//!   whatever it signed before the loss lies below that block's height. By its own clock alone it could not tell, as that
//!   may be behind: a block that it had to be shown is never taken for a younger one, and a younger one is younger than
//!   all of those, too.
//!
//! # Why this is safe
//! Two blocks at one height would need two quorums. Two quorums share more than a third of the power, so at least one
//! correct validator is in both. In one round that validator precommits once (the guard, across restarts too, since
//! its record is on disk before the signature leaves). Across rounds it is locked on the first block, and leaves the
//! lock only for a later polka; by induction over the rounds no such polka for another block exists, because each
//! would again need one of the locked. The lock survives a crash because the votes it rests on are in the log before
//! the precommit leaves, and replaying the log gives the engine the same lock.
//!
//! # Why it goes on
//! Once messages arrive in time and fewer than a third are faulty, the timers outgrow the delays, and a correct
//! proposer's block gets its polka and its precommits in one round. Messages may be lost before: votes and round
//! certificates are sent again on a timer, and whoever is left behind asks for decided blocks with their certificates.
//!
//! # What is trusted
//! Nothing in a message but signatures: a proposal is only examined when it is signed by the validator whose turn it
//! is. Heights that peers claim are hints that cost one request. Everything kept for peers is bounded
//! ([`crate::limits`]).
//!
//! [`Core::step`] is a function of its inputs: no thread, clock, socket, file or random number is behind it, so that a
//! simulator can run many of them under a seed.

mod context;
mod core;
mod guard;
mod message;
mod record;
mod shell;
mod sync;
mod verify;

use std::collections::BTreeSet;

use allod_state::certificate::Certificate;
use allod_state::validator::{ReportConflict, Said, ValidatorSet};
use allod_state::{BlockId, NetworkId, NodeId, PublicKey, Signature};
use bytes::Bytes;

pub use self::core::Core;
pub use guard::{Conflict, SignGuard, SignStep, Signed};
pub use message::{
    DecidedBlock, MESSAGE_VERSION, Message, MessageError, Polka, RoundProof, SignedProposal,
    SignedVote,
};
pub use record::{FrameError, Record, TimerKind, decode_frame, encode_frame};

/// A peer, by the identity under which the transport knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub [u8; 32]);

/// Holds the validator key.
pub trait Signer {
    /// The public half.
    fn public_key(&self) -> PublicKey;
    /// Signs. The guard has agreed before this is called.
    fn sign(&self, message: &[u8]) -> Signature;
    /// What only the holder of the key knows, and always the same; neither the key nor a signature can be made of it.
    fn secret(&self) -> [u8; 32];
}

/// How long to wait, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For a proposal, in the first round.
    pub propose_ms: u64,
    /// For votes to agree, in the first round.
    pub vote_ms: u64,
    /// What every failed round adds to both.
    pub round_delta_ms: u64,
    /// Before votes are sent again.
    pub rebroadcast_ms: u64,
    /// The longest any of these gets.
    pub max_ms: u64,
    /// The slow tick: how long a height may wait for something to decide.
    pub tick_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            propose_ms: 1_000,
            vote_ms: 500,
            round_delta_ms: 250,
            rebroadcast_ms: 1_000,
            max_ms: 20_000,
            tick_ms: 15_000,
        }
    }
}

/// What does not change while a core lives.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The ledger; part of everything signed.
    pub network: NetworkId,
    /// The timers.
    pub timing: Timing,
    /// The largest block this node proposes, in bytes.
    pub block_bytes_max: usize,
}

/// Where a core begins.
#[derive(Debug)]
pub struct Start {
    /// The last decided height.
    pub height: u64,
    /// Who votes on the next one.
    pub validators: ValidatorSet,
    /// What this node's key may still sign.
    pub guard: SignGuard,
    /// The log's records above `height`, in order.
    pub records: Vec<Record>,
    /// Whether the law waits for a time: then the first height begins at once, and its block says when to wake.
    pub is_waiting: bool,
    /// Whether the log or the sign-state may be missing something: then nothing is signed at first.
    pub is_quarantined: bool,
}

/// What the caller found about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It executes to what its header says.
    Valid,
    /// It must not be voted for.
    Invalid,
    /// The bytes are not the block of that id, or hold a false signature; the id itself is not judged.
    Foreign,
}

/// What others have said of a block that is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its proposer alone speaks for it: its time has to suit this machine's clock.
    Proposed,
    /// A quorum prevoted it, so it came in time: this machine's clock does not matter any more.
    Vouched,
    /// It is decided.
    Decided,
}

/// What happens to a core.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// There is something to put into a block.
    TransactionsAvailable,
    /// A peer said something.
    Message(Peer, Message),
    /// The answer to [`Action::Build`].
    Built {
        /// The height asked for.
        height: u64,
        /// The round asked for.
        round: u32,
        /// The new block.
        block: BlockId,
        /// Its canonical bytes.
        bytes: Bytes,
    },
    /// The answer to [`Action::Check`].
    Checked {
        /// The block asked about.
        block: BlockId,
        /// What was asked with it.
        standing: Standing,
        /// What was found.
        verdict: Verdict,
    },
    /// The answer to [`Action::Commit`].
    Committed {
        /// Who votes on the next height.
        validators: ValidatorSet,
        /// Whether transactions are still waiting.
        has_transactions: bool,
        /// In how many milliseconds the law wants a block even without transactions.
        wake_in_ms: Option<u64>,
        /// Whether the block is younger than the loss of what this node signed.
        is_recent: bool,
    },
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Append these records to the log, as one frame.
    Append(Vec<Record>),
    /// Put everything appended so far on the disk, before anything after this.
    Sync,
    /// Send to everyone.
    Broadcast(Message),
    /// Send to one peer.
    Send(Peer, Message),
    /// Answer a peer's request for decided blocks from a height on.
    Serve(Peer, u64),
    /// A height is decided; answer with [`Event::Committed`]. The decision is on disk already.
    Commit {
        /// The proof.
        certificate: Certificate,
        /// The block's canonical bytes.
        bytes: Bytes,
    },
    /// Build a block; answer with [`Event::Built`], now or later.
    Build {
        /// For this height.
        height: u64,
        /// For this round.
        round: u32,
        /// Encoded, no larger than this.
        bytes_max: usize,
        /// Without any transaction.
        is_empty: bool,
    },
    /// Judge a block; answer with [`Event::Checked`].
    Check {
        /// For this height.
        height: u64,
        /// The id its sender gave it.
        block: BlockId,
        /// Its bytes.
        bytes: Bytes,
        /// What others have said of it.
        standing: Standing,
    },
    /// A validator signed two things that conflict.
    Evidence(Equivocation),
    /// Something a person must look at.
    Alarm(Alarm),
}

/// Who has said something about a block that is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voted {
    /// Its height.
    pub height: u64,
    /// When this node began with it, on the steady clock.
    pub since_ms: u64,
    /// Whose votes or proposals for it have come, in whatever round. They may have fallen silent since.
    pub by: BTreeSet<PublicKey>,
}

/// Two signatures that prove their validator false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Equivocation {
    /// Two votes.
    Votes(SignedVote, SignedVote),
    /// Two proposals.
    Proposals(SignedProposal, SignedProposal),
}

/// What a person must look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// The guard refused; this node votes no more at this height.
    #[error("refused to sign: {0}; this node votes no more at this height")]
    SignatureRefused(Conflict),
    /// A quorum certified a block that this node finds invalid: the software differs, or memory is faulty.
    #[error(
        "a quorum decided block {block} at height {height}, which this node finds invalid, so it stops here; \
         compare this binary's version with the other validators', then restart"
    )]
    Diverged {
        /// The height.
        height: u64,
        /// The block.
        block: BlockId,
    },
    /// The engine stopped in the middle of an input.
    #[error("the consensus engine failed at height {height}: {reason}")]
    Engine {
        /// The height.
        height: u64,
        /// The engine's words.
        reason: String,
    },
}

impl Equivocation {
    /// The proof, as a machine shows it to the law.
    #[must_use]
    pub fn report(&self, node: NodeId) -> ReportConflict {
        let vote = |vote: &SignedVote| (Said::Vote(vote.kind, vote.value), vote.signature);
        let proposal = |proposal: &SignedProposal| {
            let said = Said::Proposal(proposal.pol_round, proposal.value);
            (said, proposal.signature)
        };
        let (validator, height, round, one, other) = match self {
            Self::Votes(one, two) => (one.validator, one.height, one.round, vote(one), vote(two)),
            Self::Proposals(one, two) => {
                let (one_said, two_said) = (proposal(one), proposal(two));
                (one.proposer, one.height, one.round, one_said, two_said)
            }
        };
        ReportConflict {
            node,
            validator,
            height,
            round,
            one,
            other,
        }
    }
}

#[cfg(test)]
mod tests;
