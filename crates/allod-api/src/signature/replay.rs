//! Which nonces were used: a bounded memory that never forgets one that could still be replayed.
//!
//! When it is full, new requests are refused. Forgetting the oldest instead would let an attacker flush a nonce out and
//! replay it.

use std::collections::{BTreeMap, HashMap, HashSet};

use allod_state::PublicKey;

use super::error::SignatureError;
use super::limits::{NONCE_GRACE_S, NONCES_MAX, NONCES_PER_KEY_MAX};

/// A key and nonce, hashed to what a collision cannot be found for.
type Mark = [u8; 32];

#[derive(Debug, Default)]
pub(super) struct Replay {
    seen: HashSet<Mark>,
    by_key: HashMap<PublicKey, u32>,
    /// When each mark may be forgotten.
    due: BTreeMap<u64, Vec<(Mark, PublicKey)>>,
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
        *count += 1;
        self.seen.insert(mark);
        let due_s = expires_s.saturating_add(NONCE_GRACE_S);
        self.due.entry(due_s).or_default().push((mark, key));
        Ok(())
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
