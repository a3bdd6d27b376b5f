//! Changes to the state: each keeps the derived part true, and counts the row for whose it is.

use std::sync::Arc;

use crate::account::{Account, KeyRecord};
use crate::app::{App, Revision, Slot, SlotKey};
use crate::bill;
use crate::holdings::{Held, Holdings, Whose};
use crate::id::{AccountId, AppId, LeaseId, NodeId};
use crate::key::PublicKey;
use crate::lease::Lease;
use crate::node::{Node, Reach, Uptime};
use crate::state::{ELECTED, Params, State, VALIDATING};
use crate::validator::{Seat, ValidatorSet};
use crate::volume::{Volume, VolumeKey};

impl State {
    pub(crate) fn put_account(&mut self, id: AccountId, account: Account) {
        let account = Arc::new(account);
        let before = self.accounts.put(id, Arc::clone(&account));
        self.derived
            .account_changed(before.as_deref(), Some(&account));
        self.held(&id, before.as_deref(), Some(account.as_ref()));
    }

    pub(crate) fn put_key(&mut self, account: AccountId, key: PublicKey, record: KeyRecord) {
        let record = Arc::new(record);
        let before = self.keys.put((account, key), Arc::clone(&record));
        self.derived
            .key_changed(&account, &key, before.is_some(), true);
        self.held(&(account, key), before.as_deref(), Some(record.as_ref()));
    }

    pub(crate) fn remove_key(&mut self, account: &AccountId, key: &PublicKey) {
        let before = self.keys.remove(&(*account, *key));
        self.derived
            .key_changed(account, key, before.is_some(), false);
        self.held(&(*account, *key), before.as_deref(), None);
    }

    pub(crate) fn put_node(&mut self, id: NodeId, node: Node) {
        let node = Arc::new(node);
        let before = self.nodes.put(id, Arc::clone(&node));
        self.derived.node_changed(&id, before.as_ref(), Some(&node));
        self.held(&id, before.as_deref(), Some(node.as_ref()));
    }

    pub(crate) fn put_app(&mut self, id: AppId, app: App) {
        let app = Arc::new(app);
        let before = self.apps.put(id, Arc::clone(&app));
        self.derived.app_changed(&id, before.as_deref(), Some(&app));
        self.held(&id, before.as_deref(), Some(app.as_ref()));
    }

    pub(crate) fn remove_app(&mut self, id: &AppId) {
        let before = self.apps.remove(id);
        self.derived.app_changed(id, before.as_deref(), None);
        self.held(id, before.as_deref(), None);
    }

    pub(crate) fn put_revision(&mut self, key: (AppId, u64), revision: Revision) {
        let revision = Arc::new(revision);
        let before = self.revisions.put(key, Arc::clone(&revision));
        self.held(&key, before.as_deref(), Some(revision.as_ref()));
    }

    pub(crate) fn remove_revision(&mut self, key: &(AppId, u64)) {
        let before = self.revisions.remove(key);
        self.held(key, before.as_deref(), None);
    }

    pub(crate) fn put_slot(&mut self, key: SlotKey, slot: Slot) {
        let slot = Arc::new(slot);
        let before = self.slots.put(key, Arc::clone(&slot));
        self.derived
            .slot_changed(&key, before.as_deref(), Some(&slot), &self.leases);
        self.held(&key, before.as_deref(), Some(slot.as_ref()));
    }

    pub(crate) fn remove_slot(&mut self, key: &SlotKey) {
        let before = self.slots.remove(key);
        self.derived
            .slot_changed(key, before.as_deref(), None, &self.leases);
        self.held(key, before.as_deref(), None);
    }

    pub(crate) fn put_lease(&mut self, id: LeaseId, lease: Lease) {
        let lease = Arc::new(lease);
        let before = self.leases.put(id, Arc::clone(&lease));
        self.derived
            .lease_changed(&id, before.as_deref(), Some(&lease));
        self.held(&id, before.as_deref(), Some(lease.as_ref()));
    }

    pub(crate) fn remove_lease(&mut self, id: &LeaseId) {
        let before = self.leases.remove(id);
        self.derived.lease_changed(id, before.as_deref(), None);
        self.held(id, before.as_deref(), None);
    }

    pub(crate) fn put_bill_line(&mut self, key: bill::LineKey, line: bill::Line) {
        let before = self.bill_lines.put(key, Arc::new(line));
        self.held(&key, before.as_deref(), Some(&line));
    }

    pub(crate) fn put_volume(&mut self, key: VolumeKey, volume: Volume) {
        let volume = Arc::new(volume);
        let before = self.volumes.put(key, Arc::clone(&volume));
        self.held(&key, before.as_deref(), Some(volume.as_ref()));
    }

    pub(crate) fn remove_volume(&mut self, key: &VolumeKey) {
        let before = self.volumes.remove(key);
        self.held(key, before.as_deref(), None);
    }

    pub(crate) fn put_params(&mut self, params: Params) {
        self.params.put(0, Arc::new(params));
    }

    pub(crate) fn put_validators(&mut self, validators: ValidatorSet) {
        self.validators.put(VALIDATING, Arc::new(validators));
    }

    pub(crate) fn put_elected(&mut self, elected: ValidatorSet) {
        self.validators.put(ELECTED, Arc::new(elected));
    }

    pub(crate) fn put_seat(&mut self, node: NodeId, seat: Seat) {
        let seat = Arc::new(seat);
        let before = self.seats.put(node, Arc::clone(&seat));
        self.held(&node, before.as_deref(), Some(seat.as_ref()));
    }

    pub(crate) fn remove_seat(&mut self, node: &NodeId) {
        let before = self.seats.remove(node);
        self.held(node, before.as_deref(), None);
    }

    pub(crate) fn put_reach(&mut self, node: NodeId, reach: Reach) {
        let reach = Arc::new(reach);
        let before = self.reaches.put(node, Arc::clone(&reach));
        self.held(&node, before.as_deref(), Some(reach.as_ref()));
    }

    pub(crate) fn put_uptime(&mut self, node: NodeId, uptime: Uptime) {
        let uptime = Arc::new(uptime);
        let before = self.uptimes.put(node, Arc::clone(&uptime));
        self.held(&node, before.as_deref(), Some(uptime.as_ref()));
    }

    /// Counts a row for those whose it is now, and for those whose it was no longer. An app is there before its parts
    /// and as long as they are, and so is a machine: neither ever becomes another one's.
    fn held<R: Held>(&mut self, key: &R::Key, before: Option<&R>, after: Option<&R>) {
        let whose = |row: Option<&R>| row.map_or(Whose::Nobody, |row| R::whose(key, row));
        let (before, after) = (whose(before), whose(after));
        if before == after {
            return;
        }
        for account in self.holders(before).into_iter().flatten() {
            self.change_holdings(account, |holdings| holdings.take(R::KIND));
        }
        for account in self.holders(after).into_iter().flatten() {
            self.change_holdings(account, |holdings| holdings.add(R::KIND));
        }
    }

    fn holders(&self, whose: Whose) -> [Option<AccountId>; 2] {
        match whose {
            Whose::Nobody => [None, None],
            Whose::One(account) => [Some(account), None],
            Whose::Two(one, other) => [Some(one), Some(other)],
            Whose::OfApp(app) => [self.apps.get(&app).map(|app| app.owner), None],
            Whose::OfNode(node) => [self.operator_of(&node), None],
        }
    }

    fn change_holdings(&mut self, account: AccountId, change: impl FnOnce(&mut Holdings)) {
        let mut holdings = self.holdings(&account);
        change(&mut holdings);
        self.holdings.put(account, Arc::new(holdings));
    }
}
