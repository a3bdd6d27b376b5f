//! What follows from the rows and is kept at hand: it is never stored and never authenticated.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::account::Account;
use crate::app::{App, Slot, SlotKey};
use crate::id::{AccountId, AppId, Label, LeaseId, NodeId};
use crate::key::PublicKey;
use crate::lease::Lease;
use crate::lease::witness::point_of;
use crate::limits::DOUBT_MS;
use crate::node::{Node, Resources};
use crate::state::inventory::Inventory;
use crate::table::Table;

#[derive(Debug, Clone, Default)]
pub(super) struct Derived {
    /// The sum of all balances, in micro-credits.
    pub(super) balance_sum: i128,
    /// The accounts that list a key.
    pub(super) accounts_by_key: OrdSet<(PublicKey, AccountId)>,
    /// Apps by owner and label.
    pub(super) apps_by_label: OrdMap<(AccountId, Label), AppId>,
    /// Who deployed an app's newest revision, with which key.
    deployers: OrdMap<AppId, (AccountId, PublicKey)>,
    /// What the active leases of an app cost in one hour, and what its replicas cost last that wait for their next
    /// lease, in micro-credits.
    reserved_by_app: OrdMap<AppId, i128>,
    /// What all apps that a key deployed cost in one hour, what waits included, in micro-credits.
    pub(super) reserved_by_key: OrdMap<(AccountId, PublicKey), i128>,
    /// What an account's active leases on nodes of other operators cost in one hour, in micro-credits.
    pub(super) promised_to_others: OrdMap<AccountId, i128>,
    /// Active leases by app and by a volume that they write to.
    pub(super) writers: OrdSet<(AppId, Label, LeaseId)>,
    /// What the active leases of a node take.
    pub(super) used: OrdMap<NodeId, Resources>,
    /// The nodes with what they have left.
    pub(super) inventory: Inventory,
    /// The nodes by their point on the ring: the next ones from there watch them.
    pub(super) points: OrdSet<(NodeId, NodeId)>,
    /// How many active leases of a service a node has.
    pub(super) replicas_on: OrdMap<(AppId, Label, NodeId), u32>,
    /// Active leases by app.
    pub(super) active_by_app: OrdSet<(AppId, LeaseId)>,
    /// Active leases by node.
    pub(super) active_by_node: OrdSet<(NodeId, LeaseId)>,
    /// Active leases by those who watch their holders, which are not the holders themselves.
    pub(super) active_by_witness: OrdSet<(NodeId, LeaseId)>,
    /// Active leases that somebody has given up, by when further witnesses are asked.
    pub(super) doubted: OrdSet<(u64, LeaseId)>,
    /// Ended leases by the time of their end.
    pub(super) ended: OrdSet<(u64, LeaseId)>,
    /// The last leases of slots that have none now and wait for the next: their price is reserved all the same.
    awaited: OrdSet<LeaseId>,
    /// Slots by when placement looks at them: those that fitted nowhere when it looked last come after all others.
    pub(super) due: OrdSet<(u64, SlotKey)>,
    pub(super) due_again: OrdSet<(u64, SlotKey)>,
}

impl Derived {
    pub(super) fn account_changed(&mut self, before: Option<&Account>, after: Option<&Account>) {
        let balance = |account: Option<&Account>| account.map_or(0, |a| a.balance.micro());
        // Wrapping keeps the sum exact modulo 2^128 whatever passes through it; the block's last check compares it.
        self.balance_sum = self
            .balance_sum
            .wrapping_sub(balance(before))
            .wrapping_add(balance(after));
    }

    /// Most writes of a key only count a nonce.
    pub(super) fn key_changed(
        &mut self,
        account: &AccountId,
        key: &PublicKey,
        was_there: bool,
        is_there: bool,
    ) {
        match (was_there, is_there) {
            (false, true) => drop(self.accounts_by_key.insert((*key, *account))),
            (true, false) => drop(self.accounts_by_key.remove(&(*key, *account))),
            _ => {}
        }
    }

