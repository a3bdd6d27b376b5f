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
    /// Signs of life, for those who watch a machine, and their acknowledgements.
    Heartbeats,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Frames of one protocol, all in one direction.
    Frames(Protocol),
    /// Questions, each with its answer.
    Questions,
    /// Streams of bytes to targets.
    Tunnels,
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
    pub const ALL: [Self; 4] = [
        Self::Agreement,
        Self::Sync,
        Self::Transactions,
        Self::Heartbeats,
    ];

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
            // One a second, and one back. What waited is no sign of life any more, and so no more than one of each waits. The
            // largest names a thousand leases.
            Self::Heartbeats => Terms {
                alpn: b"allod/beat/2",
                frame_bytes_max: 48 * 1024,
                queue_bytes_max: 96 * 1024,
                queue_frames_max: 2,
                rate: Rate {
                    frames_per_second: 10,
                    bytes_per_second: 128 * 1024,
                },
            },
        }
    }
}

impl Purpose {
    fn all() -> impl Iterator<Item = Self> {
        let frames = Protocol::ALL.into_iter().map(Self::Frames);
        frames.chain([Self::Questions, Self::Tunnels])
    }

    /// Its name in the handshake (RFC 7301).
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Frames(protocol) => protocol.terms().alpn,
            Self::Questions => b"allod/rpc/1",
            Self::Tunnels => b"allod/tunnel/1",
        }
    }

    /// The names of all of them.
    pub(crate) fn alpns() -> Vec<Vec<u8>> {
        Self::all().map(|purpose| purpose.alpn().to_vec()).collect()
    }

    pub(crate) fn of_alpn(alpn: &[u8]) -> Option<Self> {
        Self::all().find(|purpose| purpose.alpn() == alpn)
    }

    /// Whether somebody of that standing may connect for it. This is the one place that says what guests may do.
    pub(crate) const fn is_open_to(self, standing: Option<Standing>) -> bool {
        match (self, standing) {
            (_, Some(Standing::Member)) | (Self::Questions, Some(Standing::Guest)) => true,
            (Self::Frames(_) | Self::Tunnels, Some(Standing::Guest)) | (_, None) => false,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(protocol) => protocol.fmt(f),
            Self::Questions => f.write_str("questions"),
            Self::Tunnels => f.write_str("tunnels"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreement => "agreement",
            Self::Sync => "sync",
            Self::Transactions => "transactions",
            Self::Heartbeats => "heartbeats",
        })
    }
}
