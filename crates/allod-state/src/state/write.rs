//! Changes to the state: each keeps the derived part true.

use std::sync::Arc;

use crate::account::{Account, KeyRecord};
use crate::app::{App, Revision, Slot, SlotKey};
use crate::bill;
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
    }

    pub(crate) fn put_key(&mut self, account: AccountId, key: PublicKey, record: KeyRecord) {
        let before = self.keys.put((account, key), Arc::new(record));
        self.derived
            .key_changed(&account, &key, before.is_some(), true);
    }

    pub(crate) fn remove_key(&mut self, account: &AccountId, key: &PublicKey) {
        let before = self.keys.remove(&(*account, *key));
        self.derived
            .key_changed(account, key, before.is_some(), false);
    }

    pub(crate) fn put_node(&mut self, id: NodeId, node: Node) {
        let node = Arc::new(node);
        let before = self.nodes.put(id, Arc::clone(&node));
        self.derived.node_changed(&id, before.as_ref(), Some(&node));
    }

    pub(crate) fn put_app(&mut self, id: AppId, app: App) {
        let app = Arc::new(app);
        let before = self.apps.put(id, Arc::clone(&app));
        self.derived.app_changed(&id, before.as_deref(), Some(&app));
    }

    pub(crate) fn remove_app(&mut self, id: &AppId) {
        let before = self.apps.remove(id);
        self.derived.app_changed(id, before.as_deref(), None);
    }

    pub(crate) fn put_revision(&mut self, key: (AppId, u64), revision: Revision) {
        self.revisions.put(key, Arc::new(revision));
    }

    pub(crate) fn remove_revision(&mut self, key: &(AppId, u64)) {
        self.revisions.remove(key);
    }

    pub(crate) fn put_slot(&mut self, key: SlotKey, slot: Slot) {
        let slot = Arc::new(slot);
        let before = self.slots.put(key, Arc::clone(&slot));
        self.derived
            .slot_changed(&key, before.as_deref(), Some(&slot), &self.leases);
    }

    pub(crate) fn remove_slot(&mut self, key: &SlotKey) {
        let before = self.slots.remove(key);
        self.derived
            .slot_changed(key, before.as_deref(), None, &self.leases);
    }

    pub(crate) fn put_lease(&mut self, id: LeaseId, lease: Lease) {
        let lease = Arc::new(lease);
        let before = self.leases.put(id, Arc::clone(&lease));
        self.derived
            .lease_changed(&id, before.as_deref(), Some(&lease));
    }

    pub(crate) fn remove_lease(&mut self, id: &LeaseId) {
        let before = self.leases.remove(id);
        self.derived.lease_changed(id, before.as_deref(), None);
    }

    pub(crate) fn put_bill_line(&mut self, key: bill::LineKey, line: bill::Line) {
        self.bill_lines.put(key, Arc::new(line));
    }

    pub(crate) fn put_volume(&mut self, key: VolumeKey, volume: Volume) {
        self.volumes.put(key, Arc::new(volume));
    }

    pub(crate) fn remove_volume(&mut self, key: &VolumeKey) {
        self.volumes.remove(key);
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
        self.seats.put(node, Arc::new(seat));
    }

    pub(crate) fn remove_seat(&mut self, node: &NodeId) {
        self.seats.remove(node);
    }

    pub(crate) fn put_reach(&mut self, node: NodeId, reach: Reach) {
        self.reaches.put(node, Arc::new(reach));
    }

    pub(crate) fn put_uptime(&mut self, node: NodeId, uptime: Uptime) {
        self.uptimes.put(node, Arc::new(uptime));
    }
}
