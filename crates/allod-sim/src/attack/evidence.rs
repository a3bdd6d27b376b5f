//! False evidence: a node that bills more than it gave.

use allod_state::LeaseId;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::Lease;

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::MACHINES;

fn some_lease(draft: &mut Draft<'_>) -> Option<(LeaseId, Lease)> {
    let leases: Vec<_> = draft.state.leases().collect();
    let (id, lease) = *draft.random.pick(&leases)?;
    Some((*id, lease.clone()))
}

fn machine_of(draft: &Draft<'_>, lease: &Lease) -> Option<usize> {
    MACHINES
        .into_iter()
        .find(|at| draft.people.node(*at) == lease.node)
}

fn item(id: LeaseId, lease: &Lease) -> Item {
    let from_ms = lease.meter.until_ms;
    Item {
        lease: id,
        epoch: lease.epoch,
        from_ms,
        until_ms: from_ms + 1_000,
        ready_ms: 1_000,
        usage: Usage::default(),
    }
}

fn submit(draft: &Draft<'_>, machine: usize, item: Item) -> Option<Attempt> {
    let action = SubmitEvidence {
        node: draft.people.node(machine),
        items: vec![item],
    };
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, action)
}

pub(super) fn more_ready_than_time(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let machine = machine_of(draft, &lease)?;
    let greedy = Item {
        ready_ms: 1_001,
        ..item(id, &lease)
    };
    submit(draft, machine, greedy)
}

/// Time that was counted is never counted again: the meter only moves forward.
pub(super) fn overlapping(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let machine = machine_of(draft, &lease)?;
    let from_ms = lease.meter.until_ms - draft.random.between(1, 500);
    let again = Item {
        from_ms,
        ready_ms: 0,
        ..item(id, &lease)
    };
    submit(draft, machine, again)
}

pub(super) fn for_a_wrong_epoch(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let machine = machine_of(draft, &lease)?;
    let wrong = Item {
        epoch: lease.epoch + 1,
        ..item(id, &lease)
    };
    submit(draft, machine, wrong)
}

pub(super) fn of_another_node(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let other = MACHINES.start + draft.random.index(MACHINES.len());
    if draft.people.node(other) == lease.node {
        return None;
    }
    submit(draft, other, item(id, &lease))
}
