//! The promises, one file each, and the inspector who holds every run against them.
//!
//! A check sees what any replica tells as committed, every message that leaves a machine, every restart and the end
//! of the run. It computes what should be by itself, from the blocks alone, and compares.

mod absences;
mod accounting;
mod agreement;
mod attacks;
mod bills;
mod conservation;
mod durability;
mod ends;
mod epochs;
mod headers;
mod holdings;
mod leases;
mod nonces;
mod payers;
mod restore;
mod signatures;
mod succession;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;

use allod_ledger::LocalSigner;
use allod_ledger::bft::Message;
use allod_ledger::replica::{Commit, Replica};
use allod_ledger::store::{Outcome, StoredBlock};
use allod_state::block::Header;
use allod_state::certificate::Certificate;
use allod_state::event::Event;
use allod_state::genesis::Genesis;
use allod_state::receipt::Receipt;
use allod_state::{State, Transaction, TransactionId};

use crate::attack::Never;
use crate::machine::Machine;
use crate::mutation::Mutation;
use crate::shadow::Shadow;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// What was found.
    pub what: String,
}

/// What a replica told as committed.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) machine: usize,
    pub(crate) header: Header,
    pub(crate) certificate: Certificate,
    pub(crate) ids: Vec<TransactionId>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) events: Vec<Event>,
    pub(crate) state: State,
    pub(crate) transactions: Vec<Arc<Transaction>>,
}

impl Told {
    pub(crate) fn new(
        machine: usize,
        commit: &Commit,
        transactions: Vec<Arc<Transaction>>,
    ) -> Self {
        Self {
            machine,
            header: commit.header.clone(),
            certificate: commit.certificate.clone(),
            ids: commit.ids.clone(),
            receipts: commit.receipts.clone(),
            events: commit.events.clone(),
            state: commit.state.clone(),
            transactions,
        }
    }

    /// A block that was decided before a crash and told by nobody: the log brought it back.
    fn found(machine: usize, stored: StoredBlock, outcome: Outcome, state: State) -> Self {
        let StoredBlock { block, certificate } = stored;
        let ids = block.transactions.iter().map(|one| one.body.id());
        Self {
            machine,
            certificate,
            ids: ids.collect(),
            receipts: outcome.receipts,
            events: outcome.events,
            state,
            header: block.header,
            transactions: block.transactions,
        }
    }

    /// Everything that happened in the block, in order.
    fn all_events(&self) -> impl Iterator<Item = &Event> {
        let of_transactions = self.receipts.iter().flat_map(|receipt| &receipt.events);
        of_transactions.chain(&self.events)
    }
}

/// A block at the first time that any replica tells of it.
pub(crate) struct Fresh<'a> {
    pub(crate) told: &'a Told,
    pub(crate) before: &'a State,
    /// The rows after the block, as executing it elsewhere gives them.
    pub(crate) rows: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

type Found = Result<(), String>;

/// One promise.
trait Check {
    fn name(&self) -> &'static str;

    /// A block that no replica told of before.
    fn fresh(&mut self, _: &Fresh<'_>) -> Found {
        Ok(())
    }

    /// A block that some replica tells of, whether or not others did before.
    fn told(&mut self, _: &Told) -> Found {
        Ok(())
    }

    /// A client was told that its transaction is committed.
    fn answered(&mut self, _machine: usize, _: TransactionId) -> Found {
        Ok(())
    }

    /// An attacker sent this.
    fn attacked(&mut self, _: TransactionId, _: Never) {}

    /// A message left a machine.
    fn left(&mut self, _: &Message) -> Found {
        Ok(())
    }

    /// A replica came up again.
    fn restarted(&mut self, _machine: usize, _: &Replica<LocalSigner>) -> Found {
        Ok(())
    }

    /// A machine has lost its disk, and knows nothing of what it told.
    fn replaced(&mut self, _machine: usize) {}

    /// A machine has founded its ledger on a snapshot of this block.
    fn founded(&mut self, _machine: usize, _: &Header) -> Found {
        Ok(())
    }

    /// Somebody was shown that the network's validators decided this block.
    fn certified(&mut self, _: &Header) -> Found {
        Ok(())
    }

    /// The run is over, and everyone is up.
    fn ended(&mut self, _: &[&Machine]) -> Found {
        Ok(())
    }
}

