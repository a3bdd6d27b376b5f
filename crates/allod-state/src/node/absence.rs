//! Machines that are gone, whether they hold leases or not: those that watch them say so.
//!
//! Rules:
//! 1. A machine is watched by those that would be recorded as witnesses of a lease that it got now. Who they are follows
//!    from the state, so that everybody knows it, and changes with it.
//! 2. One of them says that the machine's present life is gone. That counts as long as it watches the machine, and for
//!    [`ABSENCE_STANDS_MS`]: what two say months apart was never so. More than half of those that watch it now give it up
//!    together; fewer change nothing.
//! 3. From then on it is as one of which a lease was given up ([`crate::lease::witness`]): it gets nothing new, watches
//!    nobody, and its time counts as gone, until it says that it is back. That begins another life, of which nothing has
//!    been said yet. Leases that it has are left to their own witnesses, where enough of those are there.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::NodeId;
use crate::lease::witness;
use crate::limits::{ABSENCE_STANDS_MS, DEATHS_PER_REPORT_MAX, EFFORT_PER_LEASE, EFFORT_PER_ROW};
use crate::node::{Node, settle};
use crate::reject::Rejection;
use crate::state::State;
use crate::transaction::Apply;

mod roll;

pub use roll::Roll;

/// A machine, and how often it had come back by then.
pub type Life = (NodeId, u64);

/// Gives up machines that are gone, whatever they hold. Only those that watch them now can.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportGone {
    /// Who watches them.
    pub witness: NodeId,
    /// The machines.
    pub machines: BTreeSet<Life>,
}

impl Apply for ReportGone {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        let machines = u64::try_from(self.machines.len()).unwrap_or(u64::MAX);
        machines.saturating_mul(20).saturating_add(20)
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.witness)?;
        if self.machines.is_empty() || self.machines.len() > DEATHS_PER_REPORT_MAX {
            return Err(Rejection::too_many("machines (1 to 200 are allowed)"));
        }
        for (id, life) in &self.machines {
            context.toil(EFFORT_PER_LEASE);
            let unknown = Rejection::UnknownNode { node: *id };
            let node = context.state.node(id).ok_or(unknown)?;
            let watchers = context.state.watchers_of(id);
            if !watchers.contains(&self.witness) || node.life != *life {
                return Err(Rejection::NotWatching { node: *id });
            }
            // One that was given up meanwhile is what was wanted.
            if !node.is_unreachable {
                doubt(context, *id, node, &watchers, self.witness);
            }
        }
        Ok(())
    }
}

fn doubt(
    context: &mut Context<'_>,
    id: NodeId,
    node: Node,
    watchers: &BTreeSet<NodeId>,
    by: NodeId,
) {
    let mut given_up_by = node.given_up_by;
    given_up_by.insert(by, context.now_ms);
    given_up_by.retain(|by, said_ms| watchers.contains(by) && stands(*said_ms, context.now_ms));
    let is_most = given_up_by.len().saturating_mul(2) > watchers.len();
    let node = Node {
        given_up_by,
        ..node
    };
    context.state.put_node(id, node);
    if is_most {
        lose(context, &id);
    }
}

/// Whether what was said of a machine still counts.
const fn stands(said_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(said_ms) < ABSENCE_STANDS_MS
}

/// A machine was given up, where it was not before.
pub(crate) fn lose(context: &mut Context<'_>, id: &NodeId) {
    let Some(node) = context.state.node(id).filter(|node| !node.is_unreachable) else {
        return;
    };
    let node = Node {
        is_unreachable: true,
        given_up_by: BTreeMap::new(),
        ..node
    };
    context.state.put_node(*id, node);
    presence_changed(context, id);
    context.emit(Event::NodeReachable {
        node: *id,
        is_reachable: false,
    });
}

/// A machine came, was given up, or is back: that says of its own time, and of those that it may watch, whether it counts.
pub(crate) fn presence_changed(context: &mut Context<'_>, id: &NodeId) {
    settle(context, id);
    let watched = context.state.nodes_before(id);
    for watched in &watched {
        context.toil(EFFORT_PER_ROW);
        settle(context, watched);
    }
    witness::review(context, id, &watched);
}

impl State {
    /// The machines that one watches now, without those of which it has said in their present life that they are gone.
    #[must_use]
    pub fn machines_watched_by(&self, witness: &NodeId) -> BTreeSet<Life> {
        let now_ms = self.tip().time_ms;
        let is_open = |node: &Node| {
            let said_ms = node.given_up_by.get(witness);
            !node.is_unreachable && !said_ms.is_some_and(|said_ms| stands(*said_ms, now_ms))
        };
        let near = self.nodes_before(witness).into_iter();
        let open = near.filter_map(|id| {
            self.node_row(&id)
                .filter(|it| is_open(it))
                .map(|it| (id, it.life))
        });
        open.filter(|(id, _)| self.watchers_of(id).contains(witness))
            .collect()
    }
}

#[cfg(test)]
mod tests;
