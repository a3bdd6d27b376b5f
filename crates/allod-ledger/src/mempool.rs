//! Transactions waiting for a block, in bounded lanes.
//!
//! Three lanes, served in this order: what keeps the network true (evidence and reports), what
//! pays, the rest. A lane never takes another's room, so a flood in one does not touch the others.
//! The first is for those who operate machines: evidence of anybody else is worth nothing, and waits
//! with the rest. In every lane some room is left to operators, and no account gets more than half of
//! a lane or of that room, by number or by bytes.
//! Within a lane the order is that of arrival, and a key's transactions go in the order of their
//! nonces. A transaction is known by its id: offering it twice changes nothing. A few transactions
//! of a key may wait for one that is still missing before them, where the lane is not yet half full;
//! a key never has two for one nonce. What is ready pushes out what waits for a missing one, the
//! longest waiting first, as nobody knows when that comes. Nothing else is pushed out to make room:
//! who comes late is told when to come again.

mod line;
mod room;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use allod_state::account::grant::Verb;
use allod_state::event::Event;
use allod_state::transaction::Verified;
use allod_state::{
    AccountId, Action, Credits, Executed, PublicKey, Rejection, State, Transaction, TransactionId,
    acting_key, precheck,
};

use crate::law::Known;
use crate::limits::{MEMPOOL_PER_KEY_MAX, NONCE_GAP_MAX, RETRY_AFTER_MS};
use line::Line;
use room::Load;

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

const FULL: Refusal = Refusal::Full {
    retry_after_ms: RETRY_AFTER_MS,
};

type Signer = (AccountId, PublicKey);

#[derive(Debug)]
struct Entry {
    verified: Verified,
    place: (Lane, u64),
    bytes: usize,
    /// When it or its key expires.
    expires_ms: u64,
}

