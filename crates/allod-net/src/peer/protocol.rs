//! What peers speak: the one list of protocols, with the terms of each.

use std::fmt;

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
    /// Frames a second that one peer may send, lastingly; more are read later.
    pub(crate) frames_per_second: u32,
    /// Bytes a second that one peer may send, lastingly; more are read later.
    pub(crate) bytes_per_second: u32,
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
                frames_per_second: 10_000,
                bytes_per_second: 256 * 1024 * 1024,
            },
            Self::Sync => Terms {
                alpn: b"allod/sync/1",
                frame_bytes_max: 10 * MIB,
                queue_bytes_max: 24 * MIB,
                queue_frames_max: 256,
                frames_per_second: 200,
                bytes_per_second: 256 * 1024 * 1024,
            },
            Self::Transactions => Terms {
                alpn: b"allod/gossip/1",
                frame_bytes_max: 2 * MIB,
                queue_bytes_max: 16 * MIB,
                queue_frames_max: 1_024,
                frames_per_second: 2_000,
                bytes_per_second: 64 * 1024 * 1024,
            },
        }
    }

    pub(crate) fn of_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.terms().alpn == alpn)
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
