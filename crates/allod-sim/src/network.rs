//! One run: the machines, what happens to them and between them, in the order that the seed decides.
//!
//! A run has two parts. In the storm clients, agents and attackers are at work while machines crash, disks and clocks
//! fail and messages go astray. Then all faults stop, and within a bound everything must be well again.

mod doors;
mod faults;
pub(crate) mod lies;
mod newcomers;
pub(crate) mod stage;
mod succession;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use allod_ledger::bft::{Message, Peer};
use allod_ledger::replica::{Input, Output, ReplicaError, To};
use allod_state::genesis::{Founder, Genesis};
use allod_state::transaction::{PROTOCOL_VERSION, Verified};
use allod_state::validator::ReportConflict;
use allod_state::{Credits, PublicKey};

use crate::check::{Inspector, Told};
use crate::desk::Desk;
use crate::liar::{self, Liar, Plot};
use crate::limits::{
    AGENT_EVERY_MS, ATTACK_EVERY_MS, CALM_MS_MAX, FAULTS_MIN, RETRY_EVERY_MS, START_MS, STEPS_MAX,
    STORM_MS, WISH_EVERY_MS,
};
use crate::machine::{Machine, is_injected};
use crate::mutation::Mutation;
use crate::person::{FOUNDERS, OPERATORS, People, validator};
use crate::random::Random;
use crate::run::{Counts, Plan};
use crate::trace::Trace;
use crate::wire::Wire;

use self::succession::Succession;

/// Something that is going to happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    Start(usize),
    Wish,
    Look,
    Attack,
    Retry,
    Fault,
    FaultEnds(usize),
    Lie(usize),
    Elect,
    Visit,
    /// Nothing but time passes.
    Nothing,
}

/// Everything that a run consists of.
pub(crate) struct Network {
    pub(crate) inspector: Inspector,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    plan: Plan,
    genesis: Genesis,
    people: People,
    machines: Vec<Machine>,
    ticked_ms: Vec<Option<u64>>,
    wire: Wire,
    /// The false validators.
    liars: BTreeMap<usize, Liar>,
    plot: Plot,
    /// The keys of those who are false, or were.
    known_false: BTreeSet<PublicKey>,
    /// Proof against false validators, by their keys.
    conflicts: BTreeMap<PublicKey, ReportConflict>,
    /// Machines whose clocks are minutes off.
    far_off: BTreeSet<usize>,
    /// Machines that lost their disk and do not vote since.
    forgetful: BTreeSet<usize>,
    succession: Succession,
    desk: Desk,
    /// What came in as transactions, and what it was found to be.
    verified: BTreeMap<Vec<u8>, Option<Verified>>,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    now_ms: u64,
    is_calm: bool,
    clients: Random,
    attackers: Random,
    faults: Random,
    newcomers: Random,
}

/// Who decides the first block: everybody, or the first of those who are not false.
fn first_set(plan: &Plan, liars: &BTreeMap<usize, Liar>) -> Vec<usize> {
    if !plan.begins_alone {
        return (0..plan.validators).collect();
    }
    let mut honest = (0..plan.validators).filter(|number| !liars.contains_key(number));
    honest.next().into_iter().collect()
}

fn genesis(plan: &Plan, first: &[usize]) -> Genesis {
    let mut random = Random::new(plan.seed, "genesis");
    let people = People::new();
    let mut founders = BTreeMap::new();
    for number in FOUNDERS {
        // The first has a line and no credits, as the owner of a network of one.
        let (balance, line) = if number == 0 {
            (0, 1_000_000_000_000)
        } else {
            (random.between(1, 20_000_000), random.below(2) * 1_000_000)
        };
        let founder = Founder {
            balance: Credits::from_micro(i128::from(balance)),
            line: Credits::from_micro(i128::from(line)),
        };
        founders.insert(people.get(number).key, founder);
    }
    for number in OPERATORS {
        let founder = Founder {
            balance: Credits::from_micro(20_000_000),
            line: Credits::ZERO,
        };
        founders.insert(people.get(number).key, founder);
    }
    let key = |number| allod_ledger::bft::Signer::public_key(&validator(number));
    Genesis {
        version: PROTOCOL_VERSION,
        time_ms: START_MS,
        salt: [9; 32],
        founders,
        validators: first.iter().map(|number| (key(*number), 1)).collect(),
        fee_per_work: Credits::from_micro(i128::from(random.below(3))),
    }
}

