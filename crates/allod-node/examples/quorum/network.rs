//! The network that is measured: many accounts that send each other credits, a part of them for each validator.

use std::time::{SystemTime, UNIX_EPOCH};

use allod_ledger::LocalSigner;
use allod_ledger::bft::Signer;
use allod_state::credit::Transfer;
use allod_state::genesis::{Founder, Genesis};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Credits, Transaction};

use crate::VALIDATORS;

/// Accounts, each with a key of its own, for each validator.
const ACCOUNTS: u32 = 500;
const BALANCE: Credits = Credits::from_micro(1_000_000_000_000);
const LIFETIME_MS: u64 = 1_800_000;

/// The genesis of the network, begun at that time.
pub(crate) fn genesis(time_ms: u64) -> Genesis {
    let founder = Founder {
        balance: BALANCE,
        line: Credits::ZERO,
    };
    let owners = (0..VALIDATORS).flat_map(owners);
    Genesis {
        version: PROTOCOL_VERSION,
        time_ms,
        salt: [7; 32],
        founders: owners.map(|owner| (owner.public_key(), founder)).collect(),
        validators: (0..VALIDATORS)
            .map(|at| (validator(at).public_key(), 1))
            .collect(),
        fee_per_work: Credits::from_micro(1),
    }
}

/// The key with which a validator votes.
pub(crate) fn validator(at: usize) -> LocalSigner {
    LocalSigner::from_seed(&seed(1, at))
}

/// The key by which a validator's machine is known to its peers: the one with which it votes, as others hear no votes from
/// anybody else.
pub(crate) fn machine(at: usize) -> [u8; 32] {
    seed(1, at)
}

fn owners(of: usize) -> impl Iterator<Item = LocalSigner> {
    (0..ACCOUNTS).map(move |at| {
        let mut seed = seed(2, of);
        seed[8..12].copy_from_slice(&at.to_le_bytes());
        LocalSigner::from_seed(&seed)
    })
}

fn seed(kind: u8, at: usize) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&u64::try_from(at).unwrap_or(u64::MAX).to_le_bytes());
    seed
}

/// What one validator's accounts send.
pub(crate) struct Sender {
    genesis: Genesis,
    owners: Vec<(LocalSigner, AccountId)>,
    sent: usize,
}

impl Sender {
    pub(crate) fn new(genesis: Genesis, of: usize) -> Self {
        let named = |owner: LocalSigner| {
            let account = AccountId::of_first_key(&owner.public_key());
            (owner, account)
        };
        Self {
            genesis,
            owners: owners(of).map(named).collect(),
            sent: 0,
        }
    }

    /// The next transfers, signed; the accounts take turns, so that each has few under way.
    pub(crate) fn transfers(&mut self, count: usize) -> Vec<Transaction> {
        (0..count).map(|_| self.transfer()).collect()
    }

    fn transfer(&mut self) -> Transaction {
        let accounts = self.owners.len();
        let (turn, at) = (self.sent / accounts, self.sent % accounts);
        self.sent += 1;
        let (signer, account) = &self.owners[at];
        let (_, to) = &self.owners[(at + turn % (accounts - 1) + 1) % accounts];
        let action = Transfer {
            to: *to,
            amount: Credits::from_micro(1),
            memo: String::new(),
        };
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.genesis.network(),
            account: *account,
            key: signer.public_key(),
            nonce: turn.try_into().expect("a count of transfers fits"),
            expires_ms: self.genesis.time_ms + LIFETIME_MS,
            work_limit: 100,
            actions: vec![Action::from(action)],
        };
        let signature = signer.sign(&body.sign_bytes());
        Transaction { body, signature }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
