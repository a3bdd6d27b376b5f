//! What false validators do to a run, and what becomes of the proof that they are false.

use allod_ledger::bft::{Equivocation, Message};
use allod_state::event::Event as LawEvent;
use allod_state::receipt::Receipt;
use allod_state::validator::ReportConflict;
use allod_state::{NodeId, PublicKey};

use crate::client::Wish;
use crate::liar::{Habit, Letter, Scene};
use crate::limits::{LIE_EVERY_MS, START_MS};
use crate::person::{operator_of_validator, validator};
use crate::snapshot::Snapshot;

use super::{Event, Network};

impl Network {
    pub(super) fn is_false(&self, at: usize) -> bool {
        self.liars.contains_key(&at)
    }

    /// Those whose word counts, and who have to go on.
    pub(super) fn honest(&self) -> Vec<usize> {
        let there = self.machines.iter().filter(|machine| !machine.is_gone);
        let numbers = there.map(|machine| machine.number);
        numbers.filter(|at| !self.is_false(*at)).collect()
    }

    /// Lets a false validator write letters, if its replica is up.
    fn ask_liar<T: Default>(
        &mut self,
        at: usize,
        write: impl FnOnce(&mut dyn Habit, &mut Scene<'_>) -> T,
    ) -> T {
        let replica = self.machines.get(at).and_then(|one| one.replica.as_ref());
        let state = replica.map(|replica| replica.state().clone());
        let others: Vec<usize> = (0..self.machines.len()).filter(|one| *one != at).collect();
        let far: Vec<usize> = self.honest().into_iter().step_by(2).collect();
        let wall_ms = START_MS + self.now_ms;
        let (Some(state), Some(liar)) = (state, self.liars.get_mut(&at)) else {
            return T::default();
        };
        let mut scene = Scene {
            random: &mut liar.random,
            signer: &liar.signer,
            state: &state,
            wall_ms,
            others: &others,
            far: &far,
            plot: &mut self.plot,
        };
        write(liar.habit.as_mut(), &mut scene)
    }

    fn count_lies(&mut self, at: usize, count: usize) {
        if let Some(liar) = self.liars.get(&at) {
            *self.counts.lies.entry(liar.kind).or_default() += count as u64;
        }
    }

    /// What a false validator's replica says goes out as its liar likes it.
    pub(super) fn say_falsely(&mut self, at: usize, to: usize, message: &Message) {
        let letters = self.ask_liar(at, |habit, scene| habit.says(scene, to, message));
        let honest = message.encode();
        let is_honest = |letter: &Letter| letter.delay_ms == 0 && letter.bytes == honest;
        if letters.len() != 1 || !letters.iter().all(is_honest) {
            self.count_lies(at, letters.len().max(1));
        }
        self.deliver(at, letters);
    }

    /// A false validator hears something.
    pub(super) fn hear(&mut self, at: usize, message: &Message) {
        let letters = self.ask_liar(at, |habit, scene| habit.hears(scene, message));
        self.count_lies(at, letters.len());
        self.deliver(at, letters);
    }

    /// A false validator does something by itself, and will again.
    pub(super) fn lie(&mut self, at: usize) {
        let letters = self.ask_liar(at, |habit, scene| habit.acts(scene));
        self.count_lies(at, letters.len());
        self.deliver(at, letters);
        let liar = self.liars.get_mut(&at);
        let ms = liar.map_or(0, |liar| liar.random.below(2 * LIE_EVERY_MS));
        self.after(1 + ms, Event::Lie(at));
    }

    /// What a machine gives that was asked for a snapshot: its own, unless it is false.
    pub(super) fn given(&mut self, at: usize, taken: Snapshot) -> Snapshot {
        if !self.is_false(at) {
            return taken;
        }
        let honest = taken.clone();
        let given = self.ask_liar(at, |habit, scene| Some(habit.gives(scene, honest)));
        let given = given.unwrap_or_else(|| taken.clone());
        if given != taken {
            self.count_lies(at, 1);
        }
        given
    }

    fn deliver(&mut self, from: usize, letters: Vec<Letter>) {
        for letter in letters {
            self.send_bytes(from, letter.to, letter.delay_ms, &letter.bytes);
        }
    }

    /// A replica shows that a validator is false: no honest one ever is.
    pub(super) fn accuse(&mut self, evidence: &Equivocation) {
        let report = evidence.report(NodeId([0; 32]));
        if !self.known_false.contains(&report.validator) {
            self.inspector
                .complain("signatures", format!("seen by a replica: {evidence:?}"));
        }
        self.conflicts.insert(report.validator, report);
    }

    /// Shows the law the proof against someone who still decides, where the law knows both machines.
    pub(super) fn denounce(&mut self) {
        let Some((at, state)) = self.some_machine() else {
            return;
        };
        let reports = self.conflicts.values().cloned();
        let open = reports.into_iter().find(|report| {
            let accused = NodeId::of_first_key(&report.validator);
            let seat = state.seat(&accused).unwrap_or_default();
            state.node(&accused).is_some() && !seat.is_barred
        });
        let Some(report) = open else {
            return;
        };
        let is_witness = |number: &usize| {
            let (key, node) = node_of(*number);
            key != report.validator && state.node(&node).is_some()
        };
        let Some(number) = (0..self.machines.len()).find(is_witness) else {
            return;
        };
        let node = node_of(number).1;
        let wish = Wish {
            signer: operator_of_validator(number),
            account: self.people.operator_of_validator(number).account,
            actions: vec![ReportConflict { node, ..report }.into()],
        };
        let draft = self.draft(&state, false);
        let signed = super::doors::sign(&draft, &wish);
        self.submit(at, signed);
    }

    /// Only who is false is ever barred.
    pub(super) fn judge(&mut self, receipts: &[Receipt]) {
        let events = receipts.iter().flat_map(|receipt| &receipt.events);
        let barred = events.filter_map(|event| match event {
            LawEvent::ValidatorBarred { node, .. } => Some(*node),
            _ => None,
        });
        for node in barred {
            self.counts.barred += 1;
            let mut known = self.known_false.iter();
            if known.all(|key| NodeId::of_first_key(key) != node) {
                let what = format!("{node} is barred and never was false");
                self.inspector.complain("signatures", what);
            }
        }
    }
}

/// A validator's key, and the machine that it is on the ledger.
pub(crate) fn node_of(number: usize) -> (PublicKey, NodeId) {
    let key = allod_ledger::bft::Signer::public_key(&validator(number));
    (key, NodeId::of_first_key(&key))
}
