//! The succession: who joins the validators of a run, and who leaves them.
//!
//! The seed wants one change after the other. A further machine follows, stands and is voted in; a validator leaves; one
//! that is dead for good, or false, is voted out and another takes its place. Operators bring all of it about by
//! transactions like anybody's, under the faults and the false validators of the run. Of no set that a change may
//! lead to are more members failing than may.
//!
//! Where one begins alone, the first thing wanted is that the others join. It decides alone until enough are elected.

use std::collections::BTreeSet;

use allod_state::limits::VALIDATORS_MIN;
use allod_state::validator::{Leave, Stand, ValidatorSet, Vote};
use allod_state::{Action, NodeId, PublicKey, State};

use crate::client::{Wish, registration};
use crate::liar;
use crate::limits::{ELECT_EVERY_MS, FURTHER_MAX, REST_MS_MAX, SET_CHANGES_MIN};
use crate::machine::Machine;
use crate::mutation::Mutation;
use crate::person::operator_of_validator;
use crate::random::Random;

use super::lies::node_of;
use super::{Event, Network};

/// What a seed may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Join,
    Leave,
    Replace,
}

const KINDS: [Kind; 3] = [Kind::Join, Kind::Leave, Kind::Replace];

/// A change that is under way.
#[derive(Debug, Clone, Copy)]
struct Change {
    kind: Kind,
    /// The machine that is to validate.
    joins: Option<usize>,
    /// The machine that is not to any more.
    goes: Option<usize>,
}

/// What is wanted, and what has come of it.
pub(super) struct Succession {
    random: Random,
    change: Option<Change>,
    /// Until when nothing new is wanted.
    rests_until_ms: u64,
    /// What is wanted before anything is wanted again.
    to_come: Vec<Kind>,
    /// The set as it was last seen.
    seen: Option<ValidatorSet>,
    /// The height of the block that made it.
    made_at: u64,
}

impl Succession {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "succession"),
            change: None,
            rests_until_ms: 0,
            to_come: Vec::new(),
            seen: None,
            made_at: 0,
        }
    }
}

impl Network {
    /// The operators look at the newest state, and do what is still to be done.
    pub(super) fn elect(&mut self) {
        let state = self.inspector.newest().clone();
        if self
            .succession
            .change
            .is_some_and(|change| self.is_made(change, &state))
        {
            let rest_ms = self.succession.random.below(REST_MS_MAX);
            self.succession.rests_until_ms = self.now_ms + rest_ms;
            self.succession.change = None;
            self.watch_growth(&state);
        }
        // Where the storm let too little happen, the rest comes after it.
        let may_begin = if !self.is_grown() {
            true
        } else if self.is_calm {
            self.counts.set_changes < SET_CHANGES_MIN
        } else {
            self.now_ms >= self.succession.rests_until_ms
        };
        if self.succession.change.is_none() && may_begin {
            self.succession.change = self.wanted(&state);
        }
        self.list_machines(&state);
        if let Some(change) = self.succession.change {
            self.urge(change, &state);
        }
        let ms = 1 + self.succession.random.below(2 * ELECT_EVERY_MS);
        self.after(ms, Event::Elect);
    }

    /// Who is to decide, who of them does, and what is under way.
    pub(super) fn standing(&self) -> String {
        let members = self.members(self.inspector.newest());
        let decides = |at: &usize| {
            let replica = self.machines.get(*at).and_then(|one| one.replica.as_ref());
            replica.is_some_and(allod_ledger::replica::Replica::is_voting)
        };
        let deciding: Vec<usize> = members.iter().copied().filter(decides).collect();
        let change = self.succession.change;
        let elected = self.elected(self.inspector.newest());
        format!(
            "of {members:?} these vote: {deciding:?}; elected: {elected:?}; under way: {change:?}; \
             false: {:?}, without their past: {:?}",
            self.liars.keys(),
            self.forgetful
        )
    }

    /// Whether nothing is under way, and enough has been.
    pub(super) fn is_settled(&self) -> bool {
        let is_enough = !self.has_succession() || self.counts.set_changes >= SET_CHANGES_MIN;
        self.succession.change.is_none() && is_enough && self.is_grown()
    }