    pub(super) fn node_changed(
        &mut self,
        id: &NodeId,
        before: Option<&Arc<Node>>,
        after: Option<&Arc<Node>>,
    ) {
        let used = self.used.get(id).copied().unwrap_or_default();
        self.inventory.node_changed(id, before, after, used);
        match (before, after) {
            (None, Some(_)) => drop(self.points.insert((point_of(id), *id))),
            (Some(_), None) => drop(self.points.remove(&(point_of(id), *id))),
            _ => {}
        }
    }

    pub(super) fn app_changed(&mut self, id: &AppId, before: Option<&App>, after: Option<&App>) {
        if let Some(app) = before {
            self.apps_by_label.remove(&(app.owner, app.label));
        }
        if let Some(app) = after {
            self.apps_by_label.insert((app.owner, app.label), *id);
        }
        self.deployed(id, after.map(|app| (app.owner, app.deployed_by)));
    }

    /// Moves what an app costs from the key that deployed it to another, or to none.
    fn deployed(&mut self, app: &AppId, after: Option<(AccountId, PublicKey)>) {
        let before = self.deployers.get(app).copied();
        if before == after {
            return;
        }
        let reserved = self.reserved_by_app.get(app).copied().unwrap_or(0);
        if let Some(key) = before {
            self.deployers.remove(app);
            self.reserve_by_key(key, reserved.saturating_neg());
        }
        if let Some(key) = after {
            self.deployers.insert(*app, key);
            self.reserve_by_key(key, reserved);
        }
    }

    fn reserve_by_key(&mut self, key: (AccountId, PublicKey), micro: i128) {
        add_to(&mut self.reserved_by_key, key, micro);
    }

    /// Counts an active lease's price in (`sign` 1) or out (-1), or that of the last lease of a slot that waits. Prices and their sums stay far below 2^127: see the limits.
    fn reserve(&mut self, lease: &Lease, sign: i128) {
        let micro = lease.price_per_hour.micro().saturating_mul(sign);
        let to_others = lease.promised_to_others().micro().saturating_mul(sign);
        add_to(&mut self.reserved_by_app, lease.app, micro);
        add_to(&mut self.promised_to_others, lease.payer, to_others);
        if let Some(key) = self.deployers.get(&lease.app).copied() {
            self.reserve_by_key(key, micro);
        }
    }

    pub(super) fn slot_changed(
        &mut self,
        key: &SlotKey,
        before: Option<&Slot>,
        after: Option<&Slot>,
        leases: &Table<Lease>,
    ) {
        let awaited = |slot: Option<&Slot>| slot.and_then(|slot| awaited(key, slot));
        let (was_awaited, is_awaited) = (awaited(before), awaited(after));
        if was_awaited != is_awaited {
            let ended = |id: &LeaseId| leases.get(id).filter(|lease| !lease.is_active());
            if let Some(id) = was_awaited {
                self.awaited.remove(&id);
                if let Some(lease) = ended(&id) {
                    self.reserve(lease, -1);
                }
            }
            if let Some(id) = is_awaited {
                self.awaited.insert(id);
                if let Some(lease) = ended(&id) {
                    self.reserve(lease, 1);
                }
            }
        }
        let due =
            |slot: Option<&Slot>| slot.and_then(|slot| Some((slot.due_ms?, slot.refused > 0)));
        let (was_due, is_due) = (due(before), due(after));
        if was_due == is_due {
            return;
        }
        if let Some((due, is_again)) = was_due {
            self.due_list(is_again).remove(&(due, *key));
        }
        if let Some((due, is_again)) = is_due {
            self.due_list(is_again).insert((due, *key));
        }
    }

    const fn due_list(&mut self, is_again: bool) -> &mut OrdSet<(u64, SlotKey)> {
        if is_again {
            &mut self.due_again
        } else {
            &mut self.due
        }
    }

    pub(super) fn lease_changed(
        &mut self,
        id: &LeaseId,
        before: Option<&Lease>,
        after: Option<&Lease>,
    ) {
        // Most changes are to a meter, which nothing here follows from.
        if before
            .zip(after)
            .is_some_and(|(before, after)| claims_the_same(before, after))
        {
            return;
        }
        if let Some(lease) = before {
            self.forget_lease(id, lease);
        }
        if let Some(lease) = after {
            self.learn_lease(id, lease);
        }
    }

