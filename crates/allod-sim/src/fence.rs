//! Holders and witnesses of an exclusive slot, under a seed: clocks that go wrong by five parts in a hundred or stop,
//! machines that sleep, processes that stand still or begin anew, words that are lost, late or out of order. Nobody ever
//! writes while somebody else does.
//!
//! What holders and witnesses know, and what follows from it, is what ships ([`allod_state::lease::right`]); the ledger is
//! a list of epochs that each sees later, and the process that freezes a writer is as late as it may be.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::lease::right::{Holder, Named, Rights, Watch, Watched};
use allod_state::limits::{RIGHT_MS, RIGHT_RUNS_MS};
use allod_state::{LeaseId, NodeId};

use crate::random::Random;

mod planted;

pub use planted::Planted;

const MACHINES: u8 = 5;
const WITNESSES: usize = 3;
/// How far the model goes at once, in real milliseconds.
const STEP_MS: u64 = 20;
/// How long one seed is looked at.
const SPAN_MS: u64 = 180_000;
/// What fits into a lease's id.
const EPOCHS_MAX: usize = 250;
/// How long a witness waits for the ledger's answer.
const VOTE_MS: u64 = 5_000;

/// What was seen in one seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who wrote beside whom, first.
    pub overlap: Option<String>,
    /// Epochs that wrote.
    pub writers: u64,
    /// Epochs that ended because most of their witnesses had given them up.
    pub given_up: u64,
    /// How often a writer stood still, and how often it went on.
    pub frozen: u64,
    /// See `frozen`.
    pub thawed: u64,
}

/// Looks at one seed to its end, or until two write at once.
#[must_use]
pub fn run(seed: u64, planted: Option<Planted>) -> Seen {
    let mut model = Model::new(seed, planted);
    while model.now_ms < SPAN_MS && model.seen.overlap.is_none() && model.law.len() < EPOCHS_MAX {
        model.step();
    }
    model.seen
}

/// One epoch, as the law has it; times are real.
struct Epoch {
    holder: u8,
    witnesses: BTreeSet<NodeId>,
    given_up_by: BTreeSet<u8>,
    opened_ms: u64,
    asked_ms: Option<u64>,
    ended_ms: Option<u64>,
}

/// A writer on a machine, and until when it may write by that machine's boot time.
struct Writer {
    epoch: usize,
    until_ms: u64,
    /// How long freezing it takes: as long as it may, at most.
    late_ms: u64,
    is_frozen: bool,
}

struct Machine {
    /// How fast its clock goes, in thousandths.
    rate: u64,
    boot_us: u64,
    /// Stops while the machine sleeps.
    steady_us: u64,
    asleep_until_ms: u64,
    /// Its node's process does nothing until then.
    stalled_until_ms: u64,
    /// Nobody hears it, and it hears nobody.
    cut_until_ms: u64,
    /// It hears others, and nothing of what the law does.
    blind_until_ms: u64,
    /// Up to when it knows what the law did.
    knows_ms: u64,
    beat_at_ms: u64,
    look_at_ms: u64,
    rights: Rights,
    watch: Watch,
    promised: BTreeSet<Watched>,
    writer: Option<Writer>,
    /// Epochs of which nothing runs here ever again.
    killed: BTreeSet<usize>,
}

enum Word {
    Beat(Named),
    Acknowledged(Named),
    /// To the law: an epoch is given up, or nothing of it runs any more.
    Death(usize),
    Gone(usize),
    /// From the law: whether a death was taken.
    Told(BTreeSet<Watched>, bool),
}

struct Model {
    random: Random,
    planted: Option<Planted>,
    now_ms: u64,
    law: Vec<Epoch>,
    machines: Vec<Machine>,
    /// By real time and number: from, to, what.
    wire: BTreeMap<(u64, u64), (u8, u8, Word)>,
    sent: u64,
    /// Links over which nothing comes until then.
    dead_links: BTreeMap<(u8, u8), u64>,
    seen: Seen,
}

fn node(machine: u8) -> NodeId {
    NodeId([machine; 32])
}

fn lease(epoch: usize) -> Watched {
    let number = u8::try_from(epoch).expect("there are few enough epochs");
    (LeaseId([number; 32]), u64::from(number))
}