    /// Whether everybody joined whom one that began alone waits for.
    fn is_grown(&self) -> bool {
        !self.plan.begins_alone || self.counts.grown > 0
    }

    fn watch_growth(&mut self, state: &State) {
        if !self.is_grown() && self.absent(state).is_empty() {
            self.counts.grown = 1;
        }
    }

    /// Those who are to be elected and are not yet. Whoever was proven false will not be.
    fn absent(&self, state: &State) -> Vec<usize> {
        let elected = self.elected(state);
        let is_absent =
            |number: &usize| !elected.contains(number) && !self.is_barred(*number, state);
        (0..self.plan.validators).filter(is_absent).collect()
    }

    fn is_barred(&self, number: usize, state: &State) -> bool {
        let seat = state.seat(&self.seat_of(number).1);
        seat.is_some_and(|seat| seat.is_barred)
    }

    /// Counts the sets that have decided after the first, and sees that no more of one are failing than may.
    pub(super) fn watch_set(&mut self) {
        let now = self.inspector.newest().validators();
        match &self.succession.seen {
            Some(seen) if *seen == now => return,
            Some(_) => {
                self.counts.set_changes += 1;
                self.succession.made_at = self.inspector.newest().tip().height;
            }
            None => {}
        }
        self.succession.seen = Some(now);
        let failing = self.failing();
        let members = self.members(self.inspector.newest());
        if self.plan.mutation.is_none() && !is_borne(&members, &failing) {
            let what = format!("{failing:?} are failing, which {members:?} cannot bear");
            self.inspector.complain("faults", what);
        }
    }

    fn is_made(&mut self, change: Change, state: &State) -> bool {
        let elected = state.elected();
        let power = |number: usize| elected.power(&self.seat_of(number).0);
        let joins = change.joins;
        let is_made = joins.is_none_or(|joins| power(joins) > 0 || self.is_barred(joins, state))
            && change.goes.is_none_or(|goes| power(goes) == 0);
        if is_made {
            let name = match change.kind {
                Kind::Join => "joined",
                Kind::Leave => "left",
                Kind::Replace => "replaced",
            };
            *self.counts.changes.entry(name).or_default() += 1;
        }
        is_made
    }

    /// The next change that the seed wants, where one can be borne.
    fn wanted(&mut self, state: &State) -> Option<Change> {
        if !self.is_grown() {
            return self.grow(state);
        }
        if self.succession.to_come.is_empty() {
            let mut kinds = KINDS.to_vec();
            while !kinds.is_empty() {
                let at = self.succession.random.index(kinds.len());
                self.succession.to_come.push(kinds.remove(at));
            }
        }
        let members = self.members(state);
        let kinds = self.succession.to_come.clone();
        for (at, kind) in kinds.into_iter().enumerate() {
            let change = match kind {
                Kind::Join => self.join(&members),
                Kind::Leave => self.leave(&members),
                // Nobody dies any more once all faults have ended.
                Kind::Replace if self.is_calm => None,
                Kind::Replace => self.replace(&members),
            };
            if change.is_some() {
                self.succession.to_come.remove(at);
                return change;
            }
        }
        if self.is_calm {
            // What is left waits for a death or for a fifth member, and neither comes any more.
            self.succession.to_come.clear();
        }
        None
    }

    /// The key of a machine, and what it is on the ledger.
    fn seat_of(&self, number: usize) -> (PublicKey, NodeId) {
        let machine = self.machines.get(number);
        let key = machine.map_or_else(|| node_of(number).0, |machine| machine.key);
        (key, NodeId::of_first_key(&key))
    }

    /// Those of the machines who decide the next block.
    fn members(&self, state: &State) -> BTreeSet<usize> {
        self.those_of(&state.validators())
    }

    /// Those who are elected; they decide once they are enough.
    fn elected(&self, state: &State) -> BTreeSet<usize> {
        self.those_of(&state.elected())
    }

    fn those_of(&self, set: &ValidatorSet) -> BTreeSet<usize> {
        let machines = self.machines.iter();
        let of_set = machines.filter(|one| set.power(&one.key) > 0);
        of_set.map(|one| one.number).collect()
    }