fn all(genesis: &Genesis) -> Vec<Box<dyn Check>> {
    vec![
        Box::new(absences::Absences),
        Box::new(accounting::Accounting::new(genesis)),
        Box::new(agreement::Agreement::default()),
        Box::new(attacks::Attacks::default()),
        Box::new(bills::Bills::default()),
        Box::new(conservation::Conservation::new(genesis)),
        Box::new(durability::Durability::default()),
        Box::new(ends::Ends),
        Box::new(epochs::Epochs::default()),
        Box::new(headers::Headers::default()),
        Box::new(holdings::Holdings),
        Box::new(leases::Leases),
        Box::new(nonces::Nonces::default()),
        Box::new(restore::Restore),
        Box::new(signatures::Signatures::default()),
        Box::new(succession::Succession::new(genesis)),
        Box::new(volumes::Volumes),
        Box::new(payers::Payers),
    ]
}

/// Holds a run against every promise.
pub(crate) struct Inspector {
    checks: Vec<Box<dyn Check>>,
    shadow: Shadow,
    before: State,
    mutation: Option<Mutation>,
    pub(crate) violations: Vec<Violation>,
}

impl Inspector {
    pub(crate) fn new(genesis: &Genesis, mutation: Option<Mutation>) -> Self {
        let shadow = Shadow::new(genesis);
        let before = shadow.state().clone();
        Self {
            checks: all(genesis),
            shadow,
            before,
            mutation,
            violations: Vec::new(),
        }
    }

    /// Puts down what a check outside this list found.
    pub(crate) fn complain(&mut self, check: &'static str, what: String) {
        self.violations.push(Violation { check, what });
    }

    fn ask(&mut self, mut question: impl FnMut(&mut dyn Check) -> Found) {
        for check in &mut self.checks {
            if let Err(what) = question(check.as_mut()) {
                self.violations.push(Violation {
                    check: check.name(),
                    what,
                });
            }
        }
    }

    pub(crate) fn told(&mut self, mut told: Told) {
        let is_fresh = told.header.height == self.before.tip().height + 1;
        if is_fresh && let Err(what) = self.shadow.follow(&told) {
            return self.complain("execution", what);
        }
        if let Some(mutation) = self.mutation {
            mutation.alter(&mut told, is_fresh.then(|| self.shadow.rows()));
        }
        self.ask(|check| check.told(&told));
        if !is_fresh {
            return;
        }
        let (before, shadow) = (self.before.clone(), std::mem::take(&mut self.shadow));
        let mut rows = std::borrow::Cow::Borrowed(shadow.rows());
        if self.mutation == Some(Mutation::RowForgotten) {
            rows.to_mut().pop_last();
        }
        let fresh = Fresh {
            told: &told,
            before: &before,
            rows: &rows,
        };
        self.ask(|check| check.fresh(&fresh));
        self.shadow = shadow;
        self.before = told.state;
    }

    pub(crate) fn answered(&mut self, machine: usize, id: TransactionId) {
        self.ask(|check| check.answered(machine, id));
    }

    pub(crate) fn attacked(&mut self, id: TransactionId, never: Never) {
        self.checks
            .iter_mut()
            .for_each(|check| check.attacked(id, never));
    }

    pub(crate) fn replaced(&mut self, machine: usize) {
        for check in &mut self.checks {
            check.replaced(machine);
        }
    }

    /// The newest state that any honest machine has told of.
    pub(crate) fn newest(&self) -> &State {
        &self.before
    }

    pub(crate) fn founded(&mut self, machine: usize, header: &Header) {
        self.ask(|check| check.founded(machine, header));
    }

    pub(crate) fn certified(&mut self, header: &Header) {
        self.ask(|check| check.certified(header));
    }

    pub(crate) fn left(&mut self, message: &Message) {
        self.ask(|check| check.left(message));
    }

    pub(crate) fn restarted(&mut self, machine: usize, replica: &Replica<LocalSigner>) {
        for height in self.before.tip().height + 1..=replica.state().tip().height {
            let store = replica.store();
            let (Ok(Some(stored)), Ok(Some(outcome))) =
                (store.block(height), store.outcome(height))
            else {
                let what = format!("machine {machine} restarted without its height {height}");
                return self.complain("durability", what);
            };
            let block = &stored.block;
            match self.shadow.execute(&block.header, &block.transactions) {
                Ok(executed) => {
                    self.told(Told::found(machine, stored, outcome, executed.state));
                }
                Err(what) => return self.complain("execution", what),
            }
        }
        self.ask(|check| check.restarted(machine, replica));
    }

    pub(crate) fn ended(&mut self, machines: &[&Machine]) {
        self.ask(|check| check.ended(machines));
    }
}
