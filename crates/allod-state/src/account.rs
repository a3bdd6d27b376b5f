//! Accounts and the keys that act for them.

mod budget;
pub mod grant;
mod manage;
mod open;

pub use manage::{AddKey, RevokeKey, RotateKey};
pub use open::OpenAccount;

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec;
use crate::id::AccountId;
use crate::key::PublicKey;
use crate::money::Credits;
use crate::table::Row;

use grant::Grant;

/// An identity that survives key rotation, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Account {
    /// What it holds; below zero it owes.
    pub balance: Credits,
    /// How far below zero the balance may go.
    pub line: Credits,
    /// How many keys it has.
    pub keys: u64,
    /// How many apps it ever made; the next app's id comes from it.
    pub apps_made: u64,
    /// How many apps it has now.
    pub apps: u64,
    /// How many nodes it operates.
    pub nodes: u64,
    /// Block time of its first transfer or its genesis.
    pub opened_ms: u64,
    /// The highest nonce of any key that left. A key that comes (back) begins there, so that nothing it signed before
    /// is ever valid again.
    pub nonce_floor: u64,
}

impl Account {
    pub(crate) const fn opened(now_ms: u64) -> Self {
        Self {
            balance: Credits::ZERO,
            line: Credits::ZERO,
            keys: 0,
            apps_made: 0,
            apps: 0,
            nodes: 0,
            opened_ms: now_ms,
            nonce_floor: 0,
        }
    }

    /// Balance and line together: what can be spent.
    #[must_use]
    pub fn available(&self) -> Credits {
        self.balance.plus(self.line).unwrap_or(Credits::ZERO)
    }
}

impl Row for Account {
    type Key = AccountId;
    const TAG: u8 = 1;
}

/// A key of an account.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyRecord {
    /// What it may do. Most changes to a record only count a nonce, and copy no grant.
    pub grant: Arc<Grant>,
    /// The nonce of its next transaction.
    pub nonce: u64,
    /// Block time at which the budget's current period began.
    pub period_start_ms: u64,
    /// What it spent in the current period.
    pub spent: Credits,
    /// Block time at which it was added.
    pub added_ms: u64,
}

impl KeyRecord {
    pub(crate) fn new(grant: Grant, nonce: u64, now_ms: u64) -> Self {
        Self {
            grant: Arc::new(grant),
            nonce,
            period_start_ms: now_ms,
            spent: Credits::ZERO,
            added_ms: now_ms,
        }
    }
}

impl Row for KeyRecord {
    type Key = (AccountId, PublicKey);
    const TAG: u8 = 2;
}

impl AccountId {
    /// The account that begins with `key`.
    #[must_use]
    pub fn of_first_key(key: &PublicKey) -> Self {
        Self(codec::hash("allod account v1", key))
    }

    /// The account that rounding remainders and fees go to. No key belongs to it.
    pub const COMMONS: Self = Self([0; 32]);
}
