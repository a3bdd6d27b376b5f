//! The state: typed tables under one root, and what is derived from them.
//!
//! Every table shares structure between versions, so that a copy of the whole state costs a few reference counts.
//! That one property serves two needs: a proposal is executed on a copy and dropped if it loses, and readers hold a
//! height for as long as they like. A failed transaction is taken back row by row instead, so that one that succeeds
//! costs no copy.
//!
//! Only rows are authenticated and stored. The derived part answers questions quickly (what a node has left, which
//! slots are due) and is rebuilt from the rows.

mod derived;
pub(crate) mod inventory;
mod owned;
mod promised;
mod prove;
mod read;
mod ring;
mod write;

pub use owned::Owned;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::{Account, KeyRecord};
use crate::app::{App, Revision, Slot};
use crate::bill;
use crate::block::Header;
use crate::holdings::Holdings;
use crate::id::{BlockId, NetworkId, Root};
use crate::lease::Lease;
use crate::money::Credits;
use crate::node::{Node, Reach, Uptime};
pub use crate::table::Write;
use crate::table::{Row, Table};
use crate::tree::Tree;
use crate::validator::{Seat, ValidatorSet};
use crate::volume::Volume;

use derived::Derived;

/// What genesis fixes for a network's life.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Price of one work unit.
    pub fee_per_work: Credits,
    /// The sum over all accounts.
    pub supply: Credits,
    /// Genesis time in milliseconds since 1970.
    pub genesis_ms: u64,
}

impl Row for Params {
    type Key = u8;
    const TAG: u8 = 10;
}

/// The key of the set that decides the next block.
const VALIDATING: u8 = 0;
/// The key of the set that was elected, and may be too small to validate yet.
const ELECTED: u8 = 1;

impl Row for ValidatorSet {
    type Key = u8;
    const TAG: u8 = 11;
}

/// The place of a state in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The height whose block led here; 0 for genesis.
    pub height: u64,
    /// That block's time.
    pub time_ms: u64,
    /// That block's id; the network id's bytes for genesis.
    pub block: BlockId,
}

/// Everything the law knows after some block. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct State {
    network: NetworkId,
    tip: Tip,
    accounts: Table<Account>,
    keys: Table<KeyRecord>,
    nodes: Table<Node>,
    apps: Table<App>,
    revisions: Table<Revision>,
    slots: Table<Slot>,
    leases: Table<Lease>,
    bill_lines: Table<bill::Line>,
    volumes: Table<Volume>,
    params: Table<Params>,
    validators: Table<ValidatorSet>,
    reaches: Table<Reach>,
    seats: Table<Seat>,
    uptimes: Table<Uptime>,
    holdings: Table<Holdings>,
    tree: Tree,
    derived: Derived,
}

/// Stored rows do not make up the state that a header commits to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A stored row cannot be read.
    #[error(
        "a stored row with tag {tag:?} cannot be read: the store is damaged or of another version"
    )]
    BadRow {
        /// The first byte of its key.
        tag: Option<u8>,
    },
    /// The rows have another root than the header.
    #[error(
        "the stored rows have the root {found}, but the header says {expected}: the store is damaged"
    )]
    WrongRoot {
        /// The rows' root.
        found: Root,
        /// The header's root.
        expected: Root,
    },
}

/// Calls one method of every table, in the order of their tags.
macro_rules! each_table {
    ($state:ident, $method:ident($($argument:expr)?)) => {
        $state.accounts.$method($($argument)?);
        $state.keys.$method($($argument)?);
        $state.nodes.$method($($argument)?);
        $state.apps.$method($($argument)?);
        $state.revisions.$method($($argument)?);
        $state.slots.$method($($argument)?);
        $state.leases.$method($($argument)?);
        $state.bill_lines.$method($($argument)?);
        $state.volumes.$method($($argument)?);
        $state.params.$method($($argument)?);
        $state.validators.$method($($argument)?);
        $state.reaches.$method($($argument)?);
        $state.seats.$method($($argument)?);
        $state.uptimes.$method($($argument)?);
        $state.holdings.$method($($argument)?);
    };
}

impl State {
    pub(crate) fn empty(network: NetworkId, time_ms: u64) -> Self {
        let tip = Tip {
            height: 0,
            time_ms,
            block: BlockId(*network.as_bytes()),
        };
        Self {
            network,
            tip,
            accounts: Table::default(),
            keys: Table::default(),
            nodes: Table::default(),
            apps: Table::default(),
            revisions: Table::default(),
            slots: Table::default(),
            leases: Table::default(),
            bill_lines: Table::default(),
            volumes: Table::default(),
            params: Table::default(),
            validators: Table::default(),
            reaches: Table::default(),
            seats: Table::default(),
            uptimes: Table::default(),
            holdings: Table::default(),
            tree: Tree::default(),
            derived: Derived::default(),
        }
    }

