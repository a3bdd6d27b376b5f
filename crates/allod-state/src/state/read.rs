//! Questions to the state.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdSet;

use crate::account::grant::Grant;
use crate::account::{Account, KeyRecord};
use crate::app::{App, Demand, Revision, Slot, SlotKey};
use crate::bill;
use crate::holdings::Holdings;
use crate::id::{AccountId, AppId, Digest, Label, LeaseId, NetworkId, NodeId, Root};
use crate::key::PublicKey;
use crate::lease::Lease;
use crate::money::Credits;
use crate::node::{Node, Reach, Resources, Uptime};
use crate::reject::Rejection;
use crate::state::inventory::Inventory;
use crate::state::{ELECTED, Params, State, Tip, VALIDATING};
use crate::validator::{Seat, ValidatorSet};
use crate::volume::{Volume, VolumeKey};

const FIRST: [u8; 32] = [0; 32];
const LAST: [u8; 32] = [255; 32];

impl State {
    /// The ledger.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// The block that led here.
    #[must_use]
    pub const fn tip(&self) -> Tip {
        self.tip
    }

    /// The root over all rows.
    #[must_use]
    pub fn root(&self) -> Root {
        Root(self.tree.root())
    }

    /// What genesis fixed.
    #[must_use]
    pub fn params(&self) -> Params {
        let params = self.params.get(&0).map(|row| row.as_ref().clone());
        params.unwrap_or(Params {
            fee_per_work: Credits::ZERO,
            supply: Credits::ZERO,
            genesis_ms: 0,
        })
    }

    /// Who votes on the next block.
    #[must_use]
    pub fn validators(&self) -> ValidatorSet {
        let row = self.validators.get(&VALIDATING);
        row.map_or_else(|| ValidatorSet::new([]), |row| row.as_ref().clone())
    }

    /// Who is elected to validate: those who do, and those who wait until they are enough.
    #[must_use]
    pub fn elected(&self) -> ValidatorSet {
        let row = self.validators.get(&ELECTED);
        row.map_or_else(|| self.validators(), |row| row.as_ref().clone())
    }

    /// A machine's seat, where it stands or was elected.
    #[must_use]
    pub fn seat(&self, node: &NodeId) -> Option<Seat> {
        self.seats.get(node).map(|row| row.as_ref().clone())
    }