impl Network {
    pub(crate) fn new(plan: &Plan) -> Self {
        let liars = liar::cast(plan);
        let genesis = genesis(plan, &first_set(plan, &liars));
        let mut machines: Vec<Machine> = (0..plan.validators)
            .map(|number| Machine::new(plan.seed, number))
            .collect();
        for machine in &mut machines {
            machine.forgets = plan.mutation == Some(Mutation::LogForgotten);
            if plan.mutation == Some(Mutation::SyncsDoNothing) {
                machine.disk().ignore_syncs();
            }
        }
        if let Some(last) = machines.last_mut()
            && plan.mutation == Some(Mutation::OneKeyTwice)
        {
            last.key_of = 0;
        }
        let known_false = liars.values().map(Liar::key).collect();
        Self {
            inspector: Inspector::new(&genesis, plan.mutation),
            trace: Trace::default(),
            counts: Counts::default(),
            plan: plan.clone(),
            genesis,
            people: People::new(),
            ticked_ms: vec![None; machines.len()],
            machines,
            wire: Wire::new(plan.seed),
            liars,
            known_false,
            plot: Plot::default(),
            conflicts: BTreeMap::new(),
            far_off: BTreeSet::new(),
            forgetful: BTreeSet::new(),
            succession: Succession::new(plan.seed),
            desk: Desk::default(),
            verified: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            now_ms: 1,
            is_calm: false,
            clients: Random::new(plan.seed, "clients"),
            attackers: Random::new(plan.seed, "attackers"),
            faults: Random::new(plan.seed, "faults"),
            newcomers: Random::new(plan.seed, "newcomers"),
        }
    }

    /// The whole run, up to its end or its first violation.
    pub(crate) fn run(&mut self) {
        for at in 0..self.machines.len() {
            self.start(at);
        }
        for event in [
            Event::Wish,
            Event::Look,
            Event::Attack,
            Event::Fault,
            Event::Retry,
        ] {
            self.after(1, event);
        }
        let liars: Vec<usize> = self.liars.keys().copied().collect();
        for at in liars {
            self.after(1, Event::Lie(at));
        }
        if self.has_succession() {
            self.watch_set();
            if self.plan.mutation != Some(Mutation::NobodyElected) {
                self.after(1, Event::Elect);
            }
            self.after(1, Event::Visit);
        }
        while self.is_well() && self.now_ms < STORM_MS {
            self.advance();
        }
        if self.is_well() && self.counts.faults < FAULTS_MIN {
            let what = format!("{} faults, of at least {FAULTS_MIN}", self.counts.faults);
            self.inspector.complain("faults", what);
        }
        self.calm();
        if self.is_well() {
            let honest = self.honest();
            let machines = honest.iter().filter_map(|at| self.machines.get(*at));
            let machines: Vec<&Machine> = machines.collect();
            self.inspector.ended(&machines);
        }
    }

    /// Whether the validators change: where one may fail, and no bug is planted that is about something else.
    fn has_succession(&self) -> bool {
        self.plan.validators >= 4 && self.plan.mutation.is_none_or(Mutation::needs_succession)
    }

    fn is_well(&self) -> bool {
        self.inspector.violations.is_empty()
    }

    /// All faults stop; within a bound everyone must be up, agree, go on, and have answered every client.
    fn calm(&mut self) {
        self.is_calm = true;
        if self.plan.mutation == Some(Mutation::NeverHeals) {
            self.wire.lost_percent = 100;
        } else {
            self.wire.heal();
        }
        self.machines.iter_mut().for_each(Machine::heal);
        self.far_off.clear();
        for at in 0..self.machines.len() {
            self.start(at);
        }
        let target = self.heights().into_iter().max().unwrap_or(0) + 2;
        let until_ms = self.now_ms + CALM_MS_MAX;
        while self.is_well() {
            let is_moving = self.heights().iter().all(|height| *height >= target);
            let unanswered = self.desk.unanswered().len();
            if is_moving && unanswered == 0 && self.is_settled() {
                return;
            }
            if self.now_ms >= until_ms {
                let what = format!(
                    "{CALM_MS_MAX} ms after the last fault the heights are {:?} of {target}, and \
                     {unanswered} transactions have no answer: {:?}; {}",
                    self.heights(),
                    self.stuck(),
                    self.standing()
                );
                return self.inspector.complain("liveness", what);
            }
            self.advance();
        }
    }

