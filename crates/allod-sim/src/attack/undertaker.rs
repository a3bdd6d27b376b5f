//! Says that machines are dead which it does not watch.

use allod_state::lease::witness::ReportDeaths;

use crate::attack::{Attempt, never_succeeds, some_machine};
use crate::client::Draft;

/// A lease whose machine somebody else watches.
pub(super) fn death_of_what_others_watch(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = some_machine(draft);
    let witness = draft.people.node(machine);
    let leases: Vec<_> = draft
        .state
        .leases()
        .filter(|(_, lease)| lease.watchers().all(|watcher| *watcher != witness))
        .map(|(id, lease)| (*id, lease.epoch))
        .collect();
    let lease = *draft.random.pick(&leases)?;
    let leases = [lease].into();
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, ReportDeaths { witness, leases })
}