    /// All machines that stand or were elected, and the votes for a change.
    pub fn seats(&self) -> impl Iterator<Item = (&NodeId, &Seat)> {
        self.seats.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// Where a machine says that it may be found.
    #[must_use]
    pub fn reach(&self, node: &NodeId) -> Option<Reach> {
        self.reaches.get(node).map(|row| row.as_ref().clone())
    }

    /// Where machines say that they may be found.
    pub fn reaches(&self) -> impl Iterator<Item = (&NodeId, &Reach)> {
        self.reaches.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// How much of the time a machine was there; nothing where nobody else ever watched it.
    #[must_use]
    pub fn uptime(&self, node: &NodeId) -> Option<Uptime> {
        self.uptime_row(node).cloned()
    }

    /// The machines whose time counts now.
    pub(crate) fn counted(&self) -> Vec<(NodeId, Uptime)> {
        let counted = self
            .uptimes
            .iter()
            .filter(|(_, row)| row.counting.is_some());
        counted
            .map(|(id, row)| (*id, row.as_ref().clone()))
            .collect()
    }

    pub(crate) fn uptime_row(&self, node: &NodeId) -> Option<&Uptime> {
        self.uptimes.get(node).map(AsRef::as_ref)
    }

    /// The keys of the invites that may still be used at a block time.
    pub fn invites(&self, now_ms: u64) -> impl Iterator<Item = PublicKey> {
        self.keys.iter().filter_map(move |((_, key), record)| {
            let grant = &record.grant;
            let is_open = grant
                .expires_ms
                .is_none_or(|expires_ms| now_ms < expires_ms);
            (grant.is_invite() && is_open).then_some(*key)
        })
    }

    /// The sum of all balances, counted one by one. It equals [`Params::supply`] in every state there can be.
    #[must_use]
    pub fn recount(&self) -> Option<Credits> {
        let mut sum = Credits::ZERO;
        for (_, account) in self.accounts.iter() {
            sum = sum.plus(account.balance).ok()?;
        }
        Some(sum)
    }

    /// The sum of all balances, as kept along the way.
    pub(crate) const fn running_sum(&self) -> Credits {
        Credits::from_micro(self.derived.balance_sum)
    }

    /// Whether an account operates machines.
    #[must_use]
    pub fn operates_nodes(&self, id: &AccountId) -> bool {
        self.accounts.get(id).is_some_and(|row| row.nodes > 0)
    }

    /// An account.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<Account> {
        self.accounts.get(id).map(|row| row.as_ref().clone())
    }

    /// As [`State::account`], without a copy.
    pub(crate) fn account_row(&self, id: &AccountId) -> Result<&Account, Rejection> {
        let row = self.accounts.get(id);
        row.map(AsRef::as_ref)
            .ok_or(Rejection::UnknownAccount { account: *id })
    }

    pub(crate) fn account_or_reject(&self, id: &AccountId) -> Result<Account, Rejection> {
        self.account(id)
            .ok_or(Rejection::UnknownAccount { account: *id })
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.accounts.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// How many rows an account has; none where there is no such account.
    #[must_use]
    pub fn holdings(&self, id: &AccountId) -> Holdings {
        let row = self.holdings.get(id);
        row.map_or_else(Holdings::default, |row| row.as_ref().clone())
    }

    /// A key of an account.
    #[must_use]
    pub fn key(&self, account: &AccountId, key: &PublicKey) -> Option<KeyRecord> {
        self.key_row(account, key).map(|row| row.as_ref().clone())
    }

    /// As [`State::key`], without a copy.
    pub(crate) fn key_row(&self, account: &AccountId, key: &PublicKey) -> Option<&Arc<KeyRecord>> {
        self.keys.get(&(*account, *key))
    }

    /// The nonce of a key's next transaction.
    #[must_use]
    pub fn nonce(&self, account: &AccountId, key: &PublicKey) -> Option<u64> {
        self.key_row(account, key).map(|record| record.nonce)
    }

    /// The keys of an account.
    pub fn keys_of(&self, account: &AccountId) -> impl Iterator<Item = (PublicKey, KeyRecord)> {
        let range = (*account, PublicKey::Ed25519(FIRST))..=(*account, PublicKey::Ed25519(LAST));
        self.keys
            .range(range)
            .map(|((_, key), row)| (*key, row.as_ref().clone()))
    }

    /// The grants of an account's keys, where they stand.
    pub(crate) fn grants_of(
        &self,
        account: &AccountId,
    ) -> impl Iterator<Item = (&PublicKey, &Grant)> {
        let range = (*account, PublicKey::Ed25519(FIRST))..=(*account, PublicKey::Ed25519(LAST));
        self.keys
            .range(range)
            .map(|((_, key), row)| (key, row.grant.as_ref()))
    }

    /// The accounts that list a key, at most `count_max` of them: anybody may add any key to an account of their own.
    #[must_use]
    pub fn accounts_of_key(&self, key: &PublicKey, count_max: usize) -> Vec<AccountId> {
        let range = (*key, AccountId([0; 32]))..=(*key, AccountId([u8::MAX; 32]));
        let accounts = self.derived.accounts_by_key.range(range);
        accounts
            .map(|(_, account)| *account)
            .take(count_max)
            .collect()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<Node> {
        self.nodes.get(id).map(|row| row.as_ref().clone())
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// What the active leases of a node take.
    #[must_use]
    pub fn used_on(&self, node: &NodeId) -> Resources {
        self.derived.used.get(node).copied().unwrap_or_default()
    }

    /// How many active leases of a service a node has.
    #[must_use]
    pub fn replicas_on(&self, node: &NodeId, app: &AppId, service: &Label) -> u32 {
        self.derived
            .replicas_on
            .get(&(*app, *service, *node))
            .copied()
            .unwrap_or(0)
    }

    /// Whether any node has a replica of a service.
    pub(crate) fn has_replicas(&self, app: &AppId, service: &Label) -> bool {
        let range = (*app, *service, NodeId(FIRST))..=(*app, *service, NodeId(LAST));
        self.derived.replicas_on.range(range).next().is_some()
    }

    pub(crate) fn nodes_count(&self) -> usize {
        self.nodes.len()
    }

    /// As [`State::node`], without a copy.
    pub(crate) fn node_row(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id).map(AsRef::as_ref)
    }

    /// The nodes with what they have left.
    pub(crate) const fn inventory(&self) -> &Inventory {
        &self.derived.inventory
    }

    /// An app.
    #[must_use]
    pub fn app(&self, id: &AppId) -> Option<App> {
        self.apps.get(id).map(|row| row.as_ref().clone())
    }

    /// The same, where it stands.
    pub(crate) fn app_row(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id)
    }

    /// All apps.
    pub fn apps(&self) -> impl Iterator<Item = (&AppId, &App)> {
        self.apps.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// The app of an owner with a label.
    #[must_use]
    pub fn app_by_label(&self, owner: &AccountId, label: &Label) -> Option<AppId> {
        self.derived.apps_by_label.get(&(*owner, *label)).copied()
    }

    /// The apps of an account, by label.
    pub fn apps_of(&self, owner: &AccountId) -> impl Iterator<Item = (Label, AppId)> {
        let range = (*owner, Label(FIRST))..=(*owner, Label(LAST));
        self.derived
            .apps_by_label
            .range(range)
            .map(|((_, label), id)| (*label, *id))
    }

    /// The apps of an account whose newest revision a key deployed.
    pub(crate) fn apps_deployed_by(&self, owner: &AccountId, key: &PublicKey) -> Vec<AppId> {
        let by_key = |id: &AppId| self.apps.get(id).is_some_and(|app| app.deployed_by == *key);
        self.apps_of(owner)
            .map(|(_, id)| id)
            .filter(by_key)
            .collect()
    }

    /// The active leases of an app that write to one of its volumes.
    pub(crate) fn writers_of(&self, app: &AppId, volume: &Label) -> Vec<LeaseId> {
        let range = (*app, *volume, LeaseId(FIRST))..=(*app, *volume, LeaseId(LAST));
        let writers = self.derived.writers.range(range);
        writers.map(|(_, _, id)| *id).collect()
    }

    /// Where a revision's private half is.
    pub(crate) fn manifest_of(&self, app: &AppId, revision: u64) -> Option<Digest> {
        let revision = self.revisions.get(&(*app, revision))?;
        Some(revision.manifest.ciphertext)
    }

    /// The nodes for which a revision's private half is sealed.
    pub(crate) fn readers_of(&self, app: &AppId, revision: u64) -> BTreeSet<NodeId> {
        let revision = self.revisions.get(&(*app, revision));
        let wraps = revision.into_iter().flat_map(|row| &row.manifest.wraps);
        let holders = wraps.map(|wrap| NodeId(wrap.holder));
        holders.filter(|id| self.nodes.get(id).is_some()).collect()
    }

    /// Whether what a node has is to go elsewhere.
    pub(crate) fn is_draining(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|node| node.is_draining)
    }

    /// Whether what a node has stays there, as far as is known.
    fn keeps_its_leases(&self, node: &NodeId) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|node| !node.is_draining && !node.is_unreachable)
    }

