//! Running one seed, and saying what came of it.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use allod_state::Transaction;
use allod_state::event::Event;
use allod_state::receipt::Receipt;

use crate::check::Violation;
use crate::mutation::Mutation;
use crate::network::Network;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What decides everything that happens.
    pub seed: u64,
    /// How many validators there are, or are to be.
    pub validators: usize,
    /// Whether one begins, and elects the others.
    pub begins_alone: bool,
    /// A bug to plant; none in an honest run.
    pub mutation: Option<Mutation>,
    /// What the false validators are, where the seed is not to decide it; then as many as may be are false.
    pub liars: Option<&'static str>,
}

impl Plan {
    /// An honest run of a seed. In every fourth one begins alone, where there are to be enough.
    #[must_use]
    pub const fn new(seed: u64, validators: usize) -> Self {
        Self {
            seed,
            validators,
            begins_alone: validators >= 4 && seed % 4 == 3,
            mutation: None,
            liars: None,
        }
    }
}

/// How much happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps of the scheduler.
    pub steps: u64,
    /// Messages that arrived or were on their way.
    pub messages: u64,
    /// Faults injected.
    pub faults: u64,
    /// Machines that died.
    pub crashes: u64,
    /// Acts of attackers.
    pub attacks: u64,
    /// What false validators said or kept back, by their kind.
    pub lies: BTreeMap<&'static str, u64>,
    /// How often a replica told that a validator was barred.
    pub barred: u64,
    /// Networks that began with one validator and came to have as many as were to be.
    pub grown: u64,
    /// How often others decided than before.
    pub set_changes: u64,
    /// Changes of the validators that were wanted and made, by their kind.
    pub changes: BTreeMap<&'static str, u64>,
    /// Machines that died for good.
    pub deaths: u64,
    /// Machines that lost their disk.
    pub disks_lost: u64,
    /// Ledgers that were founded on a snapshot of another machine.
    pub founded: u64,
    /// Snapshots that somebody from outside found to be good.
    pub visits: u64,
    /// Snapshots of false validators that were refused.
    pub refused: u64,
    /// Transactions of honest clients.
    pub submitted: u64,
    /// Blocks told by any replica.
    pub commits: u64,
    /// Receipts told by any replica that say that the transaction succeeded.
    pub succeeded: u64,
    /// Receipts told by any replica that say that the transaction failed.
    pub failed: u64,
    /// How often each kind of action succeeded.
    pub actions: BTreeMap<&'static str, u64>,
    /// How often each kind of rejection was the answer.
    pub rejections: BTreeMap<&'static str, u64>,
    /// How often a lease ended for each cause, in transactions.
    pub ends: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn note(&mut self, transaction: &Transaction, receipt: &Receipt) {
        match &receipt.outcome {
            Ok(()) => {
                self.succeeded += 1;
                for action in &transaction.body.actions {
                    *self.actions.entry(action.name()).or_default() += 1;
                }
            }
            Err(rejection) => {
                self.failed += 1;
                *self.rejections.entry(rejection.name()).or_default() += 1;
            }
        }
        for event in &receipt.events {
            if let Event::LeaseEnded { cause, .. } = event {
                *self.ends.entry(cause.to_string()).or_default() += 1;
            }
        }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.messages += other.messages;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.attacks += other.attacks;
        self.barred += other.barred;
        self.grown += other.grown;
        self.set_changes += other.set_changes;
        self.deaths += other.deaths;
        self.disks_lost += other.disks_lost;
        self.founded += other.founded;
        self.visits += other.visits;
        self.refused += other.refused;
        self.submitted += other.submitted;
        self.commits += other.commits;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        for (kind, count) in &other.lies {
            *self.lies.entry(kind).or_default() += count;
        }
        for (kind, count) in &other.changes {
            *self.changes.entry(kind).or_default() += count;
        }
        for (name, count) in &other.actions {
            *self.actions.entry(name).or_default() += count;
        }
        for (name, count) in &other.rejections {
            *self.rejections.entry(name).or_default() += count;
        }
        for (cause, count) in &other.ends {
            *self.ends.entry(cause.clone()).or_default() += count;
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The hash over everything that happened.
    pub trace: [u8; 32],
    /// How many events that hash covers.
    pub events: u64,
    /// How much happened.
    pub counts: Counts,
    /// Broken promises; none in a good run.
    pub violations: Vec<Violation>,
}

/// Runs one seed. A panic anywhere in it is a broken promise like any other.
#[must_use]
pub fn run(plan: &Plan) -> Outcome {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut network = Network::new(plan);
        network.run();
        network
    }));
    let network = match ran {
        Ok(network) => network,
        Err(panic) => return Outcome::panicked(&*panic),
    };
    Outcome {
        trace: network.trace.hash(),
        events: network.trace.events(),
        counts: network.counts,
        violations: network.inspector.violations,
    }
}

impl Outcome {
    fn panicked(panic: &(dyn Any + Send)) -> Self {
        Self {
            trace: [0; 32],
            events: 0,
            counts: Counts::default(),
            violations: vec![Violation {
                check: "panic",
                what: words_of(panic),
            }],
        }
    }
}

/// What a panic says.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    let literal = || panic.downcast_ref::<&str>().map(ToString::to_string);
    words.or_else(literal).unwrap_or_default()
}

/// Runs one seed twice: the same seed must give the same trace.
#[must_use]
pub fn run_twice(plan: &Plan) -> Outcome {
    let (mut first, second) = (run(plan), run(plan));
    if first.trace != second.trace || first.counts != second.counts {
        first.violations.push(Violation {
            check: "determinism",
            what: format!(
                "two runs of one seed differ: {} events and {:?}, then {} events and {:?}",
                first.events, first.counts, second.events, second.counts
            ),
        });
    }
    first
}

/// What a run must never ask: it is different every time. Only a planted bug does.
pub(crate) fn outside_chance() -> u64 {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    ASKED.fetch_add(1, Ordering::Relaxed) % 7
}
