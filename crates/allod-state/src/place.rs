//! Placement: which node gets a replica, or why none does.
//!
//! Rules:
//! 1. A node is a candidate when every rule of [`rule::RULES`] passes. All rules are tried on every refused node, so
//!    that the answer names all of them.
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
pub(crate) use slots::{fill_due, place_app_whole, refill};

use crate::app::{App, Demand, SlotKey};
use crate::codec;
use crate::id::NodeId;
use crate::limits::CANDIDATES_SCORED_MAX;
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

/// A node under examination.
pub(crate) struct Candidate<'a> {
    pub(crate) state: &'a State,
    pub(crate) wanted: &'a Wanted<'a>,
    pub(crate) id: &'a NodeId,
    pub(crate) node: &'a Node,
    pub(crate) price_per_hour: Option<Credits>,
    pub(crate) free: Resources,
}

/// Finds a node for a replica, or tells why there is none. `examined` counts the nodes looked at.
///
/// # Errors
/// Where no node passes every rule.
pub fn find(state: &State, wanted: &Wanted<'_>, examined: &mut u64) -> Result<Found, WhyNot> {
    let start = NodeId(codec::hash(
        "allod placement v1",
        &(wanted.slot, wanted.epoch),
    ));
    let mut best: Option<(Score, Found)> = None;
    let mut candidates: usize = 0;
    let mut why = WhyNot::default();
    for (id, node) in state.nodes_from(start) {
        *examined = examined.saturating_add(1);
        let candidate = Candidate::new(state, wanted, id, node);
        let failing: Vec<Failing> = rule::RULES
            .iter()
            .filter_map(|rule| rule(&candidate).err())
            .collect();
        let Some(price_per_hour) = candidate.price_per_hour.filter(|_| failing.is_empty()) else {
            why.add(*id, failing);
            continue;
        };
        let score = candidate.score(price_per_hour);
        if best.as_ref().is_none_or(|(least, _)| score < *least) {
            best = Some((
                score,
                Found {
                    node: *id,
                    price_per_hour,
                },
            ));
        }
        candidates = candidates.saturating_add(1);
        if candidates >= CANDIDATES_SCORED_MAX {
            break;
        }
    }
    best.map(|(_, found)| found).ok_or(why)
}

/// Lower is better, in this order: fewer replicas of the service on the node, lower price, fuller node (so that large
/// demands keep finding room).
type Score = (u32, Credits, u64);

impl<'a> Candidate<'a> {
    fn new(state: &'a State, wanted: &'a Wanted<'a>, id: &'a NodeId, node: &'a Node) -> Self {
        let mut free = Resources::default();
        let mut price_per_hour = None;
        if let Some(offer) = &node.offer {
            let mut used = state.used_on(id);
            if let Some((_, freed)) = wanted.freed.filter(|(on, _)| on == id) {
                used = used.minus(freed);
            }
            free = offer.capacity.minus(used);
            price_per_hour = offer.prices.per_hour(&wanted.demand.footprint()).ok();
        }
        Self {
            state,
            wanted,
            id,
            node,
            price_per_hour,
            free,
        }
    }

    fn score(&self, price_per_hour: Credits) -> Score {
        let (app, service, _) = self.wanted.slot;
        let neighbours = self.state.replicas_on(self.id, app, service);
        (neighbours, price_per_hour, self.free.memory_bytes)
    }
}
