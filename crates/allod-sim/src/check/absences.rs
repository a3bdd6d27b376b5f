//! Nobody is given up by fewer than most of those that watch it, and whoever comes back begins another life: the votes are
//! counted here once more, from the blocks alone.

use std::collections::BTreeSet;

use allod_state::event::Event;
use allod_state::lease::EndCause;
use allod_state::limits::WITNESSES_MAX;
use allod_state::node::Node;
use allod_state::{Action, NodeId};

use super::{Check, Found, Fresh};

pub(super) struct Absences;

impl Check for Absences {
    fn name(&self) -> &'static str {
        "absences"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        for (id, node) in fresh.told.state.nodes() {
            let before = fresh.before.node(id);
            let was_gone = before.as_ref().is_some_and(|row| row.is_unreachable);
            if node.given_up_by.len() > WITNESSES_MAX {
                return Err(format!("{id} is given up by more than may watch it"));
            }
            match (was_gone, node.is_unreachable) {
                (false, true) => given_up(fresh, id, before.as_ref(), node)?,
                (true, false) => came_back(fresh, id, before.as_ref(), node)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The machines of which it is told in the block that they are there, or are not.
fn told(fresh: &Fresh<'_>, is_there: bool) -> BTreeSet<NodeId> {
    let events = fresh.told.all_events();
    let told = events.filter_map(|event| match event {
        Event::NodeReachable { node, is_reachable } if *is_reachable == is_there => Some(*node),
        _ => None,
    });
    told.collect()
}

fn came_back(fresh: &Fresh<'_>, id: &NodeId, before: Option<&Node>, node: &Node) -> Found {
    let begins_anew = before.is_some_and(|row| row.life < node.life);
    if begins_anew && told(fresh, true).contains(id) {
        return Ok(());
    }
    Err(format!("{id} is back, in the life before or untold"))
}

fn given_up(fresh: &Fresh<'_>, id: &NodeId, before: Option<&Node>, node: &Node) -> Found {
    let lost = told(fresh, false);
    if !lost.contains(id) {
        return Err(format!("{id} is gone, and nobody was told"));
    }
    let of_a_lease = fresh.told.all_events().any(|event| match event {
        Event::LeaseEnded { lease, cause, .. } => {
            let row = fresh.told.state.lease(lease);
            *cause == EndCause::Unreachable && row.is_some_and(|lease| lease.node == *id)
        }
        _ => false,
    });
    if of_a_lease {
        return Ok(());
    }
    let (then, now) = (
        fresh.before.watchers_of(id),
        fresh.told.state.watchers_of(id),
    );
    let before = before.filter(|row| row.life == node.life);
    let mut by: BTreeSet<NodeId> = before
        .map(|row| row.given_up_by.keys().copied().collect())
        .unwrap_or_default();
    let receipts = fresh.told.transactions.iter().zip(&fresh.told.receipts);
    let taken = receipts.filter(|(_, receipt)| receipt.outcome.is_ok());
    for action in taken.flat_map(|(one, _)| &one.body.actions) {
        if let Action::ReportGone(report) = action
            && report.machines.contains(&(*id, node.life))
        {
            by.insert(report.witness);
        }
    }
    by.retain(|witness| then.contains(witness) || now.contains(witness));
    // As few as they may have been while others of them were given up in the same block.
    let left = then.iter().filter(|watcher| !lost.contains(*watcher));
    let fewest = left.count().min(now.len());
    if by.len() * 2 > fewest {
        return Ok(());
    }
    Err(format!(
        "{id} is given up by {} of at least {fewest}",
        by.len()
    ))
}
