//! Transactions waiting for a block, in bounded lanes.
//!
//! Three lanes, served in this order: what keeps the network true (evidence and reports), what
//! pays, the rest. A lane never takes another's room, so a flood in one does not touch the others.
//! The first is for those who operate machines: evidence of anybody else is worth nothing, and waits
//! with the rest. In every lane some room is left to operators, and no account gets more than half.
//! Within a lane the order is that of arrival, and a key's transactions go in the order of their
//! nonces. A transaction is known by its id: offering it twice changes nothing. A few transactions
//! of a key may wait for one that is still missing before them; a key never has two for one nonce,
//! and nothing is pushed out to make room: who comes late is told when to come again.

use std::collections::{BTreeMap, HashMap};

use allod_state::account::grant::Verb;
use allod_state::event::Event;
use allod_state::transaction::Verified;
use allod_state::{
    AccountId, Action, Credits, Executed, PublicKey, Rejection, State, Transaction, TransactionId,
    acting_key, precheck,
};

use crate::law::Known;
use crate::limits::{
    MEMPOOL_BYTES_PER_LANE_MAX, MEMPOOL_OPERATOR_RESERVE, MEMPOOL_OPERATOR_RESERVE_BYTES,
    MEMPOOL_PER_ACCOUNT_MAX, MEMPOOL_PER_KEY_MAX, MEMPOOL_PER_LANE_MAX, NONCE_GAP_MAX,
    RETRY_AFTER_MS,
};

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Evidence and reports.
    Evidence,
    /// Transactions that pay a fee.
    Paying,
    /// The rest.
    Free,
}

/// Why a transaction is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The law would never take it.
    #[error("{0}")]
    Rejected(Rejection),
    /// The lane is full.
    #[error("too many transactions are waiting; try again in {retry_after_ms} ms")]
    Full {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The key has too many waiting.
    #[error(
        "this key has {waiting} transactions waiting; wait for one of them before sending more"
    )]
    KeyFull {
        /// How many.
        waiting: usize,
    },
    /// The account has too many waiting.
    #[error(
        "this account has {waiting} transactions waiting; wait for one of them before sending more"
    )]
    AccountFull {
        /// How many.
        waiting: usize,
    },
    /// Too many transactions are missing before this one.
    #[error("the nonce {found} is too far ahead: the next one is {next}")]
    Gap {
        /// The transaction's nonce.
        found: u64,
        /// The key's next.
        next: u64,
    },
    /// The disk is nearly full: the node only reads until there is room again.
    #[error("this node's disk is nearly full, so it takes no transactions; free some space there")]
    ReadOnly,
    /// Another transaction of this key has the nonce.
    #[error("the transaction {other} of the same key already waits with this nonce")]
    NonceTaken {
        /// The other.
        other: TransactionId,
    },
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It waits now.
    New,
    /// It was waiting already.
    Known,
}

type Signer = (AccountId, PublicKey);

#[derive(Debug)]
struct Entry {
    verified: Verified,
    place: (Lane, u64),
    bytes: usize,
    /// When it or its key expires.
    expires_ms: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Load {
    count: usize,
    bytes: usize,
}

/// The waiting transactions. No hash map is gone through: in what order it holds them depends on chance.
#[derive(Debug, Default)]
pub struct Mempool {
    entries: HashMap<TransactionId, Entry>,
    queue: BTreeMap<(Lane, u64), TransactionId>,
    /// By nonce, of each key.
    by_signer: HashMap<Signer, BTreeMap<u64, TransactionId>>,
    /// How many each account has.
    by_account: HashMap<AccountId, usize>,
    /// By when it expires, and by arrival.
    by_expiry: BTreeMap<(u64, u64), TransactionId>,
    loads: BTreeMap<Lane, Load>,
    arrivals: u64,
}

impl Mempool {
    /// Offers a transaction; the caller has verified its signature.
    ///
    /// # Errors
    /// Where it is not taken.
    pub fn offer(
        &mut self,
        state: &State,
        now_ms: u64,
        verified: Verified,
    ) -> Result<Admitted, Refusal> {
        let id = verified.id();
        if self.entries.contains_key(&id) {
            return Ok(Admitted::Known);
        }
        let body = &verified.transaction().body;
        let admission = precheck(state, body, now_ms).map_err(Refusal::Rejected)?;
        let (signer, nonce) = ((body.account, body.key), body.nonce);
        self.check_nonce(&signer, nonce, admission.nonce)?;
        let is_operator = state.operates_nodes(&body.account);
        let lane = lane_of(body.actions.as_slice(), admission.fee, is_operator);
        let bytes = verified.transaction().bytes_len();
        if !self.has_room(lane, bytes, is_operator) {
            return Err(Refusal::Full {
                retry_after_ms: RETRY_AFTER_MS,
            });
        }
        if self.is_greedy(lane, &body.account) {
            let waiting = MEMPOOL_PER_ACCOUNT_MAX;
            return Err(Refusal::AccountFull { waiting });
        }
        let load = self.loads.entry(lane).or_default();
        load.count = load.count.saturating_add(1);
        load.bytes = load.bytes.saturating_add(bytes);
        self.arrivals = self.arrivals.saturating_add(1);
        let place = (lane, self.arrivals);
        self.queue.insert(place, id);
        self.by_signer.entry(signer).or_default().insert(nonce, id);
        let waiting = self.by_account.entry(body.account).or_default();
        *waiting = waiting.saturating_add(1);
        let expires_ms = admission.expires_ms;
        self.by_expiry.insert((expires_ms, self.arrivals), id);
        self.entries.insert(
            id,
            Entry {
                verified,
                place,
                bytes,
                expires_ms,
            },
        );
        Ok(Admitted::New)
    }

