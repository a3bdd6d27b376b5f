//! Each account has as many rows as the state counts for it: counted again from what is stored, by whom each row names.

use std::collections::BTreeMap;

use allod_state::app::App;
use allod_state::holdings::Kind;
use allod_state::lease::Lease;
use allod_state::node::Node;
use allod_state::{AccountId, AppId, NodeId};
use borsh::BorshDeserialize;

use super::{Check, Found, Fresh};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) struct Holdings;

impl Check for Holdings {
    fn name(&self) -> &'static str {
        "holdings"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let mut counts = counted(fresh.rows)?;
        for (id, _) in fresh.told.state.accounts() {
            let stated = fresh.told.state.holdings(id).rows;
            let found = counts.remove(id).unwrap_or_default();
            if stated != found {
                return Err(format!("{id} has {found:?}; the state counts {stated:?}"));
            }
        }
        match counts.pop_first() {
            None => Ok(()),
            Some((id, found)) => Err(format!("{id} is no account and has {found:?}")),
        }
    }
}

/// What a stored key begins with after its table's number: most name whose the row is.
fn named<T: BorshDeserialize>(key: &[u8]) -> Result<T, String> {
    T::deserialize(&mut key.get(1..).unwrap_or_default())
        .map_err(|error| format!("a stored key cannot be read: {error}"))
}

fn read<T: BorshDeserialize>(value: &[u8]) -> Result<T, String> {
    borsh::from_slice(value).map_err(|error| format!("a stored row cannot be read: {error}"))
}

fn counted(rows: &Rows) -> Result<BTreeMap<AccountId, BTreeMap<Kind, u64>>, String> {
    let (mut owners, mut operators) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in rows {
        match key.first() {
            Some(3) => drop(operators.insert(named::<NodeId>(key)?, read::<Node>(value)?.operator)),
            Some(4) => drop(owners.insert(named::<AppId>(key)?, read::<App>(value)?.owner)),
            _ => {}
        }
    }
    let owner = |key: &[u8]| {
        let app = named::<AppId>(key)?;
        let owner = owners.get(&app).copied();
        owner.ok_or_else(|| format!("a part of the app {app}, which is gone"))
    };
    let operator = |key: &[u8]| {
        let node = named::<NodeId>(key)?;
        let operator = operators.get(&node).copied();
        operator.ok_or_else(|| format!("a part of the machine {node}, which is gone"))
    };
    let mut counts: BTreeMap<AccountId, BTreeMap<Kind, u64>> = BTreeMap::new();
    for (key, value) in rows {
        let (kind, accounts) = match key.first() {
            Some(1) => (Kind::Account, vec![named(key)?]),
            Some(2) => (Kind::Key, vec![named(key)?]),
            Some(3) => (Kind::Node, vec![operator(key)?]),
            Some(4) => (Kind::App, vec![owner(key)?]),
            Some(5) => (Kind::Revision, vec![owner(key)?]),
            Some(6) => (Kind::Slot, vec![owner(key)?]),
            Some(7) => (Kind::Lease, sides(&read(value)?)),
            Some(8) => (Kind::BillLine, vec![named(key)?]),
            Some(9) => (Kind::Volume, vec![named(key)?]),
            Some(12) => (Kind::Reach, vec![operator(key)?]),
            Some(13) => (Kind::Seat, vec![operator(key)?]),
            Some(14) => (Kind::Uptime, vec![operator(key)?]),
            _ => continue,
        };
        for account in accounts {
            *counts.entry(account).or_default().entry(kind).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Who has a part in a lease while it runs: two, or one alone on a machine of its own.
fn sides(lease: &Lease) -> Vec<AccountId> {
    let mut sides = vec![lease.payer, lease.payee];
    sides.dedup();
    sides.retain(|_| lease.ended_ms().is_none());
    sides
}