    /// The node of a replica of the same app that is not in that slot. One that is to go elsewhere, or is gone, is none.
    pub(crate) fn node_beside(&self, slot: &SlotKey) -> (Option<NodeId>, u64) {
        let mut looked_at: u64 = 0;
        let leases = leases_at(&self.derived.active_by_app, slot.0);
        let mut leases = leases.filter_map(|id| self.lease_row(&id));
        let beside = leases.find(|lease| {
            looked_at = looked_at.saturating_add(1);
            lease.slot() != *slot && self.keeps_its_leases(&lease.node)
        });
        (beside.map(|lease| lease.node), looked_at)
    }

    /// Who operates a node.
    pub(crate) fn operator_of(&self, node: &NodeId) -> Option<AccountId> {
        self.nodes.get(node).map(|node| node.operator)
    }

    /// A revision of an app.
    #[must_use]
    pub fn revision(&self, key: &(AppId, u64)) -> Option<Revision> {
        self.revisions.get(key).map(|row| row.as_ref().clone())
    }

    /// The kept revisions of an app, oldest first.
    pub fn revisions_of(&self, app: &AppId) -> impl Iterator<Item = (&(AppId, u64), &Revision)> {
        self.revisions
            .range((*app, 0)..=(*app, u64::MAX))
            .map(|(key, row)| (key, row.as_ref()))
    }