    /// The next of those whom one that began alone waits for; the false ones come last.
    fn grow(&mut self, state: &State) -> Option<Change> {
        let absent = self.absent(state).into_iter();
        let joins = absent.min_by_key(|number| (self.is_false(*number), *number))?;
        let change = Change {
            kind: Kind::Join,
            joins: Some(joins),
            goes: None,
        };
        let failing = self.failing();
        self.may_bear(Some(change), &failing).then_some(change)
    }

    /// Whether the set, and those that a change may lead to, can bear that these fail.
    fn may_bear(&self, change: Option<Change>, failing: &BTreeSet<usize>) -> bool {
        let state = self.inspector.newest();
        let in_the_end: BTreeSet<usize> = (0..self.plan.validators).collect();
        let is_bearable = is_bearable(&self.members(state), &self.elected(state), change, failing);
        let is_bearable = is_bearable && self.is_known_without(failing);
        is_bearable && (self.is_grown() || is_borne(&in_the_end, failing))
    }

    /// Whether somebody else knows of the set: one that decides alone takes the block that elects the fourth along where it
    /// fails before anybody has heard of it.
    fn is_known_without(&self, failing: &BTreeSet<usize>) -> bool {
        let made_at = self.succession.made_at;
        let others = self.machines.iter();
        let mut others = others.filter(|one| !failing.contains(&one.number));
        let height = |one: &Machine| Some(one.replica.as_ref()?.state().tip().height);
        made_at == 0 || others.any(|one| height(one) >= Some(made_at))
    }

    fn join(&mut self, members: &BTreeSet<usize>) -> Option<Change> {
        if members.len() > self.plan.validators || !self.has_place() {
            return None;
        }
        let change = Change {
            kind: Kind::Join,
            joins: Some(self.arrive_new()),
            goes: None,
        };
        Some(change)
    }

    fn has_place(&self) -> bool {
        self.machines.len() < self.plan.validators + FURTHER_MAX
    }

    /// Somebody leaves by its own will, where four are left.
    fn leave(&mut self, members: &BTreeSet<usize>) -> Option<Change> {
        let there: Vec<usize> = members.iter().copied().collect();
        let goes = *self.succession.random.pick(&there)?;
        let change = Change {
            kind: Kind::Leave,
            joins: None,
            goes: Some(goes),
        };
        let failing = self.failing();
        (members.len() > 4 && self.may_bear(Some(change), &failing)).then_some(change)
    }

    /// One dies, or one that fails already is given up, and another one takes its place.
    fn replace(&mut self, members: &BTreeSet<usize>) -> Option<Change> {
        if !self.has_place() {
            return None;
        }
        let there: Vec<usize> = members.iter().copied().collect();
        let drawn = *self.succession.random.pick(&there)?;
        let mut failing = self.failing();
        let goes = if failing.contains(&drawn) {
            drawn
        } else {
            failing.insert(drawn);
            let change = Change {
                kind: Kind::Replace,
                joins: None,
                goes: Some(drawn),
            };
            let may_die = self.may_bear(Some(change), &failing) && self.is_spared(drawn)
                || self.plan.mutation == Some(Mutation::TooManyGone);
            if may_die {
                self.die(drawn);
                drawn
            } else {
                failing.remove(&drawn);
                *members.intersection(&failing).next()?
            }
        };
        let change = Change {
            kind: Kind::Replace,
            joins: Some(self.arrive_new()),
            goes: Some(goes),
        };
        Some(change)
    }

    /// The machine dies and never comes back.
    fn die(&mut self, at: usize) {
        self.trace.note(self.now_ms, "die", at, &[]);
        self.counts.deaths += 1;
        if let Some(machine) = self.machines.get_mut(at) {
            machine.crash();
            machine.is_gone = true;
        }
    }

