//! Witnesses: other machines, which say when a lease's machine is gone.
//!
//! Rules:
//! 1. A lease records its witnesses when it is placed: the next machines on the ring of node ids after a point that
//!    belongs to its machine, each of another operator than the machine's and than one another's. Where there is no other
//!    operator, they are the operator's other machines; where there is no other machine, the holder itself is recorded,
//!    and is a witness of nothing.
//! 2. A witness gives up an epoch once and for good. More than half of them give it up together: fewer change nothing,
//!    so that one which lies, or is itself cut off, moves nothing.
//!    Where it is not more than half [`DOUBT_MS`](crate::limits::DOUBT_MS) after the first of them, because others are gone themselves, up to
//!    [`WITNESSES_MORE`] further ones are recorded, once for an epoch. Nobody leaves a set: it takes more than half of all.
//!    Of a lease that nobody has given up, and that has fewer witnesses than may be, those that watch its machine now are
//!    recorded instead, once they are more: what was placed when there was one machine is watched by those that came later.
//!    Where a machine is gone, and of those recorded for a lease on it too few are there to say so, that was said for them.
//!    The set of an exclusive lease never changes ([`super::right`] says why): where most of it are gone, it stands still.
//! 3. A lease that is given up ends as unreachable. It is charged no further than its evidence reaches by then, is no
//!    failure of its replica's, and its slot looks for another machine at once: with the next epoch, which fences this one.
//! 4. Its machine gets no new replicas until it says itself that it is back. What else it has is left to its witnesses.
//!    The same becomes of a machine of which most that watch it now say so, whatever it holds: [`crate::node::ReportGone`].
//!
//! Why no two writers come of it: a replica with a volume is placed where its data are and nowhere else
//! ([`crate::place::Failing::VolumeElsewhere`]), so its next epoch is opened on the same machine, whose agent starts no
//! writer before the one before it has ended. An exclusive lease may run only while most of its witnesses confirm it, which
//! is over before they have given it up: [`super::right`]. Others may overlap for a moment, which rule 3 allows them: whoever
//! lost only its contact goes on serving until it hears that its lease has ended.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::codec::Domain;
use crate::event::Event;
use crate::id::{AccountId, LeaseId, NodeId};
use crate::lease::{EndCause, Lease, end};
use crate::limits::{
    DEATHS_PER_REPORT_MAX, DOUBT_MS, EFFORT_PER_LEASE, EFFORT_PER_ROW, EFFORT_PER_SLOT,
    REVIEWED_PER_CHANGE_MAX, WIDENED_PER_BLOCK_MAX, WITNESS_SEARCH_MAX, WITNESSES_MAX,
    WITNESSES_MORE,
};
use crate::node::{self, Node};
use crate::reject::Rejection;
use crate::state::State;
use crate::transaction::Apply;

static RING: Domain = Domain::new("allod witness v1");

/// The witnesses of a lease that goes to a node.
pub(crate) fn choose(context: &mut Context<'_>, holder: &NodeId) -> BTreeSet<NodeId> {
    context.toil(EFFORT_PER_ROW);
    let watchers = context.state.watchers_of(holder);
    if watchers.is_empty() {
        return [*holder].into();
    }
    watchers
}

/// Where the machines begin on the ring of which the next ones watch that holder.
pub(crate) fn point_of(holder: &NodeId) -> NodeId {
    NodeId(RING.hash(holder))
}

impl State {
    /// Those that watch a machine now: they would be recorded for a lease of it.
    #[must_use]
    pub fn watchers_of(&self, holder: &NodeId) -> BTreeSet<NodeId> {
        let others = others(self, holder, &BTreeSet::new(), WITNESSES_MAX);
        if !others.is_empty() {
            return others;
        }
        let own = self.operator_of(holder);
        let around = around(self, holder);
        let own = around.filter(|(_, node)| Some(node.operator) == own);
        let of_its_own: BTreeSet<NodeId> = own.map(|(id, _)| *id).collect();
        of_its_own.into_iter().take(WITNESSES_MAX).collect()
    }
}

/// The next machines on the ring for that holder, of other operators than its own and those of `known`, one of each.
fn others(
    state: &State,
    holder: &NodeId,
    known: &BTreeSet<NodeId>,
    count_max: usize,
) -> BTreeSet<NodeId> {
    let known = known.iter().chain([holder]);
    let taken: BTreeSet<AccountId> = known.filter_map(|id| state.operator_of(id)).collect();
    let mut others = BTreeMap::new();
    for (id, node) in around(state, holder) {
        if !taken.contains(&node.operator) && others.len() < count_max {
            others.entry(node.operator).or_insert(*id);
        }
    }
    others.into_values().collect()
}

/// The machines on the ring after the point of the holder that are there, without the holder.
fn around<'a>(
    state: &'a State,
    holder: &'a NodeId,
) -> impl Iterator<Item = (&'a NodeId, &'a Node)> {
    let around = state.nodes_from(point_of(holder)).take(WITNESS_SEARCH_MAX);
    around.filter(move |(id, node)| *id != holder && !node.is_unreachable)
}

