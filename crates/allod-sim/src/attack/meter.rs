//! What false evidence begins with: a lease, the machine that holds it, and a second more of it.

use allod_state::LeaseId;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::Lease;

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::MACHINES;

pub(super) fn some_lease(draft: &mut Draft<'_>) -> Option<(LeaseId, Lease)> {
    let leases: Vec<_> = draft.state.leases().collect();
    let (id, lease) = *draft.random.pick(&leases)?;
    Some((*id, lease.clone()))
}

pub(super) fn machine_of(draft: &Draft<'_>, lease: &Lease) -> Option<usize> {
    MACHINES
        .into_iter()
        .find(|at| draft.people.node(*at) == lease.node)
}

pub(super) fn item(id: LeaseId, lease: &Lease) -> Item {
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

pub(super) fn submit(draft: &Draft<'_>, machine: usize, item: Item) -> Option<Attempt> {
    let action = SubmitEvidence {
        node: draft.people.node(machine),
        items: vec![item],
    };
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, action)
}