    fn learn_lease(&mut self, id: &LeaseId, lease: &Lease) {
        if let Some(ended_ms) = lease.ended_ms() {
            self.ended.insert((ended_ms, *id));
            if self.awaited.contains(id) {
                self.reserve(lease, 1);
            }
            return;
        }
        self.reserve(lease, 1);
        for label in &lease.volumes {
            self.writers.insert((lease.app, *label, *id));
        }
        self.active_by_app.insert((lease.app, *id));
        self.active_by_node.insert((lease.node, *id));
        for witness in lease.watchers() {
            self.active_by_witness.insert((*witness, *id));
        }
        if let Some(at_ms) = widened_at(lease) {
            self.doubted.insert((at_ms, *id));
        }
        self.use_node(&lease.node, |used| used.plus(lease.footprint));
        let place = (lease.app, lease.service, lease.node);
        let count = self.replicas_on.get(&place).copied().unwrap_or(0);
        self.replicas_on.insert(place, count.saturating_add(1));
    }

    fn forget_lease(&mut self, id: &LeaseId, lease: &Lease) {
        if let Some(ended_ms) = lease.ended_ms() {
            self.ended.remove(&(ended_ms, *id));
            if self.awaited.contains(id) {
                self.reserve(lease, -1);
            }
            return;
        }
        self.reserve(lease, -1);
        for label in &lease.volumes {
            self.writers.remove(&(lease.app, *label, *id));
        }
        self.active_by_app.remove(&(lease.app, *id));
        self.active_by_node.remove(&(lease.node, *id));
        for witness in lease.watchers() {
            self.active_by_witness.remove(&(*witness, *id));
        }
        if let Some(at_ms) = widened_at(lease) {
            self.doubted.remove(&(at_ms, *id));
        }
        self.use_node(&lease.node, |used| used.minus(lease.footprint));
        let place = (lease.app, lease.service, lease.node);
        match self
            .replicas_on
            .get(&place)
            .copied()
            .unwrap_or(0)
            .saturating_sub(1)
        {
            0 => drop(self.replicas_on.remove(&place)),
            count => drop(self.replicas_on.insert(place, count)),
        }
    }

    fn use_node(&mut self, node: &NodeId, change: impl FnOnce(Resources) -> Resources) {
        let used = change(self.used.get(node).copied().unwrap_or_default());
        self.used.insert(*node, used);
        self.inventory.used_changed(node, used);
    }
}

/// Adds to one of many sums; one that is nothing is not kept.
fn add_to<K: Ord + Clone>(sums: &mut OrdMap<K, i128>, of: K, micro: i128) {
    let sum = sums.get(&of).copied().unwrap_or(0);
    match sum.saturating_add(micro) {
        0 => drop(sums.remove(&of)),
        sum => drop(sums.insert(of, sum)),
    }
}

/// The last lease of a slot that has none and that placement will look at.
fn awaited(key: &SlotKey, slot: &Slot) -> Option<LeaseId> {
    let waits = slot.current.is_none() && slot.successor.is_none() && slot.due_ms.is_some();
    waits.then(|| LeaseId::of(key, slot.epoch))
}

/// Block time at which an active lease gets further witnesses.
fn widened_at(lease: &Lease) -> Option<u64> {
    Some(lease.doubted_ms?.saturating_add(DOUBT_MS))
}

/// Whether everything that is derived from a lease stays as it is.
fn claims_the_same(before: &Lease, after: &Lease) -> bool {
    before.ended_ms() == after.ended_ms()
        && before.app == after.app
        && before.service == after.service
        && before.node == after.node
        && before.payer == after.payer
        && before.payee == after.payee
        && before.price_per_hour == after.price_per_hour
        && before.footprint == after.footprint
        && before.volumes == after.volumes
        && before.witnesses == after.witnesses
        && before.doubted_ms == after.doubted_ms
}
