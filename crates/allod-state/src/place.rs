//! Placement: which node gets a replica, or why none does.
//!
//! Rules:
//! 1. A node is a candidate when every rule of [`rule::RULES`] passes. Where no node does, all rules are tried on every
//!    node, so that the answer names all of them.
//! 2. Nodes are examined from a point on the ring of node ids that `hash(app, service, replica, epoch)` chooses, until
//!    enough candidates are found. Height and time do not enter: what `plan` says is what execution does.
//! 3. The best score among the candidates wins; equal scores go to the one examined first.
//! 4. All replicas that an action adds are placed within it, together, or the action is refused.
//! 5. A replica that loses its lease later waits in its slot and is tried again by the block's last steps.

mod refusal;
mod rule;
mod slots;

pub use refusal::{Refusal, WhyNot};
pub use rule::Failing;
pub(crate) use slots::{fill_due, place_app_whole, refill, refill_service, roll_on};

use crate::app::{App, Demand, SlotKey};
use crate::codec;
use crate::id::{Label, NodeId};
use crate::limits::{CANDIDATES_SCORED_MAX, EFFORT_PER_REFUSAL};
use crate::money::Credits;
use crate::node::{Node, Resources};
use crate::state::State;

/// A replica looking for a node.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its slot.
    pub slot: &'a SlotKey,
    /// The epoch that the lease would have.
    pub epoch: u64,
    /// Its app.
    pub app: &'a App,
    /// What it needs.
    pub demand: &'a Demand,
    /// What it may count as free besides, because the lease it replaces stops first.
    pub freed: Option<(NodeId, Resources)>,
}

/// The node that a replica gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The node.
    pub node: NodeId,
    /// The price that is reserved for an hour.
    pub price_per_hour: Credits,
}

/// A search for one replica: what every node is asked, worked out once.
pub(crate) struct Search<'a> {
    pub(crate) state: &'a State,
    pub(crate) wanted: &'a Wanted<'a>,
    /// What the replica takes.
    pub(crate) footprint: Resources,
    /// Where those of its volumes that exist are.
    pub(crate) volumes_on: Vec<NodeId>,
    /// Whether another replica of the app writes to one of its volumes.
    pub(crate) is_volume_held: bool,
}

/// A node under examination.
pub(crate) struct Candidate<'a> {
    pub(crate) search: &'a Search<'a>,
    pub(crate) id: &'a NodeId,
    pub(crate) node: &'a Node,
    pub(crate) free: Resources,
}

/// Finds a node for a replica, or tells why there is none. `effort` counts the nodes looked at.
///
/// # Errors
/// Where no node passes every rule.
pub fn find(state: &State, wanted: &Wanted<'_>, effort: &mut u64) -> Result<Found, WhyNot> {
    let start = NodeId(codec::hash(
        "allod placement v1",
        &(wanted.slot, wanted.epoch),
    ));
    let search = Search::new(state, wanted);
    let per_node = wanted.demand.effort_per_node();
    let mut best: Option<(Score, Found)> = None;
    let mut candidates: usize = 0;
    for (id, node) in state.nodes_from(start) {
        *effort = effort.saturating_add(per_node);
        let candidate = Candidate::new(&search, id, node);
        if !candidate.passes() {
            continue;
        }
        let Some(price_per_hour) = candidate.price_per_hour() else {
            continue;
        };
        let score = candidate.score(price_per_hour);
        if best.as_ref().is_none_or(|(least, _)| score < *least) {
            let node = *id;
            let found = Found {
                node,
                price_per_hour,
            };
            best = Some((score, found));
        }
        candidates = candidates.saturating_add(1);
        if candidates >= CANDIDATES_SCORED_MAX {
            break;
        }
    }
    best.map(|(_, found)| found)
        .ok_or_else(|| search.why_not(start, effort))
}

/// What a node says to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The node.
    pub node: NodeId,
    /// What an hour there would cost, where it offers anything.
    pub price_per_hour: Option<Credits>,
    /// Every rule that refuses it there; none where it may run there.
    pub failing: Vec<Failing>,
}

