//! The search for a replica's node: what every node is asked, worked out once, and the two walks round the ring.
//!
//! Every answer is the one that asking every node every rule would give. It is found sooner because nodes with equal
//! terms are asked about them once, and because a walk passes by subtrees of the inventory that can hold nothing: too
//! little room everywhere, or only terms that refuse. `tests/it/asked.rs` compares it with the long way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::id::{AccountId, Label, NodeId};
use crate::limits::{
    CANDIDATES_SCORED_MAX, EFFORT_PER_REFUSAL, EFFORT_PER_SLOT, GLANCES_BEFORE_TERMS,
    GLANCES_PER_EFFORT, NODES_LISTED_MAX,
};
use crate::money::Credits;
use crate::node::{Node, Resources};
use crate::place::refusal::{Refusal, WhyNot};
use crate::place::rule::{self, Asks, Failing, Rule};
use crate::place::{Found, Wanted};
use crate::state::State;
use crate::state::inventory::{Entry, Inventory, Summary, Visitor};
use crate::text::Word;

/// A search for one replica: what every node is asked, worked out once.
pub(crate) struct Search<'a> {
    pub(crate) state: &'a State,
    pub(crate) wanted: &'a Wanted<'a>,
    /// What the replica takes.
    pub(crate) footprint: Resources,
    /// What a node must have left: room for the whole app, where this is the first replica of one that stays together.
    pub(crate) needs: Resources,
    /// Where those of its volumes that exist are.
    pub(crate) volumes_on: Vec<NodeId>,
    /// Where data of one of its volumes are that were given up, and are there still.
    pub(crate) leaving_on: Option<NodeId>,
    /// Whether another replica of the app writes to one of its volumes.
    pub(crate) is_volume_held: bool,
    /// The nodes that can read the manifest. None where it was sealed for no node, and is handed over in some other way.
    pub(crate) readers: Option<BTreeSet<NodeId>>,
    /// The node that has other replicas of the app, or their data, where it has to be the same.
    pub(crate) together_on: Option<NodeId>,
    /// Whether any node has a replica of the service.
    has_neighbours: bool,
    /// Where the slot's own lease is, if it has one.
    own_on: Option<NodeId>,
    /// How many other replicas of the service each operator has, where that is bounded.
    pub(crate) by_operator: BTreeMap<AccountId, u32>,
    /// How many each region has, where that is bounded.
    pub(crate) by_region: BTreeMap<Word, u32>,
    /// How many leases of the app were looked at for all this.
    leases_looked_at: u64,
}

/// A node under examination.
pub(crate) struct Candidate<'a> {
    pub(crate) search: &'a Search<'a>,
    pub(crate) id: NodeId,
    pub(crate) operator: AccountId,
    /// A node with the same terms.
    pub(crate) terms: &'a Node,
    pub(crate) free: Resources,
    /// How many replicas of the service the node has.
    pub(crate) neighbours: u32,
    /// How many of them are others than the slot's own, which goes when the new one is there.
    pub(crate) others: u32,
}

/// Lower is better, in this order: fewer replicas of the service on the node, lower price, fuller node (so that large
/// demands keep finding room).
type Score = (u32, Credits, u64);

impl<'a> Search<'a> {
    pub(crate) fn new(state: &'a State, wanted: &'a Wanted<'a>) -> Self {
        let app = wanted.app;
        let volume = |label: &Label| state.volume(&(app.owner, app.label, *label));
        let volumes = wanted.demand.volumes.keys().filter_map(volume);
        let leaving_on = volumes.clone().find_map(|volume| volume.leaving_on(state));
        let volumes_on = volumes.filter_map(|volume| volume.binding_on());
        // The slot's own lease ends before its successor opens, because a service with volumes stops first.
        let is_other = |id: &_| state.lease_row(id).map(|lease| lease.slot()) != Some(*wanted.slot);
        let is_held = |label| state.writers_of(&wanted.slot.0, label).iter().any(is_other);
        let (app_id, service, _) = wanted.slot;
        let readers = state.readers_of(app_id, wanted.revision);
        let (together_on, needs, beside) = together(state, wanted);
        let (by_operator, by_region, counted) = others(state, wanted);
        Self {
            state,
            wanted,
            footprint: wanted.demand.footprint(),
            needs,
            volumes_on: volumes_on.collect(),
            leaving_on,
            is_volume_held: wanted.demand.volumes.keys().any(is_held),
            readers: (!readers.is_empty()).then_some(readers),
            together_on,
            has_neighbours: state.has_replicas(app_id, service),
            own_on: own_on(state, wanted),
            by_operator,
            by_region,
            leases_looked_at: beside.saturating_add(counted),
        }
    }