    /// Who may not do its part: false, dead for good, with a clock that is far off, or in quarantine after a loss.
    pub(super) fn failing(&mut self) -> BTreeSet<usize> {
        let machines = &self.machines;
        self.forgetful.retain(|at| {
            let replica = machines.get(*at).and_then(|one| one.replica.as_ref());
            replica.is_none_or(|replica| replica.quarantine().is_some())
        });
        let mut failing = self.forgetful.clone();
        failing.extend(self.far_off.iter());
        failing.extend(self.liars.keys());
        let gone = self.machines.iter().filter(|one| one.is_gone);
        failing.extend(gone.map(|one| one.number));
        failing
    }

    /// Whether so many may fail at once, in the set as it is and as the change under way may leave it.
    pub(super) fn is_bearable(&self, failing: &BTreeSet<usize>) -> bool {
        self.may_bear(self.succession.change, failing)
    }

    /// Validators whose machines nobody has listed are listed by their operators.
    fn list_machines(&mut self, state: &State) {
        for number in self.members(state) {
            if state.node(&self.seat_of(number).1).is_none()
                && let Some(register) = registration(&self.people, number)
            {
                self.operate(number, vec![register.into()]);
            }
        }
    }

    /// Operators do what the change still lacks.
    fn urge(&mut self, change: Change, state: &State) {
        if let Some(number) = change.joins {
            let (key, node) = self.seat_of(number);
            let is_elected = state.elected().power(&key) > 0;
            if state.node(&node).is_none() {
                let register = registration(&self.people, number).map(Action::from);
                let actions = register.into_iter().chain([Stand { node }.into()]);
                self.operate(number, actions.collect());
            } else if state.seat(&node).is_none() && !is_elected {
                self.operate(number, vec![Stand { node }.into()]);
            } else if !is_elected {
                self.vote(number, true, state);
            }
        }
        let Some(number) = change.goes else {
            return;
        };
        let (key, node) = self.seat_of(number);
        if state.elected().power(&key) == 0 {
            return;
        }
        match change.kind {
            Kind::Leave => self.operate(number, vec![Leave { node }.into()]),
            _ => self.vote(number, false, state),
        }
    }

    /// Every operator who has not done so yet votes with its validators.
    fn vote(&mut self, on: usize, is_in: bool, state: &State) {
        let node = self.seat_of(on).1;
        let votes = state.seat(&node).map(|seat| seat.votes).unwrap_or_default();
        for voter in self.members(state) {
            if voter != on && !votes.contains(&self.seat_of(voter).0) {
                self.operate(voter, vec![Vote { node, is_in }.into()]);
            }
        }
    }

    /// The operator of a validator wants something, unless it waits for an answer.
    pub(super) fn operate(&mut self, number: usize, actions: Vec<Action>) {
        let account = self.people.operator_of_validator(number).account;
        if self.desk.is_waiting(&account) {
            return;
        }
        let Some((at, state)) = self.some_machine() else {
            return;
        };
        let wish = Wish {
            signer: operator_of_validator(number),
            account,
            actions,
        };
        let draft = self.draft(&state, false);
        let signed = super::doors::sign(&draft, &wish);
        self.submit(at, signed);
    }
}

/// Whether those who decide can bear that these fail, before and after each half of a change. Who is elected decides once
/// enough are.
fn is_bearable(
    members: &BTreeSet<usize>,
    elected: &BTreeSet<usize>,
    change: Option<Change>,
    failing: &BTreeSet<usize>,
) -> bool {
    let joins = change.and_then(|change| change.joins);
    let goes = change.and_then(|change| change.goes);
    let with: BTreeSet<usize> = elected.iter().copied().chain(joins).collect();
    let without = |set: &BTreeSet<usize>| {
        let mut set = set.clone();
        set.retain(|number| Some(*number) != goes);
        set
    };
    let chosen = [elected, &with].into_iter();
    let chosen = chosen.flat_map(|set| [set.clone(), without(set)]);
    let mut sets = chosen
        .filter(|set| set.len() as u64 >= VALIDATORS_MIN)
        .chain([members.clone(), without(members)]);
    sets.all(|set| is_borne(&set, failing))
}

/// Whether fewer than a third of a set are failing.
fn is_borne(set: &BTreeSet<usize>, failing: &BTreeSet<usize>) -> bool {
    set.intersection(failing).count() <= liar::most(set.len())
}