fn epoch_of(lease: &Watched) -> usize {
    usize::from(lease.0.0[0])
}

impl Model {
    fn new(seed: u64, planted: Option<Planted>) -> Self {
        let mut random = Random::new(seed, "fence");
        let machines = (0..MACHINES).map(|_| {
            let base_us = random.between(1_000_000, 900_000_000);
            Machine {
                rate: random.between(950, 1_050),
                boot_us: base_us,
                steady_us: base_us,
                asleep_until_ms: 0,
                stalled_until_ms: 0,
                cut_until_ms: 0,
                blind_until_ms: 0,
                knows_ms: 0,
                beat_at_ms: 0,
                look_at_ms: 0,
                rights: Rights::new(random.between(1, u64::MAX - 1)),
                watch: Watch::new(BTreeSet::new(), base_us / 1_000),
                promised: BTreeSet::new(),
                writer: None,
                killed: BTreeSet::new(),
            }
        });
        let machines = machines.collect();
        let mut model = Self {
            random,
            planted,
            now_ms: 1,
            law: Vec::new(),
            machines,
            wire: BTreeMap::new(),
            sent: 0,
            dead_links: BTreeMap::new(),
            seen: Seen::default(),
        };
        model.open(None);
        model
    }

    fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        for machine in &mut self.machines {
            let us = STEP_MS * machine.rate;
            machine.boot_us += us;
            if machine.asleep_until_ms <= self.now_ms {
                machine.steady_us += us;
            }
        }
        self.misfortune();
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let (from, to, word) = entry.remove();
            self.deliver(from, to, word);
        }
        for number in 0..MACHINES {
            if self.is_active(number) {
                self.act(number);
            }
        }
        self.look_at_writers();
    }

    fn machine(&mut self, number: u8) -> &mut Machine {
        &mut self.machines[usize::from(number)]
    }

    fn is_asleep(&self, number: u8) -> bool {
        self.machines[usize::from(number)].asleep_until_ms > self.now_ms
    }

    /// Whether its node's process does anything.
    fn is_active(&self, number: u8) -> bool {
        !self.is_asleep(number)
            && self.machines[usize::from(number)].stalled_until_ms <= self.now_ms
    }

    fn is_cut(&self, number: u8) -> bool {
        self.machines[usize::from(number)].cut_until_ms > self.now_ms
    }

    /// The clock that counts sleep, as the holder reads it.
    fn boot_ms(&self, number: u8) -> u64 {
        let machine = &self.machines[usize::from(number)];
        if self.has(Planted::HolderClockStops) {
            machine.steady_us / 1_000
        } else {
            machine.boot_us / 1_000
        }
    }

    fn misfortune(&mut self) {
        let now_ms = self.now_ms;
        for number in 0..MACHINES {
            let long_ms = now_ms + self.random.between(500, 15_000);
            match self.random.below(8_000) {
                0..=1 => self.machine(number).cut_until_ms = long_ms,
                2..=3 => self.machine(number).stalled_until_ms = long_ms,
                4 => self.machine(number).asleep_until_ms = long_ms,
                5..=7 => self.machine(number).blind_until_ms = long_ms + 10_000,
                8..=10 => {
                    // Its node begins anew; what it runs and what it has on disk stay.
                    let life = self.random.between(1, u64::MAX - 1);
                    let forgets = self.has(Planted::ForgetsPromises);
                    let machine = self.machine(number);
                    let promised = if forgets {
                        BTreeSet::new()
                    } else {
                        machine.promised.clone()
                    };
                    machine.rights = Rights::new(life);
                    machine.watch = Watch::new(promised, machine.steady_us / 1_000);
                }
                11..=22 => {
                    let other = u8::try_from(self.random.below(u64::from(MACHINES)));
                    let other = other.expect("there are five");
                    self.dead_links.insert((number, other), long_ms);
                }
                _ => {}
            }
        }
        // Whoever holds it meets with the worst.
        let holder = self.law.last().expect("there is one").holder;
        let long_ms = now_ms + self.random.between(3_000, 12_000);
        match self.random.below(2_000) {
            0 => self.machine(holder).cut_until_ms = long_ms,
            1 => self.machine(holder).asleep_until_ms = long_ms,
            2 => self.machine(holder).blind_until_ms = long_ms + 15_000,
            3 => {
                self.machine(holder).cut_until_ms = long_ms;
                self.machine(holder).blind_until_ms = long_ms + 15_000;
            }
            _ => {}
        }
        // Somebody wants it elsewhere.
        if self.random.below(2_000) == 0 {
            let epoch = self.law.last_mut().expect("there is one");
            epoch.asked_ms.get_or_insert(now_ms);
            if self.has(Planted::ReplacedAtOnce) {
                self.end_and_open();
            }
        }
    }

    fn send(&mut self, from: u8, to: u8, word: Word) {
        let dead_ms = self.dead_links.get(&(from, to)).copied();
        let is_lost = self.random.percent(10);
        if is_lost || self.is_cut(from) || dead_ms.is_some_and(|until| until > self.now_ms) {
            return;
        }
        let late_ms = if self.random.percent(15) {
            self.random.between(0, 6_000)
        } else {
            self.random.between(1, 120)
        };
        self.put(self.now_ms + late_ms, from, to, word);
    }

    /// At once, mostly, and never later than that.
    fn soon_or(&mut self, late_ms: u64) -> u64 {
        let most_ms = if self.random.percent(75) {
            100
        } else {
            late_ms
        };
        self.random.between(1, most_ms)
    }

    fn put(&mut self, at_ms: u64, from: u8, to: u8, word: Word) {
        self.sent += 1;
        self.wire.insert((at_ms, self.sent), (from, to, word));
    }

    fn deliver(&mut self, from: u8, to: u8, word: Word) {
        match word {
            Word::Death(epoch) => return self.die(epoch, from),
            Word::Gone(epoch) => {
                let is_current = epoch + 1 == self.law.len();
                if is_current && self.law[epoch].holder == from {
                    self.end_and_open();
                }
                return;
            }
            _ => {}
        }
        if !self.is_active(to) {
            // It waits for whoever stands still, and a machine that sleeps hears nothing.
            let at_ms = self.machines[usize::from(to)].stalled_until_ms;
            if at_ms > self.now_ms && !self.is_asleep(to) {
                self.put(at_ms, from, to, word);
            }
            return;
        }
        match word {
            Word::Beat(said) if !self.is_cut(to) => self.answer(to, from, &said),
            Word::Acknowledged(said) if !self.is_cut(to) => self.confirmed(to, from, &said),
            Word::Told(leases, is_taken) => {
                let machine = self.machine(to);
                let now_ms = machine.steady_us / 1_000;
                machine.watch.told(&leases, is_taken, now_ms);
            }
            _ => {}
        }
    }

    fn answer(&mut self, own: u8, from: u8, said: &Named) {
        let watched = self.watched(own);
        let machine = self.machine(own);
        let now_ms = machine.steady_us / 1_000;
        let mut leases = machine
            .watch
            .hear(node(from), &said.leases, &watched, now_ms);
        if self.has(Planted::AcknowledgesAfterVote) {
            leases.extend(&said.leases);
        }
        if !leases.is_empty() {
            let said = Named {
                leases,
                ..said.clone()
            };
            self.send(own, from, Word::Acknowledged(said));
        }
    }

    fn confirmed(&mut self, own: u8, from: u8, said: &Named) {
        let boot_ms = self.boot_ms(own);
        let held: BTreeSet<Watched> = self.held(own).into_iter().map(lease).collect();
        self.machine(own).rights.hear(node(from), said, &held);
        for lease in held {
            let mut until_ms = self.until_ms(own, epoch_of(&lease)).unwrap_or(0);
            if until_ms > 0 && self.has(Planted::CountsFromReceipt) {
                until_ms = boot_ms + RIGHT_RUNS_MS;
            }
            if self.has(Planted::ThawsOnContact) {
                until_ms = boot_ms + RIGHT_RUNS_MS;
            }
            if let Some(writer) = &mut self.machine(own).writer
                && writer.epoch == epoch_of(&lease)
            {
                writer.until_ms = writer.until_ms.max(until_ms);
            }
        }
    }

    /// Until when an epoch may run by what its holder has heard.
    fn until_ms(&self, own: u8, epoch: usize) -> Option<u64> {
        let machine = &self.machines[usize::from(own)];
        let witnesses = &self.law[epoch].witnesses;
        let confirmed = |set: &BTreeSet<NodeId>| machine.rights.confirmed_ms(&lease(epoch), set);
        let sent_ms = if self.has(Planted::OneConfirms) {
            let alone = witnesses.iter().map(|witness| BTreeSet::from([*witness]));
            alone.filter_map(|one| confirmed(&one)).max()
        } else {
            confirmed(witnesses)
        };
        sent_ms.map(|sent_ms| sent_ms + RIGHT_RUNS_MS)
    }

    /// The epochs that a machine knows to be active and to watch.
    fn watched(&self, own: u8) -> BTreeMap<Watched, Holder> {
        let knows_ms = self.machines[usize::from(own)].knows_ms;
        let epochs = self.law.iter().enumerate().filter(|(_, epoch)| {
            let is_witness = epoch.witnesses.contains(&node(own));
            let is_more = self.has(Planted::WiderSet) && epoch.holder != own;
            (is_witness || is_more) && epoch.is_active(knows_ms)
        });
        let watched = epochs.map(|(number, epoch)| {
            let holder = Holder {
                node: node(epoch.holder),
                is_exclusive: true,
            };
            (lease(number), holder)
        });
        watched.collect()
    }

    /// The epochs that a machine knows to be active and to hold.
    fn held(&self, own: u8) -> Vec<usize> {
        let machine = &self.machines[usize::from(own)];
        let epochs = self.law.iter().enumerate().filter(|(number, epoch)| {
            let is_own = epoch.holder == own && epoch.is_active(machine.knows_ms);
            is_own && !machine.killed.contains(number)
        });
        epochs.map(|(number, _)| number).collect()
    }

    /// What a machine's node does of its own accord.
    fn act(&mut self, own: u8) {
        if !self.is_cut(own) && self.machine(own).blind_until_ms <= self.now_ms {
            let late_ms = self.soon_or(1_500);
            let knows_ms = self.now_ms.saturating_sub(late_ms);
            let machine = self.machine(own);
            machine.knows_ms = machine.knows_ms.max(knows_ms);
        }
        self.obey(own);
        let steady_ms = self.machine(own).steady_us / 1_000;
        if self.machine(own).beat_at_ms <= steady_ms {
            self.machine(own).beat_at_ms = steady_ms + 1_000;
            self.give_sign(own);
        }
        if self.machine(own).look_at_ms <= steady_ms {
            self.machine(own).look_at_ms = steady_ms + 250;
            self.watch(own);
        }
    }

    /// Starts what it holds and may run, and kills what has ended or is to end.
    fn obey(&mut self, own: u8) {
        let held = self.held(own);
        let knows_ms = self.machine(own).knows_ms;
        let running = self.machine(own).writer.as_ref().map(|it| it.epoch);
        if let Some(epoch) = running.filter(|epoch| !held.contains(epoch)) {
            self.kill(own, epoch);
        }
        for epoch in held {
            if self.law[epoch].asked_ms.is_some_and(|at| at <= knows_ms) {
                self.kill(own, epoch);
                let at_ms = self.now_ms + self.random.between(20, 3_000);
                self.put(at_ms, own, own, Word::Gone(epoch));
                continue;
            }
            let boot_ms = self.boot_ms(own);
            let until_ms = self.until_ms(own, epoch).filter(|until| *until > boot_ms);
            if let (Some(until_ms), None) = (until_ms, &self.machine(own).writer) {
                let late_ms = self.random.between(0, RIGHT_MS - RIGHT_RUNS_MS);
                self.seen.writers += 1;
                self.machine(own).writer = Some(Writer {
                    epoch,
                    until_ms,
                    late_ms,
                    is_frozen: false,
                });
            }
        }
    }

    fn kill(&mut self, own: u8, epoch: usize) {
        let machine = self.machine(own);
        machine.killed.insert(epoch);
        if machine.writer.as_ref().is_some_and(|it| it.epoch == epoch) {
            machine.writer = None;
        }
    }

    fn give_sign(&mut self, own: u8) {
        let boot_ms = self.boot_ms(own);
        let held = self.held(own);
        let keep = held.iter().copied().map(lease).collect();
        let machine = self.machine(own);
        machine.rights.keep(&keep);
        machine.rights.begin(boot_ms);
        for other in (0..MACHINES).filter(|other| *other != own) {
            let of_it = held.iter().filter(|epoch| {
                self.has(Planted::WiderSet) || self.law[**epoch].witnesses.contains(&node(other))
            });
            let named: BTreeSet<Watched> = of_it.copied().map(lease).collect();
            if !named.is_empty() {
                let said = self.machine(own).rights.beat(named);
                self.send(own, other, Word::Beat(said));
            }
        }
    }

    fn watch(&mut self, own: u8) {
        let watched = self.watched(own);
        let has_company = !self.is_cut(own);
        let is_early = self.has(Planted::GivesUpEarly);
        let machine = self.machine(own);
        let now_ms = machine.steady_us / 1_000;
        let mut gone = machine.watch.look(&watched, has_company, now_ms);
        if is_early && has_company {
            // As if its clock went on by two seconds for this one look.
            gone.extend(machine.watch.look(&watched, true, now_ms + 2_000));
            machine.watch.look(&watched, true, now_ms);
        }
        machine.promised.extend(&gone);
        for lease in gone {
            let leases = BTreeSet::from([lease]);
            if self.is_cut(own) || self.random.percent(20) {
                self.put(self.now_ms + VOTE_MS, own, own, Word::Told(leases, false));
                continue;
            }
            let at_ms = self.now_ms + self.soon_or(VOTE_MS);
            self.put(at_ms, own, own, Word::Death(epoch_of(&lease)));
            self.put(at_ms, own, own, Word::Told(leases, true));
        }
    }

    /// The law hears that a witness gives an epoch up.
    fn die(&mut self, epoch: usize, by: u8) {
        let is_wide = self.has(Planted::WiderSet);
        let row = &mut self.law[epoch];
        if row.ended_ms.is_some() || !(is_wide || row.witnesses.contains(&node(by))) {
            return;
        }
        row.given_up_by.insert(by);
        if row.given_up_by.len() * 2 > row.witnesses.len() {
            self.seen.given_up += 1;
            self.end_and_open();
        }
    }

    fn end_and_open(&mut self) {
        let last = self.law.last_mut().expect("there is one");
        last.ended_ms = Some(self.now_ms);
        let before = last.holder;
        self.open(Some(before));
    }

    fn open(&mut self, before: Option<u8>) {
        let mut others: Vec<u8> = (0..MACHINES).collect();
        others.retain(|number| Some(*number) != before);
        let holder = others.remove(self.random.index(others.len()));
        others.extend(before);
        let mut witnesses = BTreeSet::new();
        while witnesses.len() < WITNESSES {
            witnesses.insert(node(others.remove(self.random.index(others.len()))));
        }
        self.law.push(Epoch {
            holder,
            witnesses,
            given_up_by: BTreeSet::new(),
            opened_ms: self.now_ms,
            asked_ms: None,
            ended_ms: None,
        });
    }

    /// What writes now; a process of the root's freezes and thaws, whatever the node does.
    fn look_at_writers(&mut self) {
        let mut writing = Vec::new();
        for number in 0..MACHINES {
            let (boot_ms, is_asleep) = (self.boot_ms(number), self.is_asleep(number));
            let Some(writer) = &mut self.machines[usize::from(number)].writer else {
                continue;
            };
            let until_ms = writer.until_ms + writer.late_ms;
            let is_over = boot_ms >= until_ms || writer.is_frozen && boot_ms >= writer.until_ms;
            if is_over != writer.is_frozen {
                writer.is_frozen = is_over;
                self.seen.frozen += u64::from(is_over);
                self.seen.thawed += u64::from(!is_over);
            }
            if !is_over && !is_asleep {
                writing.push((number, writer.epoch));
            }
        }
        if writing.len() > 1 {
            let text = format!("at {} ms these wrote: {writing:?}", self.now_ms);
            self.seen.overlap = Some(text);
        }
    }
}

impl Epoch {
    fn is_active(&self, at_ms: u64) -> bool {
        self.opened_ms <= at_ms && self.ended_ms.is_none_or(|ended| ended > at_ms)
    }
}