    /// What a node has left for this replica.
    pub(crate) fn free_on(&self, id: &NodeId, node: &Node) -> Resources {
        let Some(offer) = &node.offer else {
            return Resources::default();
        };
        let mut used = self.state.used_on(id);
        if let Some((_, freed)) = self.wanted.freed.filter(|(on, _)| on == id) {
            used = used.minus(freed);
        }
        offer.capacity.minus(used)
    }

    pub(crate) fn candidate(&'a self, id: NodeId, node: &'a Node) -> Candidate<'a> {
        let neighbours = self.neighbours_on(&id);
        Candidate {
            search: self,
            id,
            operator: node.operator,
            terms: node,
            free: self.free_on(&id, node),
            neighbours,
            others: self.others_of(neighbours, &id),
        }
    }

    /// Without the slot's own, as many replicas of the service as a node has.
    fn others_of(&self, neighbours: u32, id: &NodeId) -> u32 {
        neighbours.saturating_sub(u32::from(self.own_on == Some(*id)))
    }

    fn neighbours_on(&self, id: &NodeId) -> u32 {
        if !self.has_neighbours {
            return 0;
        }
        let (app, service, _) = self.wanted.slot;
        self.state.replicas_on(id, app, service)
    }

    /// The only node that the rules about volumes and about staying together let pass, where there is only one.
    fn pinned(&self) -> Option<NodeId> {
        let Some((first, rest)) = self.volumes_on.split_first() else {
            return self.together_on;
        };
        let is_one = rest.iter().all(|node| node == first);
        (is_one && !self.is_volume_held && self.leaving_on.is_none()).then_some(*first)
    }

    /// How many rules of [`rule::RULES`] refuse every node but the pinned one, whatever the node is. There may be more.
    fn refusing_everywhere(&self) -> usize {
        let spread = self.wanted.demand.constraints.replicas_per_node_max == Some(0);
        let is_refused = self.is_volume_held || self.leaving_on.is_some();
        let volumes = is_refused || !self.volumes_on.is_empty();
        let together = self.together_on.is_some() && self.together_on == self.pinned();
        [spread, volumes, together].map(usize::from).iter().sum()
    }
}

/// Where the rest of an app is that stays together, what a node must have left for this replica, and how many leases were
/// looked at for that.
fn together(state: &State, wanted: &Wanted<'_>) -> (Option<NodeId>, Resources, u64) {
    let own = wanted.demand.footprint();
    if !wanted.demand.constraints.is_together {
        return (None, own, 0);
    }
    let (beside, looked_at) = state.node_beside(wanted.slot);
    if beside.is_some() {
        return (beside, own, looked_at);
    }
    let app = wanted.app;
    let (mut data_on, mut whole) = (None, Resources::default());
    for (label, service) in &app.services {
        let demand = state.demand_row(&wanted.slot.0, service.revision, label);
        let Some(demand) = demand.filter(|demand| demand.constraints.is_together) else {
            continue;
        };
        whole = whole.plus(demand.footprint().times(service.replicas));
        let volume = |label: &Label| state.volume(&(app.owner, app.label, *label));
        let mut on = demand.volumes.keys().filter_map(volume);
        data_on = data_on.or_else(|| on.find_map(|volume| volume.binding_on()));
    }
    (data_on, whole.most(own), looked_at)
}

/// Where the slot's lease is that the wanted one takes the place of.
fn own_on(state: &State, wanted: &Wanted<'_>) -> Option<NodeId> {
    let slot = state.slot_row(wanted.slot)?;
    let lease = state.lease_row(&slot.current?)?;
    lease.is_active().then_some(lease.node)
}

