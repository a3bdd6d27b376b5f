//! What belongs to an account: the rows that it takes along when it leaves.

use std::collections::BTreeSet;

use crate::account::{Account, KeyRecord};
use crate::app::{App, Revision, Slot};
use crate::bill;
use crate::holdings::{Held, Kind, Whose};
use crate::id::{AccountId, AppId, Label, LeaseId, NodeId};
use crate::key::PublicKey;
use crate::lease::Lease;
use crate::node::{Node, Reach, Uptime};
use crate::state::State;
use crate::table::{Row as _, Table};
use crate::validator::Seat;
use crate::volume::{Volume, VolumeKey};

/// A row that can belong to an account, read from what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owned {
    /// A key of an account.
    Key((AccountId, PublicKey), KeyRecord),
    /// A machine.
    Node(NodeId, Node),
    /// An app.
    App(AppId, App),
    /// A kept revision of an app.
    Revision((AppId, u64), Revision),
    /// A volume.
    Volume(VolumeKey, Volume),
    /// A line of a bill.
    BillLine(bill::LineKey, bill::Line),
    /// Of another kind.
    Other(Kind, Whose),
}

impl Owned {
    /// Reads a stored key and row; nothing where one of them is no canonical encoding, or of a table of nobody's.
    #[must_use]
    pub fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        fn row<R: Held>(key: &[u8], value: &[u8]) -> Option<(R::Key, R)> {
            Some((borsh::from_slice(key).ok()?, borsh::from_slice(value).ok()?))
        }
        fn other<R: Held>(key: &[u8], value: &[u8]) -> Option<Owned> {
            let (key, row) = row::<R>(key, value)?;
            Some(Owned::Other(R::KIND, R::whose(&key, &row)))
        }
        let (tag, key) = key.split_first()?;
        match *tag {
            Account::TAG => other::<Account>(key, value),
            KeyRecord::TAG => row(key, value).map(|(key, row)| Self::Key(key, row)),
            Node::TAG => row(key, value).map(|(key, row)| Self::Node(key, row)),
            App::TAG => row(key, value).map(|(key, row)| Self::App(key, row)),
            Revision::TAG => row(key, value).map(|(key, row)| Self::Revision(key, row)),
            Slot::TAG => other::<Slot>(key, value),
            Lease::TAG => other::<Lease>(key, value),
            bill::Line::TAG => row(key, value).map(|(key, row)| Self::BillLine(key, row)),
            Volume::TAG => row(key, value).map(|(key, row)| Self::Volume(key, row)),
            Reach::TAG => other::<Reach>(key, value),
            Seat::TAG => other::<Seat>(key, value),
            Uptime::TAG => other::<Uptime>(key, value),
            _ => None,
        }
    }

    /// What it is, and whose.
    #[must_use]
    pub fn whose(&self) -> (Kind, Whose) {
        fn of<R: Held>(key: &R::Key, row: &R) -> (Kind, Whose) {
            (R::KIND, R::whose(key, row))
        }
        match self {
            Self::Key(key, row) => of(key, row),
            Self::Node(key, row) => of(key, row),
            Self::App(key, row) => of(key, row),
            Self::Revision(key, row) => of(key, row),
            Self::Volume(key, row) => of(key, row),
            Self::BillLine(key, row) => of(key, row),
            Self::Other(kind, whose) => (*kind, *whose),
        }
    }
}

impl State {
    /// The stored keys of the rows that belong to an account, for [`State::prove`]: the account itself and its keys; its
    /// machines with their reach, seat and uptime, and what runs there; its apps with their kept revisions and slots;
    /// its active leases, its volumes, and the lines of its bills.
    #[must_use]
    pub fn owned_by(&self, owner: &AccountId) -> BTreeSet<Vec<u8>> {
        let mut keys = BTreeSet::new();
        if self.accounts.get(owner).is_none() {
            return keys;
        }
        keys.insert(Table::<Account>::stored_key(owner));
        let signers = self.keys_of(owner).map(|(key, _)| (*owner, key));
        keys.extend(signers.map(|key| Table::<KeyRecord>::stored_key(&key)));
        let own = self.nodes().filter(|(_, node)| node.operator == *owner);
        for (node, _) in own {
            self.add_machine(node, &mut keys);
        }
        for (_, app) in self.apps_of(owner) {
            keys.insert(Table::<App>::stored_key(&app));
            let revisions = self.revisions_of(&app).map(|(key, _)| key);
            keys.extend(revisions.map(Table::<Revision>::stored_key));
            keys.extend(self.slots_of(&app).iter().map(Table::<Slot>::stored_key));
            let leases = self.active_leases_of(&app);
            keys.extend(leases.iter().map(Table::<Lease>::stored_key));
        }
        let (first, last) = (Label([0; 32]), Label([u8::MAX; 32]));
        let volumes = (*owner, first, first)..=(*owner, last, last);
        let volumes = self.volumes.range(volumes).map(|(key, _)| key);
        keys.extend(volumes.map(Table::<Volume>::stored_key));
        let (first, last) = (LeaseId([0; 32]), LeaseId([u8::MAX; 32]));
        let lines = (*owner, 0, first)..=(*owner, u32::MAX, last);
        let lines = self.bill_lines.range(lines).map(|(key, _)| key);
        keys.extend(lines.map(Table::<bill::Line>::stored_key));
        keys
    }

    /// A machine with what it has, and what runs there.
    fn add_machine(&self, node: &NodeId, keys: &mut BTreeSet<Vec<u8>>) {
        keys.insert(Table::<Node>::stored_key(node));
        if self.reaches.get(node).is_some() {
            keys.insert(Table::<Reach>::stored_key(node));
        }
        if self.seats.get(node).is_some() {
            keys.insert(Table::<Seat>::stored_key(node));
        }
        if self.uptimes.get(node).is_some() {
            keys.insert(Table::<Uptime>::stored_key(node));
        }
        let leases = self.active_leases_on(node);
        keys.extend(leases.iter().map(Table::<Lease>::stored_key));
    }
}
