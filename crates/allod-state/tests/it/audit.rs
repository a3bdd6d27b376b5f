//! What must hold after every block, looked up in the state by nothing but its public questions and the block itself.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::app::SlotKey;
use allod_state::evidence::Meter;
use allod_state::holdings::Whose;
use allod_state::limits::{EFFORT_MAX, EFFORT_PER_WORK};
use allod_state::node::Resources;
use allod_state::state::{Owned, Write};
use allod_state::transaction::Verified;
use allod_state::{
    AccountId, Action, Credits, Executed, LeaseId, Proposal, PublicKey, Rejection, State,
    TransactionId, check, codec, execute,
};

/// The rows as a store would hold them, and what was seen before.
#[derive(Clone, Default)]
pub(crate) struct Audit {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    seen: BTreeSet<TransactionId>,
    nonces: BTreeMap<(AccountId, PublicKey), u64>,
    epochs: BTreeMap<SlotKey, u64>,
    /// The meter that each lease's evidence in the blocks makes.
    meters: BTreeMap<LeaseId, Meter>,
}

impl Audit {
    /// Takes up a state from a whole copy of its rows.
    pub(crate) fn of(rows: impl IntoIterator<Item = Write>) -> Self {
        let mut audit = Self::default();
        audit.store(rows);
        audit
    }