    /// What has no answer: its nonce, the next one by each machine's state, and what it wants.
    fn stuck(&self) -> Vec<String> {
        let mut stuck = Vec::new();
        for verified in self.desk.unanswered() {
            let body = &verified.transaction().body;
            let next = |machine: &Machine| {
                let state = machine.replica.as_ref()?.state();
                Some(state.key(&body.account, &body.key)?.nonce)
            };
            let next: Vec<_> = self.machines.iter().map(next).collect();
            let names = body.actions.iter().map(allod_state::Action::name);
            let names: Vec<_> = names.collect();
            stuck.push(format!("nonce {} of {next:?} for {names:?}", body.nonce));
        }
        stuck
    }

    /// Where the honest ones are.
    fn heights(&self) -> Vec<u64> {
        let height = |machine: &Machine| {
            let replica = machine.replica.as_ref();
            replica.map_or(0, |replica| replica.state().tip().height)
        };
        let honest = self.honest();
        let machines = honest.iter().filter_map(|at| self.machines.get(*at));
        machines.map(height).collect()
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.queue
            .push(Reverse((self.now_ms + ms, self.order, event)));
    }

    /// The next thing happens: a timer of a machine, or what stands first in the queue.
    fn advance(&mut self) {
        self.counts.steps += 1;
        if self.counts.steps > STEPS_MAX {
            let what = format!("{STEPS_MAX} steps did not end the run");
            return self.inspector.complain("liveness", what);
        }
        let timers = self
            .machines
            .iter()
            .enumerate()
            .filter_map(|(at, machine)| {
                let deadline_ms = machine.deadline_ms()?;
                // A machine that has just looked at its timers looks again a moment later.
                let again_ms = self
                    .ticked_ms
                    .get(at)
                    .copied()
                    .flatten()
                    .map_or(0, |ms| ms + 1);
                Some((deadline_ms.max(again_ms).max(self.now_ms), at))
            });
        let timer = timers.min();
        let first_ms = self.queue.peek().map(|Reverse((at_ms, ..))| *at_ms);
        match timer {
            Some((at_ms, at)) if first_ms.is_none_or(|first_ms| at_ms < first_ms) => {
                self.now_ms = at_ms;
                if let Some(ticked) = self.ticked_ms.get_mut(at) {
                    *ticked = Some(at_ms);
                }
                self.step(at, Input::Tick);
            }
            _ => {
                if let Some(Reverse((at_ms, _, event))) = self.queue.pop() {
                    self.now_ms = self.now_ms.max(at_ms);
                    self.happen(event);
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { from, to, bytes } => self.arrive(from, to, &bytes),
            Event::Start(at) => self.start(at),
            Event::FaultEnds(at) => self.end_fault(at),
            Event::Lie(at) => self.lie(at),
            Event::Elect => self.elect(),
            Event::Nothing => {}
            Event::Retry => {
                self.retry();
                self.after(RETRY_EVERY_MS, Event::Retry);
            }
            _ if self.is_calm => {}
            Event::Wish => {
                self.wish();
                self.again(WISH_EVERY_MS, Event::Wish);
            }
            Event::Look => {
                self.look();
                self.again(AGENT_EVERY_MS, Event::Look);
            }
            Event::Visit => self.visit(),
            Event::Attack => {
                self.attack();
                self.again(ATTACK_EVERY_MS, Event::Attack);
            }
            Event::Fault => self.fault(),
        }
    }

    fn again(&mut self, mean_ms: u64, event: Event) {
        let mut ms = 1 + self.clients.below(2 * mean_ms);
        if self.plan.mutation == Some(Mutation::OutsideChance) {
            ms += crate::run::outside_chance();
        }
        self.after(ms, event);
    }

    /// Starts a machine that is down; one that dies while starting is started again later.
    fn start(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(machine) = self.machines.get_mut(at) else {
            return;
        };
        if machine.replica.is_some() || machine.is_gone || !self.begin(at) {
            return;
        }
        let Some(machine) = self.machines.get_mut(at) else {
            return;
        };
        match machine.start(&self.genesis, now_ms) {
            Ok(()) => {
                self.trace.note(now_ms, "start", at, &[]);
                let is_false = self.liars.contains_key(&at);
                if let Some(replica) = machine.replica.as_ref().filter(|_| !is_false) {
                    self.inspector.restarted(at, replica);
                }
                self.watch_set();
                self.step(at, Input::Tick);
            }
            Err(error) => self.fell(at, &error),
        }
    }

    /// A replica ended; that is allowed only where a fault was injected.
    fn fell(&mut self, at: usize, error: &ReplicaError) {
        if !is_injected(error) {
            let what = format!("machine {at} stopped by itself: {error}");
            self.inspector.complain("start", what);
        }
        self.crash(at);
    }

    fn crash(&mut self, at: usize) {
        self.counts.crashes += 1;
        self.trace.note(self.now_ms, "crash", at, &[]);
        if let Some(machine) = self.machines.get_mut(at) {
            machine.crash();
        }
        let down_ms = self.down_ms();
        self.after(down_ms, Event::Start(at));
    }

    /// One step of one replica, and everything that comes of it.
    fn step(&mut self, at: usize, input: Input) -> Vec<bool> {
        let now_ms = self.now_ms;
        let Some(machine) = self.machines.get_mut(at) else {
            return Vec::new();
        };
        let clock = machine.clock(now_ms);
        let Some(replica) = machine.replica.as_mut() else {
            return Vec::new();
        };
        let mut output = Output::default();
        let result = replica.step(clock, input, &mut output);
        let answers = output.offers.iter().map(Result::is_ok).collect();
        self.take(at, output);
        let shrugs = self.machines.get(at).is_some_and(|one| one.shrugs);
        if let Err(error) = result
            && !shrugs
        {
            self.fell(at, &error);
        }
        answers
    }

    fn take(&mut self, at: usize, output: Output) {
        for (to, message) in &output.messages {
            if !self.is_false(at) {
                self.inspector.left(message);
            }
            match to {
                To::One(Peer(peer)) => self.send(at, usize::from(peer[0]), message),
                To::All => self.send_to_all(at, message),
            }
        }
        for commit in &output.commits {
            let (height, block) = (commit.header.height, commit.certificate.block);
            let mut detail = block.as_bytes().to_vec();
            detail.extend_from_slice(&height.to_le_bytes());
            self.trace.note(self.now_ms, "commit", at, &detail);
            if !self.is_false(at) {
                self.counts.commits += 1;
                self.commit(at, commit);
            }
        }
        // Nobody believes the word of a false one.
        if self.is_false(at) {
            return;
        }
        for (id, _) in &output.dropped {
            self.trace.note(self.now_ms, "drop", at, id.as_bytes());
            self.desk.refused(id);
        }
        for evidence in &output.evidence {
            self.accuse(evidence);
        }
        for alarm in &output.alarms {
            self.inspector.complain("alarm", alarm.to_string());
        }
    }

    fn commit(&mut self, at: usize, commit: &allod_ledger::replica::Commit) {
        let height = commit.header.height;
        let store = self
            .machines
            .get(at)
            .and_then(|machine| machine.replica.as_ref());
        let stored = store.map(|replica| replica.store().block(height));
        let Some(Ok(Some(stored))) = stored else {
            let what = format!("machine {at} told of height {height} and does not hold it");
            return self.inspector.complain("durability", what);
        };
        let transactions = stored.block.transactions;
        for (transaction, receipt) in transactions.iter().zip(&commit.receipts) {
            self.inspector.answered(at, receipt.transaction);
            self.counts.note(transaction, receipt);
        }
        self.judge(&commit.receipts);
        self.desk.committed(&transactions);
        let told = Told::new(at, commit, transactions);
        self.inspector.told(told);
        self.watch_set();
    }

    fn send_to_all(&mut self, from: usize, message: &Message) {
        let others = self
            .machines
            .iter()
            .filter(|one| one.number != from && !one.is_gone);
        let others: Vec<usize> = others.map(|one| one.number).collect();
        let others = others.into_iter();
        if self.is_false(from) {
            return others.for_each(|to| self.say_falsely(from, to, message));
        }
        let bytes = message.encode();
        others.for_each(|to| self.send_bytes(from, to, 0, &bytes));
    }

    fn send(&mut self, from: usize, to: usize, message: &Message) {
        if self.is_false(from) {
            return self.say_falsely(from, to, message);
        }
        self.send_bytes(from, to, 0, &message.encode());
    }

    fn send_bytes(&mut self, from: usize, to: usize, late_ms: u64, bytes: &[u8]) {
        for delay_ms in self.wire.delays(from, to) {
            let bytes = bytes.to_vec();
            self.counts.messages += 1;
            self.after(late_ms + delay_ms, Event::Arrive { from, to, bytes });
        }
    }
}