    fn has_room(&self, lane: Lane, bytes: usize, is_operator: bool) -> bool {
        let load = self.loads.get(&lane).copied().unwrap_or_default();
        let (count, size) = if is_operator {
            (MEMPOOL_OPERATOR_RESERVE, MEMPOOL_OPERATOR_RESERVE_BYTES)
        } else {
            (0, 0)
        };
        load.count < MEMPOOL_PER_LANE_MAX.saturating_add(count)
            && load.bytes.saturating_add(bytes) <= MEMPOOL_BYTES_PER_LANE_MAX.saturating_add(size)
    }

    /// Whether an account has its share of a lane already. Nobody is asked while there is plenty.
    fn is_greedy(&self, lane: Lane, account: &AccountId) -> bool {
        let load = self.loads.get(&lane).copied().unwrap_or_default();
        if load.count < MEMPOOL_PER_ACCOUNT_MAX {
            return false;
        }
        let waiting = self.by_account.get(account).copied().unwrap_or_default();
        waiting >= MEMPOOL_PER_ACCOUNT_MAX
    }

    fn check_nonce(&self, signer: &Signer, nonce: u64, next: u64) -> Result<(), Refusal> {
        let waiting = self.by_signer.get(signer);
        let count = waiting.map_or(0, BTreeMap::len);
        if let Some(other) = waiting.and_then(|waiting| waiting.get(&nonce)) {
            return Err(Refusal::NonceTaken { other: *other });
        }
        if count >= MEMPOOL_PER_KEY_MAX {
            return Err(Refusal::KeyFull { waiting: count });
        }
        let ahead = nonce.saturating_sub(next);
        let missing = ahead.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        if missing > NONCE_GAP_MAX {
            return Err(Refusal::Gap { found: nonce, next });
        }
        Ok(())
    }

    /// What a proposer should try, in order: at most so many transactions and bytes.
    #[must_use]
    pub fn candidates(&self, state: &State, count_max: usize, bytes_max: usize) -> Vec<Verified> {
        let mut next: HashMap<Signer, u64> = HashMap::new();
        let mut chosen: Vec<Verified> = Vec::new();
        let mut bytes: usize = 0;
        for (place, id) in &self.queue {
            let Some(entry) = self.entries.get(id) else {
                continue;
            };
            let signer = signer_of(&entry.verified);
            let expected = next
                .entry(signer)
                .or_insert_with(|| nonce_of(state, &signer));
            if nonce_in(&entry.verified) != *expected {
                continue;
            }
            // After this one, those of the same key that came too early are ready too.
            let mut ready = Some(entry);
            while let Some(entry) = ready {
                bytes = bytes.saturating_add(entry.bytes);
                if chosen.len() >= count_max || bytes > bytes_max {
                    return chosen;
                }
                chosen.push(entry.verified.clone());
                *expected = expected.saturating_add(1);
                let following = self
                    .by_signer
                    .get(&signer)
                    .and_then(|waiting| waiting.get(expected));
                ready = following
                    .and_then(|id| self.entries.get(id))
                    .filter(|following| following.place < *place);
            }
        }
        chosen
    }

    /// Forgets what a block has settled. What can enter no block any more is forgotten too, and named: that of keys
    /// which the block took away, and that whose nonce another transaction has used.
    pub fn settle(&mut self, executed: &Executed) -> Vec<(TransactionId, Rejection)> {
        let mut signers = Vec::new();
        for (id, transaction) in executed.ids.iter().zip(&executed.block.transactions) {
            self.remove(id);
            let body = &transaction.body;
            let signer = (body.account, body.key);
            let first = self
                .by_signer
                .get(&signer)
                .and_then(BTreeMap::first_key_value);
            if first.is_some_and(|(waiting, _)| *waiting <= body.nonce) {
                signers.push(signer);
            }
        }
        signers.extend(keys_gone(executed));
        let mut dropped = Vec::new();
        for signer in signers {
            self.drop_hopeless(&executed.state, &signer, &mut dropped);
        }
        dropped
    }

