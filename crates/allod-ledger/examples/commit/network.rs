//! The network that is measured: many accounts that send each other credits.

use std::time::{SystemTime, UNIX_EPOCH};

use allod_ledger::LocalSigner;
use allod_ledger::bft::Signer;
use allod_state::credit::Transfer;
use allod_state::genesis::{Founder, Genesis};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Credits, NetworkId, Transaction};

/// Accounts, each with a key of its own.
const ACCOUNTS: u32 = 1_000;
const BALANCE: Credits = Credits::from_micro(1_000_000_000_000);
const LIFETIME_MS: u64 = 1_800_000;

/// A network of one validator, and what its accounts have sent so far.
pub(crate) struct Network {
    pub(crate) genesis: Genesis,
    id: NetworkId,
    owners: Vec<(LocalSigner, AccountId)>,
    sent: usize,
}

impl Network {
    pub(crate) fn found() -> Self {
        let owners: Vec<(LocalSigner, AccountId)> = (0..ACCOUNTS)
            .map(|at| {
                let signer = signer(2, at);
                let account = AccountId::of_first_key(&signer.public_key());
                (signer, account)
            })
            .collect();
        let founder = Founder {
            balance: BALANCE,
            line: Credits::ZERO,
        };
        let founders = owners
            .iter()
            .map(|(signer, _)| (signer.public_key(), founder));
        let genesis = Genesis {
            version: PROTOCOL_VERSION,
            time_ms: now_ms() - 1_000,
            salt: [7; 32],
            founders: founders.collect(),
            validators: [(signer(1, 0).public_key(), 1)].into(),
            fee_per_work: Credits::from_micro(1),
        };
        Self {
            id: genesis.network(),
            genesis,
            owners,
            sent: 0,
        }
    }

    pub(crate) fn validator(&self) -> LocalSigner {
        signer(1, 0)
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
        let (_, to) = &self.owners[(at * 7 + turn + 1) % accounts];
        let to = if to == account {
            AccountId::COMMONS
        } else {
            *to
        };
        let action = Transfer {
            to,
            amount: Credits::from_micro(1),
            memo: String::new(),
        };
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.id,
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

fn signer(kind: u8, at: u32) -> LocalSigner {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&at.to_le_bytes());
    LocalSigner::from_seed(&seed)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
