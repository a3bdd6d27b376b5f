//! Which nonces were used: a bounded memory that never forgets one that could still be replayed.
//!
//! When it is full, new requests are refused. Forgetting the oldest instead would let an attacker flush a nonce out and
//! replay it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;

use allod_state::PublicKey;
use tracing::warn;

use super::error::SignatureError;
use super::journal::Journal;
use super::limits::{NONCE_GRACE_S, NONCES_MAX, NONCES_PER_KEY_MAX};

/// A key and nonce, hashed to what a collision cannot be found for.
pub(super) type Mark = [u8; 32];

/// A nonce that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) mark: Mark,
    pub(super) key: PublicKey,
    /// When it may be forgotten.
    pub(super) due_s: u64,
}

#[derive(Debug, Default)]
pub(super) struct Replay {
    seen: HashSet<Mark>,
    by_key: HashMap<PublicKey, u32>,
    /// When each mark may be forgotten.
    due: BTreeMap<u64, Vec<(Mark, PublicKey)>>,
    journal: Option<Journal>,
}

impl Replay {
    /// Uses `nonce` up, where that was not done before.
    pub(super) fn claim(
        &mut self,
        key: PublicKey,
        nonce: &str,
        expires_s: u64,
        now_s: u64,
    ) -> Result<(), SignatureError> {
        self.forget(now_s);
        let mark = mark(&key, nonce);
        if self.seen.contains(&mark) {
            return Err(SignatureError::Replayed);
        }
        if self.seen.len() >= NONCES_MAX {
            return Err(SignatureError::TooMany { whose: "all keys" });
        }
        let count = self.by_key.entry(key).or_default();
        if *count >= NONCES_PER_KEY_MAX {
            return Err(SignatureError::TooMany { whose: "this key" });
        }
        let used = Used {
            mark,
            key,
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
            if self.seen.len() < NONCES_MAX && !self.seen.contains(&used.mark) {
                self.remember(used);
            }
        }
        self.journal = Some(journal);
        Ok(())
    }

    fn remember(&mut self, used: Used) {
        *self.by_key.entry(used.key).or_default() += 1;
        self.seen.insert(used.mark);
        let due = self.due.entry(used.due_s).or_default();
        due.push((used.mark, used.key));
    }

    /// A disk that is full must not close the door: in this process the memory is enough.
    fn write(&mut self, used: &Used) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let due = self.due.iter();
        let all = due.flat_map(|(due_s, marks)| {
            let one = |(mark, key): &(Mark, PublicKey)| Used {
                mark: *mark,
                key: *key,
                due_s: *due_s,
            };
            marks.iter().map(one)
        });
        if let Err(error) = journal.add(used, all) {
            warn!(%error, "a used nonce could not be written down; a restart might let it in again");
        }
    }

    fn forget(&mut self, now_s: u64) {
        while let Some(due) = self.due.first_entry().filter(|due| *due.key() < now_s) {
            for (mark, key) in due.remove() {
                self.seen.remove(&mark);
                match self.by_key.get_mut(&key) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => {
                        self.by_key.remove(&key);
                    }
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

fn mark(key: &PublicKey, nonce: &str) -> Mark {
    let mut hasher = blake3::Hasher::new_derive_key("allod request nonce v1");
    hasher.update(key.as_bytes());
    hasher.update(nonce.as_bytes());
    *hasher.finalize().as_bytes()
}