/// The waiting transactions. No hash map is gone through: in what order it holds them depends on chance.
#[derive(Debug, Default)]
pub struct Mempool {
    entries: HashMap<TransactionId, Entry>,
    queue: BTreeMap<(Lane, u64), TransactionId>,
    by_signer: HashMap<Signer, Line>,
    /// How much each account has in each lane.
    by_account: HashMap<(AccountId, Lane), Load>,
    /// What waits for one that is missing before it.
    gapped: BTreeSet<(Lane, u64)>,
    /// What was pushed out and not yet told.
    pushed_out: Vec<TransactionId>,
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
        let is_ready = match self.by_signer.get(&signer) {
            Some(line) => line.is_ready(nonce, admission.nonce),
            None => nonce <= admission.nonce,
        };
        self.check_share((body.account, lane), bytes, is_ready)?;
        if is_ready {
            self.make_room((body.account, lane), bytes, is_operator);
        }
        self.check_room((body.account, lane), bytes, is_operator)?;
        self.loads.entry(lane).or_default().add(bytes);
        let of_account = self.by_account.entry((body.account, lane)).or_default();
        of_account.add(bytes);
        self.arrivals = self.arrivals.saturating_add(1);
        let place = (lane, self.arrivals);
        self.queue.insert(place, id);
        let line = self.by_signer.entry(signer).or_default();
        line.insert(nonce, id);
        self.gapped.insert(place);
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
        self.advance(&signer, admission.nonce);
        Ok(Admitted::New)
    }

    /// What was pushed out since this was asked last. Its sender may send it again.
    pub fn take_pushed_out(&mut self) -> Vec<TransactionId> {
        std::mem::take(&mut self.pushed_out)
    }

    fn load_of(&self, lane: Lane) -> Load {
        self.loads.get(&lane).copied().unwrap_or_default()
    }

    fn load_of_account(&self, account: &(AccountId, Lane)) -> Load {
        self.by_account.get(account).copied().unwrap_or_default()
    }

    /// From half full on no account gets more than its share, and nothing may wait for a gap. Nobody is asked while
    /// there is plenty.
    fn check_share(
        &self,
        account: (AccountId, Lane),
        bytes: usize,
        is_ready: bool,
    ) -> Result<(), Refusal> {
        if !self.load_of(account.1).is_over_half(bytes) {
            return Ok(());
        }
        let of_account = self.load_of_account(&account);
        if of_account.is_over_half(bytes) {
            let waiting = of_account.count;
            return Err(Refusal::AccountFull { waiting });
        }
        if is_ready { Ok(()) } else { Err(FULL) }
    }

    /// Pushes out what waits for a gap, as far as it is in the way, and nothing where that does not make room.
    fn make_room(&mut self, account: (AccountId, Lane), bytes: usize, is_operator: bool) {
        if self.check_room(account, bytes, is_operator).is_ok() {
            return;
        }
        let lane = account.1;
        let mut left = self.load_of(lane);
        let mut in_the_way = Vec::new();
        for place in self.gapped.range((lane, 0)..=(lane, u64::MAX)) {
            if left.is_open(bytes) {
                break;
            }
            let id = self.queue.get(place).copied();
            if let Some((id, entry)) = id.and_then(|id| Some((id, self.entries.get(&id)?))) {
                left.take(entry.bytes);
                in_the_way.push(id);
            }
        }
        if left.is_open(bytes) {
            for id in in_the_way {
                self.remove(&id);
                self.pushed_out.push(id);
            }
        }
    }

    fn check_room(
        &self,
        account: (AccountId, Lane),
        bytes: usize,
        is_operator: bool,
    ) -> Result<(), Refusal> {
        let load = self.load_of(account.1);
        let is_open = load.is_open(bytes)
            || is_operator && load.is_open_to_operator(bytes, self.load_of_account(&account));
        if is_open { Ok(()) } else { Err(FULL) }
    }

    /// Learns a key's next nonce.
    fn advance(&mut self, signer: &Signer, next: u64) {
        let Some(line) = self.by_signer.get_mut(signer) else {
            return;
        };
        for id in line.advance(next) {
            if let Some(entry) = self.entries.get(&id) {
                self.gapped.remove(&entry.place);
            }
        }
    }

    fn check_nonce(&self, signer: &Signer, nonce: u64, next: u64) -> Result<(), Refusal> {
        let line = self.by_signer.get(signer);
        let count = line.map_or(0, Line::count);
        if let Some(other) = line.and_then(|line| line.get(nonce)) {
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
                    .and_then(|line| line.get(*expected));
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
            self.take_out(id, true);
            let body = &transaction.body;
            let signer = (body.account, body.key);
            self.advance(&signer, body.nonce.saturating_add(1));
            let first = self.by_signer.get(&signer).and_then(Line::first);
            if first.is_some_and(|waiting| waiting <= body.nonce) {
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
        let Some(line) = self.by_signer.get(signer) else {
            return;
        };
        let (account, key) = signer;
        let hopeless: Vec<(TransactionId, Rejection)> =
            match acting_key(state, account, key, state.tip().time_ms) {
                Ok(record) => {
                    let expected = record.nonce;
                    let used = |(found, id): (u64, &TransactionId)| {
                        (*id, Rejection::WrongNonce { expected, found })
                    };
                    line.before(expected).map(used).collect()
                }
                Err(gone) => line.ids().map(|id| (*id, gone.clone())).collect(),
            };
        for (id, rejection) in hopeless {
            self.take_out(&id, true);
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

    /// Whether anything waits for no other.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.entries.len() > self.gapped.len()
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
        self.take_out(id, false)
    }

    /// Where it is not settled, what follows it waits for a gap.
    fn take_out(&mut self, id: &TransactionId, is_settled: bool) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        let (lane, arrival) = entry.place;
        self.queue.remove(&entry.place);
        self.gapped.remove(&entry.place);
        self.by_expiry.remove(&(entry.expires_ms, arrival));
        let body = &entry.verified.transaction().body;
        let account = (body.account, lane);
        if let Some(of_account) = self.by_account.get_mut(&account) {
            of_account.take(entry.bytes);
            if of_account.count == 0 {
                self.by_account.remove(&account);
            }
        }
        let signer = signer_of(&entry.verified);
        if let Some(line) = self.by_signer.get_mut(&signer) {
            for behind in line.remove(body.nonce, is_settled) {
                if let Some(behind) = self.entries.get(&behind) {
                    self.gapped.insert(behind.place);
                }
            }
            if line.count() == 0 {
                self.by_signer.remove(&signer);
            }
        }
        if let Some(load) = self.loads.get_mut(&lane) {
            load.take(entry.bytes);
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