    /// The demand of a service in a revision.
    #[must_use]
    pub fn demand(&self, app: &AppId, revision: u64, service: &Label) -> Option<Demand> {
        self.revisions
            .get(&(*app, revision))?
            .services
            .get(service)
            .cloned()
    }

    /// The same, where it stands.
    pub(crate) fn demand_row(
        &self,
        app: &AppId,
        revision: u64,
        service: &Label,
    ) -> Option<&Demand> {
        let revision = self.revisions.get(&(*app, revision))?;
        revision.services.get(service)
    }

    /// The revisions that services want or active leases run.
    pub(crate) fn revisions_in_use(&self, app: &AppId) -> BTreeSet<u64> {
        let wanted = self
            .app(app)
            .map(|app| app.services.into_values().map(|s| s.revision));
        let leases = self.active_leases_of(app);
        let run = leases
            .iter()
            .filter_map(|id| self.leases.get(id))
            .map(|lease| lease.revision);
        wanted.into_iter().flatten().chain(run).collect()
    }

    /// A replica slot.
    #[must_use]
    pub fn slot(&self, key: &SlotKey) -> Option<Slot> {
        self.slots.get(key).map(|row| row.as_ref().clone())
    }

    /// The same, where it stands.
    pub(crate) fn slot_row(&self, key: &SlotKey) -> Option<&Slot> {
        self.slots.get(key).map(AsRef::as_ref)
    }

    /// The replica slots of one service of an app.
    pub(crate) fn slots_of_service(&self, app: &AppId, service: &Label) -> Vec<SlotKey> {
        let range = (*app, *service, 0)..=(*app, *service, u32::MAX);
        self.slots.range(range).map(|(key, _)| *key).collect()
    }

    /// The replica slots of an app.
    #[must_use]
    pub fn slots_of(&self, app: &AppId) -> Vec<SlotKey> {
        let range = (*app, Label(FIRST), 0)..=(*app, Label(LAST), u32::MAX);
        self.slots.range(range).map(|(key, _)| *key).collect()
    }

    /// The slots that placement should look at by `now_ms`, earliest first, and those that fitted nowhere the last time; at
    /// most so many of each.
    pub(crate) fn due_slots(&self, now_ms: u64, count_max: usize) -> (Vec<SlotKey>, Vec<SlotKey>) {
        let by_now = |slots: &OrdSet<(u64, SlotKey)>| {
            let due = slots.iter().take_while(|(due, _)| *due <= now_ms);
            due.map(|(_, key)| *key).take(count_max).collect()
        };
        (by_now(&self.derived.due), by_now(&self.derived.due_again))
    }