    fn drop_hopeless(
        &mut self,
        state: &State,
        signer: &Signer,
        dropped: &mut Vec<(TransactionId, Rejection)>,
    ) {
        let Some(waiting) = self.by_signer.get(signer) else {
            return;
        };
        let (account, key) = signer;
        let hopeless: Vec<(TransactionId, Rejection)> =
            match acting_key(state, account, key, state.tip().time_ms) {
                Ok(record) => {
                    let expected = record.nonce;
                    let used = |(found, id): (&u64, &TransactionId)| {
                        let found = *found;
                        (*id, Rejection::WrongNonce { expected, found })
                    };
                    waiting.range(..expected).map(used).collect()
                }
                Err(gone) => waiting.values().map(|id| (*id, gone.clone())).collect(),
            };
        for (id, rejection) in hopeless {
            self.remove(&id);
            dropped.push((id, rejection));
        }
    }

    /// Forgets one transaction.
    pub fn forget(&mut self, id: &TransactionId) {
        self.remove(id);
    }

    /// Forgets what has expired, or whose key has, and says which of it.
    pub fn drop_expired(&mut self, now_ms: u64) -> Vec<(TransactionId, Rejection)> {
        let mut expired = Vec::new();
        while let Some(first) = self.by_expiry.first_entry() {
            let (expires_ms, _) = *first.key();
            if expires_ms > now_ms {
                break;
            }
            let id = first.remove();
            let Some(entry) = self.remove(&id) else {
                continue;
            };
            let rejection = if entry.verified.transaction().body.expires_ms == expires_ms {
                Rejection::Expired { expires_ms }
            } else {
                let expired_ms = expires_ms;
                Rejection::ExpiredKey { expired_ms }
            };
            expired.push((id, rejection));
        }
        expired
    }

    /// Whether a block could be made of something that waits.
    #[must_use]
    pub fn is_ready(&self, state: &State) -> bool {
        !self.candidates(state, 1, usize::MAX).is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the transaction waits.
    #[must_use]
    pub fn contains(&self, id: &TransactionId) -> bool {
        self.entries.contains_key(id)
    }

    /// A transaction that waits.
    #[must_use]
    pub fn get(&self, id: &TransactionId) -> Option<&Transaction> {
        let entry = self.entries.get(id)?;
        Some(entry.verified.transaction())
    }

    fn remove(&mut self, id: &TransactionId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.queue.remove(&entry.place);
        let body = &entry.verified.transaction().body;
        self.by_expiry.remove(&(entry.expires_ms, entry.place.1));
        if let Some(waiting) = self.by_account.get_mut(&body.account) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.by_account.remove(&body.account);
            }
        }
        let signer = signer_of(&entry.verified);
        if let Some(waiting) = self.by_signer.get_mut(&signer) {
            waiting.remove(&body.nonce);
            if waiting.is_empty() {
                self.by_signer.remove(&signer);
            }
        }
        if let Some(load) = self.loads.get_mut(&entry.place.0) {
            load.count = load.count.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(entry.bytes);
        }
        Some(entry)
    }
}

impl Known for Mempool {
    fn verified(&self, id: &TransactionId, transaction: &Transaction) -> Option<Verified> {
        let entry = self.entries.get(id)?;
        let is_same = entry.verified.transaction().signature == transaction.signature;
        is_same.then(|| entry.verified.clone())
    }
}

fn signer_of(verified: &Verified) -> Signer {
    let body = &verified.transaction().body;
    (body.account, body.key)
}

/// The keys that a block took away.
fn keys_gone(executed: &Executed) -> impl Iterator<Item = Signer> {
    let events = executed.receipts.iter().flat_map(|receipt| &receipt.events);
    events.filter_map(|event| match event {
        Event::KeyRevoked { account, key } => Some((*account, *key)),
        Event::KeyRotated { account, old, .. } => Some((*account, *old)),
        _ => None,
    })
}

fn nonce_in(verified: &Verified) -> u64 {
    verified.transaction().body.nonce
}

fn nonce_of(state: &State, (account, key): &Signer) -> u64 {
    state.nonce(account, key).unwrap_or(0)
}

fn lane_of(actions: &[Action], fee: Credits, is_operator: bool) -> Lane {
    let is_report = |action: &Action| action.verb() == Verb::Report;
    if is_operator && actions.iter().all(is_report) {
        Lane::Evidence
    } else if fee > Credits::ZERO {
        Lane::Paying
    } else {
        Lane::Free
    }
}

#[cfg(test)]
mod tests;
