//! The network that endures: everything about it follows from its genesis, which lies in the book.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use allod_ledger::LocalSigner;
use allod_ledger::bft::Signer;
use allod_ledger::replica::{Clock, Settings};
use allod_state::credit::Transfer;
use allod_state::genesis::{Founder, Genesis};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Credits, NetworkId, State, Transaction, codec};

use crate::Failure;
use crate::options::Options;

const FILE: &str = "genesis";
/// What every account has at first.
pub(crate) const BALANCE: Credits = Credits::from_micro(1_000_000_000_000);
/// How long after genesis the transfers may still be executed; the law allows an hour at most.
const LIFETIME_MS: u64 = 3_000_000;
/// What is prepared of a log segment: more than is written until the next one, as in the real node.
const WAL_PREPARED_BYTES: u64 = 1024 * 1024;

/// The store is synced and the log begun anew all the time.
const CHECKPOINT_BLOCKS: u64 = 48;

/// A network of one, and the keys of all its accounts.
pub(crate) struct Book {
    pub(crate) genesis: Genesis,
    network: NetworkId,
    owners: Vec<(LocalSigner, AccountId)>,
}

impl Book {
    /// Makes a new network.
    pub(crate) fn found(folder: &Path, accounts: u32) -> Result<(), Failure> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        let genesis = genesis(accounts, now_ms().saturating_sub(1_000), salt);
        std::fs::create_dir_all(folder)?;
        Ok(std::fs::write(folder.join(FILE), codec::encode(&genesis))?)
    }

    /// The network whose genesis lies in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(folder.join(FILE))?;
        Self::of(codec::decode("genesis", bytes.len(), &bytes)?)
    }

    /// The network of a genesis that [`genesis`] made.
    pub(crate) fn of(genesis: Genesis) -> Result<Self, Failure> {
        let count = u32::try_from(genesis.founders.len())?;
        let owners = (0..count).map(|at| {
            let signer = signer(2, at);
            let account = AccountId::of_first_key(&signer.public_key());
            (signer, account)
        });
        Ok(Self {
            network: genesis.network(),
            owners: owners.collect(),
            genesis,
        })
    }

    pub(crate) fn network(&self) -> NetworkId {
        self.network
    }

    pub(crate) fn validator(&self) -> LocalSigner {
        signer(1, 0)
    }

    /// How many accounts there are.
    pub(crate) fn accounts(&self) -> usize {
        self.owners.len()
    }

    pub(crate) fn account(&self, at: usize) -> AccountId {
        self.owners[at].1
    }

    /// How many transfers of an account have been executed.
    pub(crate) fn nonce(&self, state: &State, at: usize) -> u64 {
        let (signer, account) = &self.owners[at];
        let key = state.key(account, &signer.public_key());
        key.map_or(0, |key| key.nonce)
    }

    /// To whom the transfer of this nonce goes, and how much: as chance would have it, but always the same.
    pub(crate) fn transfer_of(&self, at: usize, nonce: u64) -> (AccountId, Credits) {
        let turn = usize::try_from(nonce % 1_000_003).unwrap_or(0);
        let to = (at * 7 + turn * 5 + 1) % self.owners.len();
        let to = if to == at {
            AccountId::COMMONS
        } else {
            self.owners[to].1
        };
        let amount = 1 + i128::from((nonce * 31) % 97);
        (to, Credits::from_micro(amount))
    }

    /// The very same transaction whoever asks, so that it can be offered again after a crash.
    pub(crate) fn transaction(&self, at: usize, nonce: u64) -> Transaction {
        let (to, amount) = self.transfer_of(at, nonce);
        let memo = String::new();
        let actions = vec![Action::from(Transfer { to, amount, memo })];
        self.signed(at, nonce, actions)
    }

    pub(crate) fn signed(&self, at: usize, nonce: u64, actions: Vec<Action>) -> Transaction {
        let (signer, account) = &self.owners[at];
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.network,
            account: *account,
            key: signer.public_key(),
            nonce,
            expires_ms: self.genesis.time_ms + LIFETIME_MS,
            work_limit: 200,
            actions,
        };
        let signature = signer.sign(&body.sign_bytes());
        Transaction { body, signature }
    }

    pub(crate) fn settings(&self, options: &Options) -> Settings {
        Settings {
            retention_ms: options.retention_ms,
            space_low_bytes: options.space_low_bytes,
            wal_prepared_bytes: WAL_PREPARED_BYTES,
            checkpoint_blocks: CHECKPOINT_BLOCKS,
            // Nobody else has the key: where nothing is there, nothing was signed with it.
            ..Settings::new(self.genesis.clone(), true, [0; 32])
        }
    }
}

/// A network of one with so many accounts.
pub(crate) fn genesis(accounts: u32, time_ms: u64, salt: [u8; 32]) -> Genesis {
    let founder = Founder {
        balance: BALANCE,
        line: Credits::ZERO,
    };
    let founders = (0..accounts).map(|at| (signer(2, at).public_key(), founder));
    Genesis {
        version: PROTOCOL_VERSION,
        time_ms,
        salt,
        founders: founders.collect(),
        validators: [(signer(1, 0).public_key(), 1)].into(),
        fee_per_work: Credits::from_micro(1),
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

/// Both clocks, for opening a replica that is only looked at.
pub(crate) fn clock() -> Clock {
    Clock {
        steady_ms: 0,
        wall_ms: now_ms(),
    }
}