/// Looks again at leases that some of their witnesses have given up, and not more than half in time, and at those that
/// [`review`] found.
pub(crate) fn reconsider(context: &mut Context<'_>) {
    for id in context.state.doubted(context.now_ms, WIDENED_PER_BLOCK_MAX) {
        context.toil(EFFORT_PER_LEASE);
        let Some(mut lease) = context.state.lease(&id) else {
            continue;
        };
        context.toil(EFFORT_PER_ROW);
        lease.doubted_ms = None;
        let is_stranded = is_stranded(context.state, &lease);
        if lease.given_up_by.is_empty() {
            let now = context.state.watchers_of(&lease.node);
            if now.len() > lease.watchers().count() {
                lease.witnesses = now;
            }
        } else {
            let more = others(context.state, &lease.node, &lease.witnesses, WITNESSES_MORE);
            lease.witnesses.extend(more);
        }
        context.state.put_lease(id, lease);
        if is_stranded {
            end(context, &id, EndCause::Unreachable);
        }
    }
}

/// A machine came, was given up, or is back: leases on machines that it may watch can have better witnesses, and where one
/// is gone too few may be left to say so. They are looked at again by the block's last steps.
pub(crate) fn review(context: &mut Context<'_>, id: &NodeId, watched: &[NodeId]) {
    let state = &context.state;
    let around = watched.iter().flat_map(|node| state.leases_on(node));
    let leases = state
        .leases_on(id)
        .chain(state.active_leases_watched_by(id))
        .chain(around);
    let leases: BTreeSet<LeaseId> = leases.take(REVIEWED_PER_CHANGE_MAX).collect();
    for id in leases {
        context.toil(EFFORT_PER_SLOT);
        let Some(lease) = context.state.lease(&id).filter(|lease| !lease.is_exclusive) else {
            continue;
        };
        let is_untouched = lease.given_up_by.is_empty() && lease.doubted_ms.is_none();
        let has_few = is_untouched && lease.watchers().count() < WITNESSES_MAX;
        if has_few || is_stranded(context.state, &lease) {
            context.toil(EFFORT_PER_ROW);
            let doubted_ms = Some(context.now_ms.saturating_sub(DOUBT_MS));
            context.state.put_lease(
                id,
                Lease {
                    doubted_ms,
                    ..lease
                },
            );
        }
    }
}

/// Whether the lease's machine was given up, and too few of its witnesses are there to say so of the lease.
fn is_stranded(state: &State, lease: &Lease) -> bool {
    let is_there = |node: &NodeId| state.node_row(node).is_some_and(|row| !row.is_unreachable);
    if lease.is_exclusive || is_there(&lease.node) {
        return false;
    }
    let silent = lease
        .watchers()
        .filter(|watcher| !lease.given_up_by.contains(*watcher));
    let most = silent.filter(|watcher| is_there(watcher)).count();
    let most = most.saturating_add(lease.given_up_by.len());
    most.saturating_mul(2) <= lease.witnesses.len()
}

/// Gives up leases whose machine has not been heard of. Only a witness of each can.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportDeaths {
    /// The witness.
    pub witness: NodeId,
    /// The leases and their epochs.
    pub leases: BTreeSet<(LeaseId, u64)>,
}

impl Apply for ReportDeaths {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        let leases = u64::try_from(self.leases.len()).unwrap_or(u64::MAX);
        leases.saturating_mul(20).saturating_add(20)
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.witness)?;
        if self.leases.is_empty() || self.leases.len() > DEATHS_PER_REPORT_MAX {
            return Err(Rejection::too_many("leases (1 to 200 are allowed)"));
        }
        for (id, epoch) in &self.leases {
            context.toil(EFFORT_PER_LEASE);
            let unknown = Rejection::UnknownLease { lease: *id };
            let lease = context.state.lease(id).ok_or(unknown)?;
            let is_witness = lease.watchers().any(|watcher| *watcher == self.witness);
            if !is_witness || lease.epoch != *epoch {
                return Err(Rejection::NotAWitness { lease: *id });
            }
            // One that ended meanwhile is what was wanted.
            if lease.is_active() {
                give_up(context, *id, lease, self.witness);
            }
        }
        Ok(())
    }
}

fn give_up(context: &mut Context<'_>, id: LeaseId, lease: Lease, by: NodeId) {
    let mut lease = lease;
    // Those that confirm an exclusive lease and those that end it have to be of one set.
    if lease.given_up_by.is_empty() && !lease.is_exclusive {
        lease.doubted_ms = Some(context.now_ms);
    }
    if !lease.given_up_by.insert(by) {
        return;
    }
    let is_most = lease.given_up_by.len().saturating_mul(2) > lease.witnesses.len();
    // Those of an exclusive one may have been all that there were, when it was placed.
    let now = context.state.watchers_of(&lease.node);
    let agreed = now.intersection(&lease.given_up_by).count();
    let is_gone = !lease.is_exclusive || agreed.saturating_mul(2) > now.len();
    let holder = lease.node;
    context.state.put_lease(id, lease);
    if !is_most {
        return;
    }
    if is_gone {
        node::lose(context, &holder);
    }
    end(context, &id, EndCause::Unreachable);
}

/// Tells that a machine which was given up is back. Only itself can.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportBack {
    /// The machine.
    pub node: NodeId,
}

impl Apply for ReportBack {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.own_node(&self.node)?;
        if !node.is_unreachable {
            return Ok(());
        }
        context.state.put_node(
            self.node,
            Node {
                is_unreachable: false,
                life: node.life.saturating_add(1),
                ..node
            },
        );
        node::presence_changed(context, &self.node);
        context.emit(Event::NodeReachable {
            node: self.node,
            is_reachable: true,
        });
        Ok(())
    }
}
