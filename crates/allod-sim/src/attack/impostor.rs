//! A machine that speaks for another machine.

use allod_state::lease::{Report, ReportLease};

use crate::attack::meter::{item, some_lease, submit};
use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::MACHINES;

pub(super) fn of_another_node(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (id, lease) = some_lease(draft)?;
    let other = MACHINES.start + draft.random.index(MACHINES.len());
    if draft.people.node(other) == lease.node {
        return None;
    }
    submit(draft, other, item(id, &lease))
}

/// A machine tells of another machine's lease. The key's own grant names only its own node.
pub(super) fn anothers_lease(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = MACHINES.start + draft.random.index(MACHINES.len());
    let node = draft.people.node(machine);
    let leases: Vec<_> = draft.state.leases().collect();
    let (id, lease) = *draft.random.pick(&leases)?;
    if lease.node == node {
        return None;
    }
    let report = ReportLease {
        lease: *id,
        epoch: lease.epoch,
        report: Report::Ready,
    };
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, report)
}