/// How many other replicas of the service there are with each operator, and in each region, and how many leases were
/// looked at for that. The slot's own is not counted: it goes when the new one is there.
fn others(
    state: &State,
    wanted: &Wanted<'_>,
) -> (BTreeMap<AccountId, u32>, BTreeMap<Word, u32>, u64) {
    let (mut by_operator, mut by_region) = (BTreeMap::new(), BTreeMap::new());
    if !wanted.demand.constraints.counts_others() {
        return (by_operator, by_region, 0);
    }
    let (id, service, _) = wanted.slot;
    let leases = state.active_leases_of(id);
    let looked_at = u64::try_from(leases.len()).unwrap_or(u64::MAX);
    let leases = leases.iter().filter_map(|id| state.lease_row(id));
    let others = leases.filter(|lease| lease.service == *service && lease.slot() != *wanted.slot);
    for node in others.filter_map(|lease| state.node_row(&lease.node)) {
        let count: &mut u32 = by_operator.entry(node.operator).or_default();
        *count = count.saturating_add(1);
        if let Some(offer) = &node.offer {
            let count: &mut u32 = by_region.entry(offer.region.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }
    (by_operator, by_region, looked_at)
}

impl<'a> Candidate<'a> {
    /// What the replica would cost here.
    pub(crate) fn price_per_hour(&self) -> Option<Credits> {
        let offer = self.terms.offer.as_ref()?;
        offer.prices.per_hour(&self.search.footprint).ok()
    }

    pub(crate) fn failing(&self) -> impl Iterator<Item = Failing> {
        let refuses = |(_, rule): &(Asks, Rule)| rule(self).err();
        rule::RULES.iter().filter_map(refuses)
    }

    fn refusing(&self, asked: Asks) -> usize {
        let refuses = |(asks, rule): &&(Asks, Rule)| *asks == asked && rule(self).is_err();
        rule::RULES.iter().filter(refuses).count()
    }
}

/// What terms answer.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// How many rules about terms refuse them.
    refusing: usize,
    price_per_hour: Option<Credits>,
}

/// A search under way, and what it has learned.
pub(crate) struct Asking<'a> {
    search: &'a Search<'a>,
    inventory: &'a Inventory,
    /// What a node must have left.
    needs: Resources,
    /// What the one node has left where a replica stops first; the inventory knows less of it.
    freed: Option<(NodeId, Resources)>,
    /// By the terms' numbers.
    answers: Vec<Option<Answer>>,
    /// The marks of terms that at most so many rules refuse, once all terms have been asked.
    marks: Option<[u64; TERMS_RULES]>,
    per_node: u64,
    effort: u64,
    glances: u64,
}

/// More than there are rules about terms.
const TERMS_RULES: usize = 8;

impl<'a> Asking<'a> {
    pub(crate) fn new(search: &'a Search<'a>) -> Self {
        let demand = search.wanted.demand;
        let readers = search.readers.as_ref().map_or(0, BTreeSet::len);
        let services = search.wanted.app.services.len();
        let looked_at = readers.saturating_add(services);
        let looked_at = u64::try_from(looked_at).unwrap_or(u64::MAX);
        let freed = search.wanted.freed.and_then(|(id, _)| {
            let node = search.state.node_row(&id)?;
            Some((id, search.free_on(&id, node)))
        });
        Self {
            search,
            inventory: search.state.inventory(),
            needs: search.needs,
            freed,
            answers: Vec::new(),
            marks: None,
            per_node: demand.effort_per_node(),
            effort: search.leases_looked_at.saturating_mul(EFFORT_PER_SLOT),
            glances: looked_at,
        }
    }

    /// What was looked at so far, as effort.
    pub(crate) fn effort(&self) -> u64 {
        self.effort
            .saturating_add(self.glances.div_ceil(GLANCES_PER_EFFORT))
    }

    /// The node that gets the replica, if one passes every rule.
    pub(crate) fn first_fit(&mut self, start: NodeId) -> Option<Found> {
        let pinned = self.search.pinned();
        let mut fit = FirstFit {
            asking: self,
            best: None,
            candidates: 0,
        };
        if let Some(entry) = pinned.and_then(|id| fit.asking.inventory.get(&id)) {
            let _ = fit.visit(&entry);
        } else if fit.asking.search.refusing_everywhere() == 0 {
            fit.walk(&start);
        }
        fit.best.map(|(_, found)| found)
    }

