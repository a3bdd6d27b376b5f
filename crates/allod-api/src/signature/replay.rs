//! Which nonces were used: a bounded memory that never forgets one that could still be replayed.
//!
//! When it is full, new requests are refused. Forgetting the oldest instead would let an attacker flush a nonce out and
//! replay it. Every account has a share of its own, and the operator's is nobody else's, so that whoever fills the
//! memory shuts out only itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;

use allod_state::{AccountId, PublicKey};
use tracing::warn;

use super::error::SignatureError;
use super::journal::Journal;
use super::limits::{
    NONCE_GRACE_S, NONCES_MAX, NONCES_PER_ACCOUNT_MAX, NONCES_PER_KEY_MAX, OPERATOR_NONCES_MAX,
};

/// Whose share of the memory a nonce takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// That of the account that operates the node.
    Operator,
    /// That of an account.
    Account(AccountId),
}

/// A key and nonce, hashed. Whoever finds two nonces with one mark has shut out only itself.
pub(super) type Mark = [u8; 16];
/// Whose nonce it is.
pub(super) type Signer = (Share, PublicKey);

/// A nonce that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) mark: Mark,
    pub(super) signer: Signer,
    /// When it may be forgotten.
    pub(super) due_s: u64,
}

#[derive(Debug, Default)]
pub(super) struct Replay {
    /// A tree, because a hash table that many enter and leave doubles now and then, though it holds no more than before.
    seen: BTreeSet<Mark>,
    by_signer: HashMap<Signer, u32>,
    by_share: HashMap<Share, u32>,
    /// When each mark may be forgotten, by whose it is.
    due: BTreeMap<u64, HashMap<Signer, Vec<Mark>>>,
    journal: Option<Journal>,
}

impl Replay {
    /// Uses `nonce` up, where that was not done before.
    pub(super) fn claim(
        &mut self,
        signer: Signer,
        nonce: &str,
        expires_s: u64,
        now_s: u64,
    ) -> Result<(), SignatureError> {
        self.forget(now_s);
        let mark = mark(&signer.1, nonce);
        if self.seen.contains(&mark) {
            return Err(SignatureError::Replayed);
        }
        self.check_room(&signer)?;
        let used = Used {
            mark,
            signer,
            due_s: expires_s.saturating_add(NONCE_GRACE_S),
        };
        self.remember(used);
        self.write(&used);
        Ok(())
    }

    /// Goes on where the process before ended, and writes down from now on what is used.
    pub(super) fn continue_in(&mut self, path: PathBuf, now_s: u64) -> io::Result<()> {
        let (journal, all) = Journal::open(path, now_s)?;
        for used in all {
            // No share is asked for its room: each of these was let in.
            let has_room = self.seen.len() < NONCES_MAX + OPERATOR_NONCES_MAX;
            if has_room && !self.seen.contains(&used.mark) {
                self.remember(used);
            }
        }
        self.journal = Some(journal);
        Ok(())
    }

    fn remember(&mut self, used: Used) {
        *self.by_signer.entry(used.signer).or_default() += 1;
        *self.by_share.entry(used.signer.0).or_default() += 1;
        self.seen.insert(used.mark);
        let due = self.due.entry(used.due_s).or_default();
        due.entry(used.signer).or_default().push(used.mark);
    }

    /// A disk that is full must not close the door: in this process the memory is enough.
    fn write(&mut self, used: &Used) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let all = self.due.iter().flat_map(|(due_s, signers)| {
            signers.iter().flat_map(move |(signer, marks)| {
                marks.iter().map(move |mark| Used {
                    mark: *mark,
                    signer: *signer,
                    due_s: *due_s,
                })
            })
        });
        if let Err(error) = journal.add(used, all) {
            warn!(%error, "a used nonce could not be written down; a restart might let it in again");
        }
    }

    fn check_room(&self, signer: &Signer) -> Result<(), SignatureError> {
        let of_share = self.by_share.get(&signer.0).copied().unwrap_or_default();
        let of_operator = self.by_share.get(&Share::Operator).copied();
        let of_operator = usize::try_from(of_operator.unwrap_or_default()).unwrap_or(usize::MAX);
        let (taken, max) = match signer.0 {
            Share::Operator => (of_operator, OPERATOR_NONCES_MAX),
            Share::Account(_) => (self.seen.len().saturating_sub(of_operator), NONCES_MAX),
        };
        let of_signer = self.by_signer.get(signer).copied().unwrap_or_default();
        let whose = if taken >= max {
            "all keys"
        } else if signer.0 != Share::Operator && of_share >= NONCES_PER_ACCOUNT_MAX {
            "this account"
        } else if of_signer >= NONCES_PER_KEY_MAX {
            "this key"
        } else {
            return Ok(());
        };
        Err(SignatureError::TooMany { whose })
    }

    fn forget(&mut self, now_s: u64) {
        while let Some(due) = self.due.first_entry().filter(|due| *due.key() < now_s) {
            for (signer, marks) in due.remove() {
                let count = u32::try_from(marks.len()).unwrap_or(u32::MAX);
                for mark in marks {
                    self.seen.remove(&mark);
                }
                lower(&mut self.by_signer, signer, count);
                lower(&mut self.by_share, signer.0, count);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K, by: u32) {
    match counts.get_mut(&key) {
        Some(count) if *count > by => *count -= by,
        _ => {
            counts.remove(&key);
        }
    }
}

fn mark(key: &PublicKey, nonce: &str) -> Mark {
    let mut hasher = blake3::Hasher::new_derive_key("allod request nonce v1");
    hasher.update(key.as_bytes());
    hasher.update(nonce.as_bytes());
    let mut mark = Mark::default();
    hasher.finalize_xof().fill(&mut mark);
    mark
}
