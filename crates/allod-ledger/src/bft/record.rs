//! What the core writes to the log before anything leaves the machine.
//!
//! The records of one step are written as one frame, which is read back whole or not at all. So a
//! signature's record never survives without the message it belongs to, and replaying the log makes
//! the engine derive the very messages it derived before.

use allod_state::certificate::Certificate;
use allod_state::{BlockId, PublicKey, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use malachite_types::{Timeout, TimeoutKind};

use super::guard::Signed;
use super::message::{Polka, SignedProposal, SignedVote, round_number};
use crate::limits::MESSAGE_BYTES_MAX;

/// The version of the encoding below.
const FRAME_VERSION: u8 = 1;

/// Which of a round's timers fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TimerKind {
    /// No proposal came.
    Propose,
    /// Prevotes disagree.
    Prevote,
    /// Precommits disagree.
    Precommit,
}

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Record {
    /// This node's key is about to sign this.
    Signed(Signed),
    /// The bytes of a block that later records name.
    Value {
        /// The height it is proposed for.
        height: u64,
        /// The block.
        block: BlockId,
        /// Its canonical bytes.
        bytes: Vec<u8>,
    },
    /// What this node found about a proposed block.
    Verdict {
        /// The height.
        height: u64,
        /// The round.
        round: u32,
        /// The round of the polka it rested on.
        valid_round: Option<u32>,
        /// Who proposed it.
        proposer: PublicKey,
        /// The block.
        block: BlockId,
        /// Whether it may be voted for.
        is_valid: bool,
    },
    /// A proposal received or made.
    Proposal(SignedProposal),
    /// A vote received or cast.
    Vote(SignedVote),
    /// A polka certificate received.
    Polka(Polka),
    /// A timer fired.
    Timeout {
        /// The height.
        height: u64,
        /// The round.
        round: u32,
        /// Which timer.
        kind: TimerKind,
    },
    /// The height is decided. The block's bytes are in an earlier [`Record::Value`].
    Decided(Certificate),
}

impl Record {
    /// The height that the record belongs to.
    #[must_use]
    pub fn height(&self) -> u64 {
        match self {
            Self::Signed(signed) => signed.height,
            Self::Value { height, .. } => *height,
            Self::Verdict { height, .. } => *height,
            Self::Proposal(proposal) => proposal.height,
            Self::Vote(vote) => vote.height,
            Self::Polka(polka) => polka.height,
            Self::Timeout { height, .. } => *height,
            Self::Decided(certificate) => certificate.height,
        }
    }

    pub(crate) fn timeout(height: u64, timeout: &Timeout) -> Option<Self> {
        let kind = match timeout.kind {
            TimeoutKind::Propose => TimerKind::Propose,
            TimeoutKind::Prevote => TimerKind::Prevote,
            TimeoutKind::Precommit => TimerKind::Precommit,
            TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
        };
        Some(Self::Timeout {
            height,
            round: round_number(timeout.round),
            kind,
        })
    }
}

/// The bytes of one frame.
#[must_use]
pub fn encode_frame(records: &[Record]) -> Vec<u8> {
    let mut bytes = vec![FRAME_VERSION];
    borsh::to_writer(&mut bytes, records).expect("writing to memory cannot fail");
    bytes
}

/// Why a frame whose checksum is right cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Written by another version of the program.
    #[error("the log frame has version {0:?}; this binary reads version {FRAME_VERSION}")]
    Version(Option<u8>),
    /// Not a list of records.
    #[error("reading a log frame: {0}")]
    Codec(#[from] codec::DecodeError),
}

/// Reads a frame back.
///
/// # Errors
/// Where the bytes are not a frame of this version.
pub fn decode_frame(bytes: &[u8]) -> Result<Vec<Record>, FrameError> {
    match bytes.split_first() {
        Some((&FRAME_VERSION, body)) => Ok(codec::decode(
            "log frame",
            MESSAGE_BYTES_MAX.saturating_mul(2),
            body,
        )?),
        other => Err(FrameError::Version(other.map(|(version, _)| *version))),
    }
}

#[cfg(test)]
mod tests;