    /// Why none passes: the nodes that the fewest rules refuse, the first on the ring first.
    pub(crate) fn why_not(&mut self, start: NodeId) -> WhyNot {
        let everywhere = self.search.refusing_everywhere();
        let pinned = self.search.pinned();
        let mut nearest = Nearest {
            asking: self,
            start,
            everywhere,
            pinned,
            listed: Vec::new(),
        };
        let inventory = nearest.asking.inventory;
        inventory.walk(&start, &mut nearest);
        // The walk prunes by the order of the ring, so the one that is not everywhere refused has its place found last.
        if let Some(entry) = pinned.and_then(|id| inventory.get(&id)) {
            nearest.list(&entry);
        }
        let listed = nearest.listed;
        let refusal = |(_, id): &(Place, NodeId)| {
            let node = self.search.state.node_row(id)?;
            let failing = self.search.candidate(*id, node).failing().collect();
            self.effort = self.effort.saturating_add(EFFORT_PER_REFUSAL);
            Some(Refusal { node: *id, failing })
        };
        WhyNot {
            nodes: u32::try_from(self.search.state.nodes_count()).unwrap_or(u32::MAX),
            refusals: listed.iter().filter_map(refusal).collect(),
        }
    }

    fn answer(&mut self, number: u32) -> Answer {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(answer) = self.answers.get(at).copied().flatten() {
            return answer;
        }
        let answer = self.inventory.terms(number).map(|node| self.ask(node));
        let end = self.inventory.terms_end();
        if self.answers.len() < end {
            self.answers.resize(end, None);
        }
        if let Some(place) = self.answers.get_mut(at) {
            *place = answer;
        }
        answer.unwrap_or(Answer {
            refusing: TERMS_RULES,
            price_per_hour: None,
        })
    }

    fn ask(&mut self, terms: &Node) -> Answer {
        self.effort = self.effort.saturating_add(self.per_node);
        let candidate = Candidate {
            search: self.search,
            id: NodeId([0; 32]),
            operator: terms.operator,
            terms,
            free: Resources::default(),
            neighbours: 0,
            others: 0,
        };
        Answer {
            refusing: candidate.refusing(Asks::Terms),
            price_per_hour: candidate.price_per_hour(),
        }
    }

    /// The marks of terms that at most so many rules refuse.
    fn marks(&mut self) -> [u64; TERMS_RULES] {
        if let Some(marks) = self.marks {
            return marks;
        }
        let mut marks = [0_u64; TERMS_RULES];
        let inventory = self.inventory;
        for (number, mark, _) in inventory.all_terms() {
            let refusing = self.answer(number).refusing;
            for at_most in marks.iter_mut().skip(refusing) {
                *at_most |= 1_u64.wrapping_shl(u32::from(mark));
            }
        }
        self.marks = Some(marks);
        marks
    }

    /// Of each resource the most that a node of a subtree has left.
    fn room_in(&self, summary: &Summary) -> Resources {
        match self.freed {
            Some((_, room)) => summary.most.most(room),
            None => summary.most,
        }
    }

    fn room_on(&self, entry: &Entry) -> Resources {
        match self.freed {
            Some((id, room)) if id == entry.id => room,
            _ => entry.free,
        }
    }

    fn glance(&mut self) {
        self.glances = self.glances.saturating_add(1);
    }

    fn examine(&mut self, entry: &Entry) -> Option<Candidate<'a>> {
        self.effort = self.effort.saturating_add(self.per_node);
        let neighbours = self.search.neighbours_on(&entry.id);
        Some(Candidate {
            search: self.search,
            id: entry.id,
            operator: entry.operator,
            terms: self.inventory.terms(entry.terms)?,
            free: self.room_on(entry),
            neighbours,
            others: self.search.others_of(neighbours, &entry.id),
        })
    }
}

/// The walk that looks for nodes that pass every rule.
struct FirstFit<'b, 'a> {
    asking: &'b mut Asking<'a>,
    best: Option<(Score, Found)>,
    candidates: usize,
}

impl FirstFit<'_, '_> {
    /// Goes round the ring. Where only some can read the manifest, to them alone.
    fn walk(&mut self, start: &NodeId) {
        let inventory = self.asking.inventory;
        let Some(readers) = &self.asking.search.readers else {
            return inventory.walk(start, self);
        };
        let round = readers.range(start..).chain(readers.range(..start));
        for entry in round.filter_map(|id| inventory.get(id)) {
            if self.visit(&entry).is_break() {
                return;
            }
        }
    }
}