    /// Block time of the next thing that happens by itself. A block at that time makes it happen.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let slots = [&self.derived.due, &self.derived.due_again].into_iter();
        let due = slots
            .filter_map(|slots| slots.get_min())
            .map(|(due, _)| *due);
        let doubted = self.derived.doubted.get_min().map(|(at_ms, _)| *at_ms);
        due.chain(doubted).min()
    }

    /// The leases that are to get further witnesses by `now_ms`, the longest doubted first.
    pub(crate) fn doubted(&self, now_ms: u64, count_max: usize) -> Vec<LeaseId> {
        let doubted = self.derived.doubted.iter();
        let doubted = doubted.take_while(|(at_ms, _)| *at_ms <= now_ms);
        doubted.map(|(_, id)| *id).take(count_max).collect()
    }

    /// A lease.
    #[must_use]
    pub fn lease(&self, id: &LeaseId) -> Option<Lease> {
        self.leases.get(id).map(|row| row.as_ref().clone())
    }

    /// The same, where it stands.
    pub(crate) fn lease_row(&self, id: &LeaseId) -> Option<&Lease> {
        self.leases.get(id).map(AsRef::as_ref)
    }

    /// All leases, ended ones included.
    pub fn leases(&self) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.leases.iter().map(|(id, row)| (id, row.as_ref()))
    }

    /// The active leases of an app.
    #[must_use]
    pub fn active_leases_of(&self, app: &AppId) -> Vec<LeaseId> {
        leases_at(&self.derived.active_by_app, *app).collect()
    }

    /// The active leases of a node.
    #[must_use]
    pub fn active_leases_on(&self, node: &NodeId) -> Vec<LeaseId> {
        leases_at(&self.derived.active_by_node, *node).collect()
    }

    /// The same, one after the other.
    pub(crate) fn leases_on(&self, node: &NodeId) -> impl Iterator<Item = LeaseId> {
        leases_at(&self.derived.active_by_node, *node)
    }

    /// The active leases whose holder a node watches.
    pub fn active_leases_watched_by(&self, witness: &NodeId) -> impl Iterator<Item = LeaseId> {
        leases_at(&self.derived.active_by_witness, *witness)
    }

    /// Leases that ended before `before_ms`, oldest first.
    pub(crate) fn ended_before(&self, before_ms: u64, count_max: usize) -> Vec<LeaseId> {
        let old = self
            .derived
            .ended
            .iter()
            .take_while(|(ended, _)| *ended < before_ms);
        old.map(|(_, id)| *id).take(count_max).collect()
    }

    /// One line of a bill.
    #[must_use]
    pub fn bill_line(&self, key: &bill::LineKey) -> Option<bill::Line> {
        self.bill_lines.get(key).map(|row| **row)
    }

    /// The lines of an account's bill for a month (`yyyymm`).
    pub fn bill_of(
        &self,
        payer: &AccountId,
        month: u32,
    ) -> impl Iterator<Item = (&bill::LineKey, &bill::Line)> {
        let range = (*payer, month, LeaseId(FIRST))..=(*payer, month, LeaseId(LAST));
        self.bill_lines
            .range(range)
            .map(|(key, row)| (key, row.as_ref()))
    }

    /// A volume.
    #[must_use]
    pub fn volume(&self, key: &VolumeKey) -> Option<Volume> {
        self.volumes.get(key).map(|row| row.as_ref().clone())
    }

    /// All volumes.
    pub fn volumes(&self) -> impl Iterator<Item = (&VolumeKey, &Volume)> {
        self.volumes.iter().map(|(key, row)| (key, row.as_ref()))
    }

    /// The volumes of an app, by its owner and label.
    #[must_use]
    pub fn volumes_of(&self, owner: &AccountId, app: &Label) -> Vec<(VolumeKey, Volume)> {
        let range = (*owner, *app, Label(FIRST))..=(*owner, *app, Label(LAST));
        self.volumes
            .range(range)
            .map(|(key, row)| (*key, row.as_ref().clone()))
            .collect()
    }

    /// How many accounts, nodes, apps and leases there are.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        [
            self.accounts.len(),
            self.nodes.len(),
            self.apps.len(),
            self.leases.len(),
        ]
    }
}

/// The leases that an index has at a key.
fn leases_at<K: Ord + Clone>(
    index: &OrdSet<(K, LeaseId)>,
    key: K,
) -> impl Iterator<Item = LeaseId> {
    let range = (key.clone(), LeaseId(FIRST))..=(key, LeaseId(LAST));
    index.range(range).map(|(_, id)| *id)
}
