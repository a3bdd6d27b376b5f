//! The right of an exclusive lease's holder to let it run, and what its witnesses promise: off the ledger, and pure.
//!
//! Rules:
//! 1. A holder sends each witness a sign of life a second, signed and numbered, which names the exclusive leases that it
//!    holds and that machine witnesses. The witness acknowledges, signed, those of them that it watches.
//! 2. A lease may run until [`RIGHT_MS`](crate::limits::RIGHT_MS) after the *sending* of the newest sign that more than
//!    half of its recorded witnesses have acknowledged, by the holder's clock, which goes on while the machine sleeps.
//!    From [`RIGHT_RUNS_MS`](crate::limits::RIGHT_RUNS_MS) on it is frozen, so that it stands still by then. It starts
//!    with that right, and is thawed with it, for the same epoch; one that was ended meanwhile is killed as it is.
//! 3. A witness gives a lease up no sooner than [`SILENCE_MS`](crate::limits::SILENCE_MS) after it last acknowledged it,
//!    by its own clock. Before it says so to the ledger it promises, on disk, never to acknowledge that epoch again,
//!    whatever becomes of what it says.
//! 4. The set of witnesses of an exclusive lease never changes. Where it is its holder alone, nobody can give it up, and
//!    it may always run.
//!
//! Why no two leases of one slot ever run at once. The law opens an epoch when the one before has ended, and that one
//! ends by one of two words. By its holder's, who says it when nothing of it is left. Or by more than half of its
//! witnesses, who have given it up. Let the newest sign that gave the holder its right be sent at `s`: more than half of
//! the same set acknowledged it, or a later one. Two majorities of one set share a member, `w`. It did not acknowledge
//! after it had given the lease up (3), so it acknowledged before: at `a`, later than `s`, since a sign is answered after
//! it was sent, however long either was on its way. It gave up no sooner than 5 s after `a`, so 5 s after `s`; the holder
//! stopped 4 s after `s`. Nobody compares clocks: each measures one span of its own. If they run wrong by a part `d`,
//! the one span is at most `4 / (1 - d)` and the other at least `5 / (1 + d)` seconds, and the first is not longer as long
//! as `d` is not above a ninth; quartz is wrong by less than a thousandth. A witness's clock may stop, which makes it
//! later. A holder's may not: hence boot time, in which a machine's sleep counts.
//!
//! What it does not cover: a virtual machine that is stopped and resumed with its clock where it was, and the moment
//! between the end of a machine's sleep and the freezing of what it runs.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::{self, DecodeError, Domain};
use crate::id::{LeaseId, NetworkId, NodeId};
use crate::key::{BadSignature, PublicKey, Signature};
use crate::limits::WORD_BYTES_MAX;

mod holder;
mod watch;

pub use holder::Rights;
pub use watch::{Holder, Watch};

static WORD: Domain = Domain::new("allod sign of life v1");

/// A lease and its epoch.
pub type Watched = (LeaseId, u64);

/// What is said between a machine and those that watch it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Word {
    /// A machine lives, and holds these exclusive leases that the other one watches.
    Beat(Named),
    /// A sign of life was heard, and of its leases these are not given up.
    Acknowledged(Named),
}

/// Which sign of life, and which leases.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Named {
    /// The holder's life: another one for each start of its node.
    pub life: u64,
    /// The sign's number in that life.
    pub number: u64,
    /// Leases and their epochs.
    pub leases: BTreeSet<Watched>,
}

/// A word as it travels.
#[derive(BorshSerialize, BorshDeserialize)]
struct Signed {
    word: Word,
    signature: Signature,
}

/// Why what came is no word of that machine for this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWord {
    /// It is not one at all.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// Another key signed it, or it is for another machine or network.
    #[error(transparent)]
    Unsigned(#[from] BadSignature),
}

impl Word {
    /// What travels to a machine: the word with the signature of whoever says it.
    pub fn seal(
        self,
        network: &NetworkId,
        to: &NodeId,
        sign: impl FnOnce(&[u8]) -> Signature,
    ) -> Vec<u8> {
        let signature = sign(&self.meant(network, to));
        let word = self;
        codec::encode(&Signed { word, signature })
    }

    /// What a machine with that key says to this one.
    ///
    /// # Errors
    /// Where it is too long, no word, or not signed with that key for this machine and network.
    pub fn open(
        bytes: &[u8],
        network: &NetworkId,
        own: &NodeId,
        from: &PublicKey,
    ) -> Result<Self, NoWord> {
        let Signed { word, signature } = codec::decode("sign of life", WORD_BYTES_MAX, bytes)?;
        from.verify(&word.meant(network, own), &signature)?;
        Ok(word)
    }

    fn meant(&self, network: &NetworkId, to: &NodeId) -> [u8; 32] {
        WORD.hash(&(network, to, self))
    }
}

#[cfg(test)]
mod tests;
