//! What peers speak: the one list of protocols, with the terms of each.

use std::fmt;

use super::pace::Rate;
use super::roster::Standing;

/// A protocol among peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Proposals, votes and their certificates, between validators.
    Agreement,
    /// Heights, and decided blocks for whoever lags behind.
    Sync,
    /// Transactions on their way to a block.
    Transactions,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Frames of one protocol, all in one direction.
    Frames(Protocol),
    /// Questions, each with its answer.
    Questions,
}

/// What a protocol may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Its name in the handshake (RFC 7301).
    pub(crate) alpn: &'static [u8],
    /// Bytes of its largest frame.
    pub(crate) frame_bytes_max: usize,
    /// Bytes that wait for one peer.
    pub(crate) queue_bytes_max: usize,
    /// Frames that wait for one peer.
    pub(crate) queue_frames_max: usize,
    /// What one peer may send in a second, lastingly; more is read later.
    pub(crate) rate: Rate,
}

const MIB: usize = 1024 * 1024;

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Agreement, Self::Sync, Self::Transactions];

    pub(crate) const fn terms(self) -> Terms {
        match self {
            // A block of 4 MiB in a proposal, a few rounds ahead; votes are 200 bytes.
            Self::Agreement => Terms {
                alpn: b"allod/bft/1",
                frame_bytes_max: 10 * MIB,
                queue_bytes_max: 24 * MIB,
                queue_frames_max: 4_096,
                rate: Rate {
                    frames_per_second: 10_000,
                    bytes_per_second: 256 * 1024 * 1024,
                },
            },
            Self::Sync => Terms {
                alpn: b"allod/sync/1",
                frame_bytes_max: 10 * MIB,
                queue_bytes_max: 24 * MIB,
                queue_frames_max: 256,
                rate: Rate {
                    frames_per_second: 200,
                    bytes_per_second: 256 * 1024 * 1024,
                },
            },
            Self::Transactions => Terms {
                alpn: b"allod/gossip/1",
                frame_bytes_max: 2 * MIB,
                queue_bytes_max: 16 * MIB,
                queue_frames_max: 1_024,
                rate: Rate {
                    frames_per_second: 2_000,
                    bytes_per_second: 64 * 1024 * 1024,
                },
            },
        }
    }
}

impl Purpose {
    /// The name of the questions in the handshake; frames have their protocols'.
    pub(crate) const QUESTIONS_ALPN: &'static [u8] = b"allod/rpc/1";

    /// The names of all of them.
    pub(crate) fn alpns() -> Vec<Vec<u8>> {
        let frames = Protocol::ALL.map(|protocol| protocol.terms().alpn.to_vec());
        let questions = [Self::QUESTIONS_ALPN.to_vec()];
        frames.into_iter().chain(questions).collect()
    }

    pub(crate) fn of_alpn(alpn: &[u8]) -> Option<Self> {
        if alpn == Self::QUESTIONS_ALPN {
            return Some(Self::Questions);
        }
        let mut all = Protocol::ALL.into_iter();
        all.find(|protocol| protocol.terms().alpn == alpn)
            .map(Self::Frames)
    }

    /// Whether somebody of that standing may connect for it. This is the one place that says what guests may do.
    pub(crate) const fn is_open_to(self, standing: Option<Standing>) -> bool {
        match (self, standing) {
            (Self::Frames(_) | Self::Questions, Some(Standing::Member))
            | (Self::Questions, Some(Standing::Guest)) => true,
            (Self::Frames(_), Some(Standing::Guest)) | (_, None) => false,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(protocol) => protocol.fmt(f),
            Self::Questions => f.write_str("questions"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreement => "agreement",
            Self::Sync => "sync",
            Self::Transactions => "transactions",
        })
    }
}
