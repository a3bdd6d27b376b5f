//! Altering the rows of a state, as a wrong law would have written them.

use std::collections::BTreeMap;

use allod_state::account::{Account, KeyRecord};
use allod_state::app::{Slot, SlotKey};
use allod_state::block::Header;
use allod_state::holdings::{Holdings, Kind};
use allod_state::lease::Lease;
use allod_state::node::Node;
use allod_state::state::{Params, RestoreError};
use allod_state::validator::ValidatorSet;
use allod_state::{AccountId, Credits, LeaseId, NodeId, Root, State, bill, codec};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::mutation::Mutation;
use crate::person::{VALIDATORS as NUMBERS, validator};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Tamper = fn(&mut Rows) -> Option<()>;

// The tags of the tables' stored keys; a golden vector of the law freezes them.
const ACCOUNT: u8 = 1;
const KEY: u8 = 2;
const NODE: u8 = 3;
const SLOT: u8 = 6;
const LEASE: u8 = 7;
const BILL_LINE: u8 = 8;
const PARAMS: u8 = 10;
const VALIDATORS: u8 = 11;
const HOLDINGS: u8 = 15;

/// How a bug changes the rows; none where it lies elsewhere.
pub(crate) fn of(mutation: Mutation) -> Option<Tamper> {
    match mutation {
        Mutation::CreditMinted => Some(mint),
        Mutation::SupplyRaised => Some(|rows| mint(rows).and(raise_supply(rows))),
        Mutation::CreditMoved => Some(move_credit),
        Mutation::EpochFalls => Some(lower_epoch),
        Mutation::SecondLease => Some(second_lease),
        Mutation::SecondWriter => Some(second_writer),
        Mutation::BillRaised => Some(raise_bill),
        Mutation::MeterForgets => Some(forget_charge),
        Mutation::NonceFalls => Some(lower_nonce),
        Mutation::GoneUntold => Some(lose_somebody),
        Mutation::GoneCounted => Some(count_on),
        Mutation::SeatUnasked => Some(seat_somebody),
        _ => None,
    }
}

/// The root of the altered rows under a header; none where there was nothing to alter.
pub(crate) fn root(header: &Header, rows: &Rows, tamper: Tamper) -> Option<(Root, Rows)> {
    let mut rows = rows.clone();
    tamper(&mut rows)?;
    // Restoring says which root the rows have where it is not the header's.
    match State::restore(header, rows.clone()) {
        Err(RestoreError::WrongRoot { found, .. }) => Some((found, rows)),
        _ => None,
    }
}

/// The state of the altered rows; none where there was nothing to alter.
pub(crate) fn restored(header: &Header, rows: &Rows, tamper: Tamper) -> Option<State> {
    let (root, rows) = root(header, rows, tamper)?;
    let header = Header {
        root,
        ..header.clone()
    };
    State::restore(&header, rows).ok()
}

/// Changes the first row of a table that `change` can change.
fn alter<K, R>(rows: &mut Rows, tag: u8, mut change: impl FnMut(&K, &mut R) -> bool) -> Option<()>
where
    K: BorshDeserialize,
    R: BorshDeserialize + BorshSerialize,
{
    for (key, value) in rows.iter_mut() {
        let Some((_, rest)) = key.split_first().filter(|(first, _)| **first == tag) else {
            continue;
        };
        let name: K = borsh::from_slice(rest).ok()?;
        let mut row: R = borsh::from_slice(value).ok()?;
        if change(&name, &mut row) {
            *value = codec::encode(&row);
            return Some(());
        }
    }
    None
}

fn raised(credits: Credits, micro: i128) -> Credits {
    Credits::from_micro(credits.micro() + micro)
}

pub(crate) fn mint(rows: &mut Rows) -> Option<()> {
    alter(rows, ACCOUNT, |_: &AccountId, account: &mut Account| {
        account.balance = raised(account.balance, 1);
        true
    })
}

fn raise_supply(rows: &mut Rows) -> Option<()> {
    alter(rows, PARAMS, |_: &u8, params: &mut Params| {
        params.supply = raised(params.supply, 1);
        true
    })
}

fn move_credit(rows: &mut Rows) -> Option<()> {
    let mut taken = false;
    alter(rows, ACCOUNT, |_: &AccountId, account: &mut Account| {
        taken = account.balance > Credits::ZERO;
        account.balance = raised(account.balance, -1);
        taken
    })?;
    let mut is_first = true;
    alter(rows, ACCOUNT, |_: &AccountId, account: &mut Account| {
        account.balance = raised(account.balance, 1);
        // The very first account is the commons; the credit goes to another.
        !std::mem::replace(&mut is_first, false)
    })
}

fn lose_somebody(rows: &mut Rows) -> Option<()> {
    alter(rows, NODE, |_: &NodeId, node: &mut Node| {
        !std::mem::replace(&mut node.is_unreachable, true)
    })
}

fn lower_epoch(rows: &mut Rows) -> Option<()> {
    alter(rows, SLOT, |_: &SlotKey, slot: &mut Slot| {
        slot.epoch -= 1;
        true
    })
}

fn lower_nonce(rows: &mut Rows) -> Option<()> {
    alter(
        rows,
        KEY,
        |_: &(AccountId, allod_state::PublicKey), key: &mut KeyRecord| {
            let has_nonce = key.nonce > 0;
            key.nonce = key.nonce.saturating_sub(1);
            has_nonce
        },
    )
}

fn seat_somebody(rows: &mut Rows) -> Option<()> {
    alter(rows, VALIDATORS, |_: &u8, set: &mut ValidatorSet| {
        let unasked = (
            allod_ledger::bft::Signer::public_key(&validator(NUMBERS.end)),
            1,
        );
        let powers = set.iter().map(|(key, _)| (*key, 1));
        *set = ValidatorSet::new(powers.chain([unasked]));
        true
    })
}

fn raise_bill(rows: &mut Rows) -> Option<()> {
    alter(
        rows,
        BILL_LINE,
        |_: &bill::LineKey, line: &mut bill::Line| {
            line.amount = raised(line.amount, 1);
            true
        },
    )
}

fn count_on(rows: &mut Rows) -> Option<()> {
    alter(rows, HOLDINGS, |_: &AccountId, holdings: &mut Holdings| {
        let leases = holdings.rows.get_mut(&Kind::Lease);
        leases.map(|leases| *leases += 1).is_some()
    })
}

fn forget_charge(rows: &mut Rows) -> Option<()> {
    alter(rows, LEASE, |_: &LeaseId, lease: &mut Lease| {
        let was_charged = lease.meter.charged > Credits::ZERO;
        lease.meter.charged = raised(lease.meter.charged, -1);
        was_charged
    })
}

fn copy_lease(rows: &mut Rows, is_wanted: impl Fn(&Lease) -> bool, replica: u32) -> Option<()> {
    let mut found = None;
    alter(rows, LEASE, |_: &LeaseId, lease: &mut Lease| {
        if found.is_none() && lease.is_active() && is_wanted(lease) {
            found = Some(lease.clone());
        }
        found.is_some()
    })?;
    let mut lease = found?;
    lease.epoch += 1;
    lease.replica += replica;
    let id = LeaseId::of(&lease.slot(), lease.epoch);
    rows.insert(State::lease_key(&id), codec::encode(&lease));
    Some(())
}

fn second_lease(rows: &mut Rows) -> Option<()> {
    copy_lease(rows, |_| true, 0)
}

fn second_writer(rows: &mut Rows) -> Option<()> {
    copy_lease(rows, |lease| !lease.volumes.is_empty(), 1)
}