    pub(crate) fn store(&mut self, writes: impl IntoIterator<Item = Write>) {
        for (key, value) in writes {
            match value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    pub(crate) fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.rows.iter();
        rows.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Looks at one executed block and at the state it was executed on.
    pub(crate) fn block(&mut self, before: &State, executed: &Executed) {
        self.store(executed.writes.clone());
        let after = &executed.state;
        repeats(before, executed);
        self.receipts(executed);
        self.money(executed);
        self.nonces(after);
        self.leases(before, after);
        self.holdings(after);
        volumes(after);
        exclusive(after);
        budgets(after);
    }

    /// The rows make the very state that the blocks made: what is derived from them decides the same next block.
    pub(crate) fn restores(&self, executed: &Executed) {
        let header = &executed.block.header;
        let restored = State::restore(header, self.rows()).expect("the rows have the root");
        let later = |state: &State| {
            let proposal = Proposal {
                time_ms: header.time_ms + 400_000,
                proposer: header.proposer,
                transactions: &[],
            };
            let later = execute(state, &proposal).expect("an empty block is valid");
            (later.block.header, later.effort)
        };
        assert_eq!(later(&restored), later(&executed.state));
        assert_eq!(restored.recount(), executed.state.recount());
        self.holdings(&restored);
        assert_eq!(restored.next_due_ms(), executed.state.next_due_ms());
        for (id, _) in executed.state.nodes() {
            assert_eq!(restored.used_on(id), executed.state.used_on(id));
        }
    }

    fn receipts(&mut self, executed: &Executed) {
        let mut work = 0;
        for (transaction, receipt) in executed.block.transactions.iter().zip(&executed.receipts) {
            assert!(self.seen.insert(receipt.transaction), "applied twice");
            assert_eq!(transaction.body.id(), receipt.transaction);
            assert!(receipt.outcome.is_ok() || receipt.events.is_empty());
            work += receipt.work;
            if receipt.outcome.is_ok() {
                self.fold(&executed.state, &transaction.body.actions);
            }
        }
        assert!(work * EFFORT_PER_WORK <= EFFORT_MAX);
    }

    /// Every row is counted for those whose it says it is, they take it along when they leave, and nothing else.
    pub(crate) fn holdings(&self, state: &State) {
        let mut held: BTreeMap<AccountId, BTreeMap<Vec<u8>, Owned>> = BTreeMap::new();
        for (key, value) in &self.rows {
            let Some(row) = Owned::read(key, value) else {
                assert!([10, 11, 15].contains(&key[0]), "whose is table {}?", key[0]);
                continue;
            };
            let accounts = match row.whose().1 {
                Whose::Nobody => vec![],
                Whose::One(account) => vec![account],
                Whose::Two(one, other) => vec![one, other],
                Whose::OfApp(app) => vec![state.app(&app).expect("its app").owner],
                Whose::OfNode(node) => vec![state.node(&node).expect("its machine").operator],
            };
            for account in accounts {
                held.entry(account)
                    .or_default()
                    .insert(key.clone(), row.clone());
            }
        }
        assert_eq!(held.len(), state.accounts().count(), "each has itself");
        for (account, rows) in held {
            assert!(state.owned_by(&account).iter().eq(rows.keys()));
            let holdings = state.holdings(&account);
            assert_eq!(holdings.check(&account, &rows), Ok(()));
            assert_eq!(Ok(rows.len()), usize::try_from(holdings.sum()));
        }
    }

    fn fold(&mut self, state: &State, actions: &[Action]) {
        for action in actions {
            let Action::SubmitEvidence(evidence) = action else {
                continue;
            };
            for item in &evidence.items {
                let lease = state.lease(&item.lease).expect("it was charged");
                let placed = Meter::starting_at(lease.placed_ms);
                let meter = self.meters.entry(item.lease).or_insert(placed);
                assert_eq!(meter.until_ms, item.from_ms, "time is counted once");
                *meter = meter.fold(item, lease.price_per_hour).unwrap();
            }
        }
    }

    fn money(&self, executed: &Executed) {
        let state = &executed.state;
        assert_eq!(state.recount(), Some(state.params().supply), "conserved");
        assert_eq!(executed.block.header.supply, state.params().supply);
        for (id, account) in state.accounts() {
            let least = Credits::ZERO.minus(account.line).unwrap();
            assert!(account.balance >= least, "{id} owes more than its line");
        }
        for (id, lease) in state.leases() {
            let Some(meter) = self.meters.get(id) else {
                continue;
            };
            assert_eq!(meter.ready_ms, lease.meter.ready_ms);
            assert_eq!(meter.accumulator, lease.meter.accumulator);
            assert!(lease.meter.charged <= meter.charged, "charged too much");
            if lease.payer == lease.payee {
                assert_eq!(lease.meter.charged, meter.charged);
            }
        }
    }

    fn nonces(&mut self, state: &State) {
        for (id, _) in state.accounts() {
            for (key, record) in state.keys_of(id) {
                let before = self.nonces.insert((*id, key), record.nonce);
                assert!(before <= Some(record.nonce), "a nonce falls");
            }
        }
    }

    fn leases(&mut self, before: &State, state: &State) {
        let mut active: BTreeMap<SlotKey, usize> = BTreeMap::new();
        let mut exclusive = BTreeSet::new();
        let mut used: BTreeMap<_, Resources> = BTreeMap::new();
        for (id, lease) in state.leases() {
            assert_eq!(*id, LeaseId::of(&lease.slot(), lease.epoch));
            if !lease.is_active() {
                continue;
            }
            *active.entry(lease.slot()).or_default() += 1;
            if lease.is_exclusive {
                exclusive.insert(lease.slot());
            }
            let sum = used.entry(lease.node).or_default();
            *sum = sum.plus(lease.footprint);
            let slot = state.slot(&lease.slot()).expect("its slot");
            assert!(slot.current == Some(*id) || slot.successor == Some(*id));
            assert!(lease.epoch <= slot.epoch, "the fence is below its lease");
            if before.lease(id).is_none() {
                assert!(state.node(&lease.node).unwrap().offer.is_some());
            }
            let epoch = self.epochs.entry(lease.slot()).or_default();
            *epoch = slot.epoch.max(*epoch);
        }
        assert!(active.values().all(|count| *count <= 2));
        let alone = exclusive.iter().all(|slot| active[slot] == 1);
        assert!(alone, "something runs beside an exclusive lease");
        for (key, epoch) in &self.epochs {
            let slot = state.slot(key);
            assert!(slot.is_none_or(|slot| slot.epoch >= *epoch), "epoch falls");
        }
        for (node, sum) in used {
            assert_eq!(state.used_on(&node), sum);
        }
    }
}

/// The same block again gives the same in every word, and its header says so.
fn repeats(before: &State, executed: &Executed) {
    let header = &executed.block.header;
    let transactions = executed.block.transactions.iter().cloned();
    let verified: Vec<_> = transactions.map(|tx| Verified::one(tx).unwrap()).collect();
    let again = check(before, header, &verified).expect("the header is its own");
    assert_eq!(again.receipts, executed.receipts);
    assert_eq!(again.events, executed.events);
    assert_eq!(again.writes, executed.writes);
    for receipt in &executed.receipts {
        let bytes = codec::encode(receipt);
        let read = codec::decode("receipt", usize::MAX, &bytes);
        assert_eq!(read.as_ref(), Ok(receipt));
        if let Err(Rejection::NoPlacement { why }) = &receipt.outcome {
            assert!(why.refusals.iter().all(|one| !one.failing.is_empty()));
        }
    }
}

fn volumes(state: &State) {
    let mut writers = BTreeSet::new();
    for (_, lease) in state.leases().filter(|(_, lease)| lease.is_active()) {
        for label in &lease.volumes {
            let key = (lease.payer, lease.app_label, *label);
            assert!(writers.insert(key), "two writers of one volume");
            let volume = state.volume(&key).expect("the volume");
            assert_eq!(volume.node, lease.node, "a writer away from its data");
        }
    }
}

/// Of an exclusive service one replica runs.
fn exclusive(state: &State) {
    let mut services = BTreeSet::new();
    let active = state.leases().filter(|(_, lease)| lease.is_active());
    for (_, lease) in active.filter(|(_, lease)| lease.is_exclusive) {
        let is_first = services.insert((lease.app, lease.service));
        assert!(is_first, "two leases of an exclusive service");
    }
}

/// No limited key has spent more than its budget, and nothing runs on it that its budget does not bear.
fn budgets(state: &State) {
    for (id, _) in state.accounts() {
        for (_, record) in state.keys_of(id) {
            if let Some(budget) = record.grant.budget {
                assert!(record.spent <= budget.amount, "spent over the budget");
            }
        }
    }
}