/// What the first `nodes_max` nodes on the replica's ring say to it. A replica that has a lease is asked for as if that
/// lease were not there: `held` is its node.
#[must_use]
pub fn verdicts(
    state: &State,
    wanted: &Wanted<'_>,
    held: Option<NodeId>,
    nodes_max: usize,
) -> Vec<Verdict> {
    let start = held.unwrap_or(NodeId([0; 32]));
    let nodes = state.nodes_from(start).take(nodes_max);
    let search = Search::new(state, wanted);
    let verdict = |(id, node): (&NodeId, &Node)| {
        let candidate = Candidate::new(&search, id, node);
        let failing = rule::RULES.iter().filter_map(|rule| rule(&candidate).err());
        // Its own replica is one of those that the rule of spreading counts.
        let is_itself = |failing: &Failing| match failing {
            Failing::Spread { count, max } => held == Some(*id) && count <= max,
            _ => false,
        };
        Verdict {
            node: *id,
            price_per_hour: candidate.price_per_hour(),
            failing: failing.filter(|failing| !is_itself(failing)).collect(),
        }
    };
    nodes.map(verdict).collect()
}

/// Lower is better, in this order: fewer replicas of the service on the node, lower price, fuller node (so that large
/// demands keep finding room).
type Score = (u32, Credits, u64);

impl<'a> Search<'a> {
    fn new(state: &'a State, wanted: &'a Wanted<'a>) -> Self {
        let app = wanted.app;
        let volume = |label: &Label| state.volume(&(app.owner, app.label, *label));
        let volumes = wanted.demand.volumes.keys();
        let volumes_on = volumes.filter_map(volume).map(|volume| volume.node);
        // The slot's own lease ends before its successor opens, because a service with volumes stops first.
        let is_other = |id: &_| state.lease_row(id).map(|lease| lease.slot()) != Some(*wanted.slot);
        let is_held = |label| state.writers_of(&wanted.slot.0, label).iter().any(is_other);
        Self {
            state,
            wanted,
            footprint: wanted.demand.footprint(),
            volumes_on: volumes_on.collect(),
            is_volume_held: wanted.demand.volumes.keys().any(is_held),
        }
    }

    /// Every rule on every node.
    fn why_not(&self, start: NodeId, effort: &mut u64) -> WhyNot {
        let per_node = self.wanted.demand.effort_per_node();
        let mut why = WhyNot::default();
        for (id, node) in self.state.nodes_from(start) {
            *effort = effort
                .saturating_add(per_node)
                .saturating_add(EFFORT_PER_REFUSAL);
            let candidate = Candidate::new(self, id, node);
            let refuses = |rule: &rule::Rule| rule(&candidate).err();
            let all = || rule::RULES.iter().filter_map(refuses);
            why.add(*id, all().count(), || all().collect());
        }
        why
    }
}

impl<'a> Candidate<'a> {
    fn new(search: &'a Search<'a>, id: &'a NodeId, node: &'a Node) -> Self {
        let mut free = Resources::default();
        if let Some(offer) = &node.offer {
            let mut used = search.state.used_on(id);
            if let Some((_, freed)) = search.wanted.freed.filter(|(on, _)| on == id) {
                used = used.minus(freed);
            }
            free = offer.capacity.minus(used);
        }
        Self {
            search,
            id,
            node,
            free,
        }
    }

    /// What the replica would cost here.
    pub(crate) fn price_per_hour(&self) -> Option<Credits> {
        let offer = self.node.offer.as_ref()?;
        offer.prices.per_hour(&self.search.footprint).ok()
    }

    fn passes(&self) -> bool {
        rule::RULES.iter().all(|rule| rule(self).is_ok())
    }

    fn score(&self, price_per_hour: Credits) -> Score {
        let neighbours = self.neighbours();
        (neighbours, price_per_hour, self.free.memory_bytes)
    }

    /// How many replicas of the service the node has.
    pub(crate) fn neighbours(&self) -> u32 {
        let (app, service, _) = self.search.wanted.slot;
        self.search.state.replicas_on(self.id, app, service)
    }
}
