//! Genesis: the document a network begins with, whose hash is the network's id.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Grant;
use crate::account::{Account, KeyRecord};
use crate::codec;
use crate::id::{AccountId, NetworkId};
use crate::key::PublicKey;
use crate::money::Credits;
use crate::state::{Params, State};
use crate::transaction::PROTOCOL_VERSION;
use crate::validator::ValidatorSet;

/// What a network begins with.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// The protocol version of the first block.
    pub version: u16,
    /// Block time of height 0, in milliseconds since 1970.
    pub time_ms: u64,
    /// Sets networks of the same founders and second apart.
    pub salt: [u8; 32],
    /// The first accounts, by their first key.
    pub founders: BTreeMap<PublicKey, Founder>,
    /// The first validators and their voting power.
    pub validators: BTreeMap<PublicKey, u32>,
    /// Price of one work unit.
    pub fee_per_work: Credits,
}

/// A first account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Founder {
    /// What it holds at first. The sum of all founders' balances is the network's supply.
    pub balance: Credits,
    /// How far below zero it may go.
    pub line: Credits,
}

impl Genesis {
    /// A network of one: one owner with a line of a million credits, one validator, no fees. Nothing is owed to
    /// anybody: every credit the owner spends elsewhere is somebody else's.
    #[must_use]
    pub fn of_one(owner: PublicKey, validator: PublicKey, time_ms: u64, salt: [u8; 32]) -> Self {
        let line = Credits::from_micro(1_000_000_000_000);
        let founder = Founder {
            balance: Credits::ZERO,
            line,
        };
        Self {
            version: PROTOCOL_VERSION,
            time_ms,
            salt,
            founders: BTreeMap::from([(owner, founder)]),
            validators: BTreeMap::from([(validator, 1)]),
            fee_per_work: Credits::ZERO,
        }
    }

    /// The network's id.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        NetworkId(codec::hash("allod genesis v1", self))
    }

    /// The state at height 0, and the rows to store for it.
    #[must_use]
    pub fn state(&self) -> (State, Vec<crate::state::Write>) {
        let mut state = State::empty(self.network(), self.time_ms);
        let mut supply = Credits::ZERO;
        state.put_account(AccountId::COMMONS, Account::opened(self.time_ms));
        for (key, founder) in &self.founders {
            let id = AccountId::of_first_key(key);
            let account = Account {
                balance: founder.balance,
                line: founder.line,
                keys: 1,
                ..Account::opened(self.time_ms)
            };
            // A document whose balances overflow is no genesis: saturating here makes its first block's check fail.
            supply = supply.plus(founder.balance).unwrap_or(supply);
            state.put_account(id, account);
            state.put_key(id, *key, KeyRecord::new(Grant::full(), 0, self.time_ms));
        }
        let powers = self.validators.iter().map(|(key, power)| (*key, *power));
        state.put_validators(ValidatorSet::new(powers));
        state.put_params(Params {
            fee_per_work: self.fee_per_work,
            supply,
            genesis_ms: self.time_ms,
        });
        let writes = state.seal();
        (state, writes)
    }
}