    /// Builds the state again from its stored rows (in any order) and the header of its height.
    ///
    /// # Errors
    /// Where a row cannot be read or the rows do not have the header's root.
    pub fn restore(
        header: &Header,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, RestoreError> {
        let mut state = Self::empty(header.network, header.time_ms);
        let mut leaves = Vec::new();
        for (key, value) in rows {
            leaves.push((Tree::path_of(&key), Some(Tree::value_of(&value))));
            let tag = key.first().copied();
            state
                .restore_row(&key, &value)
                .ok_or(RestoreError::BadRow { tag })?;
        }
        state.tree.write(leaves);
        if state.root() != header.root {
            return Err(RestoreError::WrongRoot {
                found: state.root(),
                expected: header.root,
            });
        }
        state.moved_to(header);
        Ok(state)
    }

    fn restore_row(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (tag, key) = key.split_first()?;
        match *tag {
            Account::TAG => {
                let (_, row) = self.accounts.restore(key, value)?;
                self.derived.account_changed(None, Some(&row));
            }
            KeyRecord::TAG => {
                let ((account, key), _) = self.keys.restore(key, value)?;
                self.derived.key_changed(&account, &key, false, true);
            }
            Node::TAG => {
                let (id, row) = self.nodes.restore(key, value)?;
                self.derived.node_changed(&id, None, Some(&row));
            }
            App::TAG => {
                let (id, row) = self.apps.restore(key, value)?;
                self.derived.app_changed(&id, None, Some(&row));
            }
            Revision::TAG => drop(self.revisions.restore(key, value)?),
            Slot::TAG => {
                let (key, row) = self.slots.restore(key, value)?;
                self.derived
                    .slot_changed(&key, None, Some(&row), &self.leases);
            }
            Lease::TAG => {
                let (id, row) = self.leases.restore(key, value)?;
                self.derived.lease_changed(&id, None, Some(&row));
            }
            bill::Line::TAG => drop(self.bill_lines.restore(key, value)?),
            Volume::TAG => drop(self.volumes.restore(key, value)?),
            Params::TAG => drop(self.params.restore(key, value)?),
            ValidatorSet::TAG => drop(self.validators.restore(key, value)?),
            Reach::TAG => drop(self.reaches.restore(key, value)?),
            Seat::TAG => drop(self.seats.restore(key, value)?),
            Uptime::TAG => drop(self.uptimes.restore(key, value)?),
            Holdings::TAG => drop(self.holdings.restore(key, value)?),
            _ => return None,
        }
        Some(())
    }

    /// Writes the changed rows into the tree and returns them for the store.
    pub(crate) fn seal(&mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        each_table!(self, drain(&mut writes));
        let leaves = writes
            .iter()
            .map(|(key, value)| (Tree::path_of(key), value.as_deref().map(Tree::value_of)));
        self.tree.write(leaves.collect());
        writes
    }

    /// Makes what was done so far in this block final: only what comes after can be undone.
    pub(crate) fn mark(&mut self) {
        each_table!(self, mark());
    }

    /// Takes back everything since the last mark. What is derived follows each row back: it depends on the rows that
    /// there are and not on how they came, so the tables may go one after the other.
    pub(crate) fn undo(&mut self) {
        let derived = &mut self.derived;
        self.accounts.undo(|_, now, then| {
            derived.account_changed(now.map(AsRef::as_ref), then.map(AsRef::as_ref));
        });
        self.keys.undo(|(account, key), now, then| {
            derived.key_changed(account, key, now.is_some(), then.is_some());
        });
        self.nodes
            .undo(|id, now, then| derived.node_changed(id, now, then));
        self.apps.undo(|id, now, then| {
            derived.app_changed(id, now.map(AsRef::as_ref), then.map(AsRef::as_ref));
        });
        self.slots.undo(|key, now, then| {
            let (now, then) = (now.map(AsRef::as_ref), then.map(AsRef::as_ref));
            derived.slot_changed(key, now, then, &self.leases);
        });
        self.leases.undo(|id, now, then| {
            derived.lease_changed(id, now.map(AsRef::as_ref), then.map(AsRef::as_ref));
        });
        self.revisions.undo(|_, _, _| {});
        self.bill_lines.undo(|_, _, _| {});
        self.volumes.undo(|_, _, _| {});
        self.params.undo(|_, _, _| {});
        self.validators.undo(|_, _, _| {});
        self.reaches.undo(|_, _, _| {});
        self.seats.undo(|_, _, _| {});
        self.uptimes.undo(|_, _, _| {});
        self.holdings.undo(|_, _, _| {});
    }

    pub(crate) fn moved_to(&mut self, header: &Header) {
        self.tip = Tip {
            height: header.height,
            time_ms: header.time_ms,
            block: header.id(),
        };
    }
}
