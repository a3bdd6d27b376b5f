//! What shows a row to whoever holds a header alone: every table has to be here.

use crate::account::{Account, KeyRecord};
use crate::app::{App, Revision, Slot};
use crate::bill;
use crate::holdings::Holdings;
use crate::id::{AccountId, LeaseId};
use crate::lease::Lease;
use crate::node::{Node, Reach, Uptime};
use crate::proof::Proof;
use crate::state::{Params, State};
use crate::table::{Row, Table};
use crate::tree::Tree;
use crate::validator::{Seat, ValidatorSet};
use crate::volume::Volume;

impl State {
    /// The stored key of an account's row, for [`State::prove`].
    #[must_use]
    pub fn account_key(id: &AccountId) -> Vec<u8> {
        Table::<Account>::stored_key(id)
    }

    /// The stored key of the row that says how many rows an account has, for [`State::prove`].
    #[must_use]
    pub fn holdings_key(id: &AccountId) -> Vec<u8> {
        Table::<Holdings>::stored_key(id)
    }

    /// The stored key of a lease's row, for [`State::prove`].
    #[must_use]
    pub fn lease_key(id: &LeaseId) -> Vec<u8> {
        Table::<Lease>::stored_key(id)
    }

    /// The stored key of a bill line's row, for [`State::prove`].
    #[must_use]
    pub fn bill_line_key(key: &bill::LineKey) -> Vec<u8> {
        Table::<bill::Line>::stored_key(key)
    }

    /// The value stored at a stored key, and the proof that it is, or that nothing is.
    #[must_use]
    pub fn prove(&self, stored_key: &[u8]) -> (Option<Vec<u8>>, Proof) {
        (
            self.stored_value(stored_key),
            self.tree.prove(&Tree::path_of(stored_key)),
        )
    }

    fn stored_value(&self, stored_key: &[u8]) -> Option<Vec<u8>> {
        fn value<R: Row>(table: &Table<R>, key: &[u8]) -> Option<Vec<u8>> {
            let key: R::Key = borsh::from_slice(key).ok()?;
            table
                .get(&key)
                .map(|row| crate::codec::encode(row.as_ref()))
        }
        let (tag, key) = stored_key.split_first()?;
        match *tag {
            Account::TAG => value(&self.accounts, key),
            KeyRecord::TAG => value(&self.keys, key),
            Node::TAG => value(&self.nodes, key),
            App::TAG => value(&self.apps, key),
            Revision::TAG => value(&self.revisions, key),
            Slot::TAG => value(&self.slots, key),
            Lease::TAG => value(&self.leases, key),
            bill::Line::TAG => value(&self.bill_lines, key),
            Volume::TAG => value(&self.volumes, key),
            Params::TAG => value(&self.params, key),
            ValidatorSet::TAG => value(&self.validators, key),
            Reach::TAG => value(&self.reaches, key),
            Seat::TAG => value(&self.seats, key),
            Uptime::TAG => value(&self.uptimes, key),
            Holdings::TAG => value(&self.holdings, key),
            _ => None,
        }
    }
}