impl Visitor for FirstFit<'_, '_> {
    fn enters(&mut self, summary: &Summary) -> bool {
        self.asking.glance();
        if self.asking.needs.lacking_in(&self.asking.room_in(summary)) > 0 {
            return false;
        }
        // Most searches end before it pays to ask all terms.
        if self.asking.glances < GLANCES_BEFORE_TERMS {
            return true;
        }
        let [passing, ..] = self.asking.marks();
        summary.marks & passing != 0
    }

    fn visit(&mut self, entry: &Entry) -> ControlFlow<()> {
        self.asking.glance();
        let has_room = self.asking.needs.lacking_in(&self.asking.room_on(entry)) == 0;
        if !has_room {
            return ControlFlow::Continue(());
        }
        let answer = self.asking.answer(entry.terms);
        let Some(price_per_hour) = answer.price_per_hour.filter(|_| answer.refusing == 0) else {
            return ControlFlow::Continue(());
        };
        let Some(candidate) = self.asking.examine(entry) else {
            return ControlFlow::Continue(());
        };
        if candidate.refusing(Asks::Node) > 0 {
            return ControlFlow::Continue(());
        }
        let memory = candidate.free.memory_bytes;
        let score = (candidate.neighbours, price_per_hour, memory);
        if self.best.as_ref().is_none_or(|(least, _)| score < *least) {
            let node = entry.id;
            let found = Found {
                node,
                price_per_hour,
            };
            self.best = Some((score, found));
        }
        self.candidates = self.candidates.saturating_add(1);
        if self.candidates >= CANDIDATES_SCORED_MAX {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Where a refused node stands in an answer: fewest rules first, then its place on the ring.
type Place = (usize, bool, NodeId);

/// The walk that looks for the nodes that the fewest rules refuse.
struct Nearest<'b, 'a> {
    asking: &'b mut Asking<'a>,
    start: NodeId,
    everywhere: usize,
    pinned: Option<NodeId>,
    listed: Vec<(Place, NodeId)>,
}

impl Nearest<'_, '_> {
    /// Whether a node that comes later on the ring than those listed would be listed too.
    fn has_place_for(&self, refusing: usize) -> bool {
        let is_fewer = |((worst, ..), _): &(Place, NodeId)| refusing < *worst;
        self.listed.len() < NODES_LISTED_MAX || self.listed.last().is_some_and(is_fewer)
    }

    fn list(&mut self, entry: &Entry) {
        let terms = self.asking.answer(entry.terms).refusing;
        let Some(candidate) = self.asking.examine(entry) else {
            return;
        };
        let refusing = terms.saturating_add(candidate.refusing(Asks::Node));
        let place = (refusing, entry.id < self.start, entry.id);
        let at = self.listed.partition_point(|(other, _)| *other <= place);
        if at < NODES_LISTED_MAX {
            self.listed.insert(at, (place, entry.id));
            self.listed.truncate(NODES_LISTED_MAX);
        }
    }
}

impl Visitor for Nearest<'_, '_> {
    fn enters(&mut self, summary: &Summary) -> bool {
        self.asking.glance();
        let marks = self.asking.marks();
        let terms = marks
            .iter()
            .position(|at_most| summary.marks & at_most != 0)
            .unwrap_or(TERMS_RULES);
        let lacking = self.asking.needs.lacking_in(&self.asking.room_in(summary));
        let least = terms
            .saturating_add(usize::from(lacking))
            .saturating_add(self.everywhere);
        self.has_place_for(least)
    }

    fn visit(&mut self, entry: &Entry) -> ControlFlow<()> {
        self.asking.glance();
        if self.pinned == Some(entry.id) {
            return ControlFlow::Continue(());
        }
        let lacking = self.asking.needs.lacking_in(&self.asking.room_on(entry));
        let terms = self.asking.answer(entry.terms).refusing;
        let least = terms
            .saturating_add(usize::from(lacking))
            .saturating_add(self.everywhere);
        if self.has_place_for(least) {
            self.list(entry);
        }
        ControlFlow::Continue(())
    }
}
