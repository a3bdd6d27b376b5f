//! The first thing said on every link for frames: of which network the speaker is, and in which of its lives.
//!
//! A machine that was killed and has started again says nothing on the connections of its life before, nor that they are
//! over: whoever speaks on one of them would wait until it has been silent for long. So whoever hears a peer in another life
//! leaves all its own ways to it, and goes by new ones.

use super::{PeerKey, Shared, lock};

/// One run of a machine's peers, by a random name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life([u8; 16]);

/// What is said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) network: [u8; 32],
    pub(crate) life: Life,
}

impl Life {
    /// Another than any before. Where the system has no random bytes it is the same as others: nothing is noticed then.
    pub(crate) fn new() -> Self {
        let mut name = [0; 16];
        let _ = getrandom::fill(&mut name);
        Self(name)
    }
}

impl Hello {
    pub(crate) const BYTES: usize = 48;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (network, life) = bytes.split_at_mut(self.network.len());
        network.copy_from_slice(&self.network);
        life.copy_from_slice(&self.life.0);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (network, life) = bytes.split_first_chunk()?;
        let life = Life(life.try_into().ok()?);
        let network = *network;
        Some(Self { network, life })
    }
}

/// Notes in which life a peer speaks. Where it is another one, this machine's own ways to it are left; where it is not, who
/// waits before it calls the peer again calls it now: there is a way, as after a network was split in two.
pub(crate) fn heard(shared: &Shared, peer: PeerKey, life: Life) {
    let before = lock(&shared.lives).insert(peer, life);
    if before.is_none_or(|before| before == life) {
        return shared.hurry(&peer);
    }
    tracing::debug!(?peer, "a peer has started again");
    shared.call_anew(&peer);
}
