//! Placement: which node gets a replica, or why none does.
//!
//! Rules:
//! 1. A node is a candidate when every rule of [`rule::RULES`] passes. Where no node does, the answer names every rule
//!    that refuses the nodes which the fewest refuse.
//! 2. Nodes are examined from a point on the ring of node ids that `hash(app, service, replica, epoch)` chooses, until
//!    enough candidates are found. Height and time do not enter: what `plan` says is what execution does.
//! 3. The best score among the candidates wins; equal scores go to the one examined first.
//! 4. All replicas that an action adds are placed within it, together, or the action is refused.
//! 5. A replica that loses its lease later waits in its slot and is tried again by the block's last steps.

mod means;
mod refusal;
mod rule;
mod search;
mod slots;
mod standby;
mod stay;

pub use refusal::{Refusal, WhyNot};
pub use rule::Failing;
pub(crate) use slots::{fill_due, place_app_whole, refill, refill_service, roll_on};
pub(crate) use standby::standbys;
pub(crate) use stay::stay;

use crate::app::{App, Demand, SlotKey};
use crate::codec::Domain;
use crate::id::NodeId;
use crate::money::Credits;
use crate::node::{Node, Resources};
use crate::state::State;

use search::{Asking, Search};

static START: Domain = Domain::new("allod placement v1");

/// A replica looking for a node.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its slot.
    pub slot: &'a SlotKey,
    /// The epoch that the lease would have.
    pub epoch: u64,
    /// Its app.
    pub app: &'a App,
    /// The revision that it would run: who can read its manifest is said there.
    pub revision: u64,
    /// What it needs.
    pub demand: &'a Demand,
    /// What it may count as free besides, because the lease it replaces stops first.
    pub freed: Option<(NodeId, Resources)>,
    /// What an hour on a machine of another operator than its payer may cost, where that is bounded.
    pub strangers_max: Option<Credits>,
}

/// The node that a replica gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The node.
    pub node: NodeId,
    /// The price that is reserved for an hour.
    pub price_per_hour: Credits,
}

/// Finds a node for a replica, or tells why there is none. `effort` counts what was looked at.
///
/// # Errors
/// Where no node passes every rule.
pub fn find(state: &State, wanted: &Wanted<'_>, effort: &mut u64) -> Result<Found, WhyNot> {
    let start = NodeId(START.hash(&(wanted.slot, wanted.epoch)));
    let search = Search::new(state, wanted);
    let mut asking = Asking::new(&search);
    let found = match asking.first_fit(start) {
        Some(found) => Ok(found),
        None => Err(asking.why_not(start)),
    };
    *effort = effort.saturating_add(asking.effort());
    found
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
        let candidate = search.candidate(*id, node);
        Verdict {
            node: *id,
            price_per_hour: candidate.price_per_hour(),
            failing: candidate.failing().collect(),
        }
    };
    nodes.map(verdict).collect()
}
