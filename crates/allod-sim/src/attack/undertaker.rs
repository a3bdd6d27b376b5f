//! Says that machines are dead which it does not watch.

use allod_state::NodeId;
use allod_state::lease::Lease;
use allod_state::lease::witness::ReportDeaths;
use allod_state::limits::WITNESSES_MAX;
use allod_state::node::ReportGone;

use crate::attack::{Attempt, never_succeeds, some_machine};
use crate::client::Draft;

/// A lease whose machine somebody else watches, or a machine.
pub(super) fn death_of_what_others_watch(draft: &mut Draft<'_>) -> Option<Attempt> {
    match draft.random.below(3) {
        0 => death_of_itself(draft),
        1 => death_of_a_former_life(draft),
        _ => death_of_anothers_lease(draft),
    }
}

/// A lease whose machine somebody else watches, and of which it becomes no witness before this is in a block.
fn death_of_anothers_lease(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = some_machine(draft);
    let witness = draft.people.node(machine);
    let never_its = |lease: &Lease| {
        let is_full = lease.watchers().count() >= WITNESSES_MAX;
        is_full || lease.is_exclusive || lease.node == witness
    };
    let leases: Vec<_> = draft
        .state
        .leases()
        .filter(|(_, lease)| lease.watchers().all(|watcher| *watcher != witness))
        .filter(|(_, lease)| never_its(lease))
        .map(|(id, lease)| (*id, lease.epoch))
        .collect();
    let lease = *draft.random.pick(&leases)?;
    let leases = [lease].into();
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, ReportDeaths { witness, leases })
}

/// Its own machine, which others watch whoever they are by then.
fn death_of_itself(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = some_machine(draft);
    let own = draft.people.node(machine);
    let life = draft.state.node(&own)?.life;
    said(draft, machine, &[(own, life)])
}

/// A machine that has come back since, or has not come back so often yet.
fn death_of_a_former_life(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = some_machine(draft);
    let witness = draft.people.node(machine);
    let watched = draft.state.machines_watched_by(&witness).into_iter();
    let other = |(id, life): (NodeId, u64)| (id, life.checked_sub(1).unwrap_or(u64::MAX));
    let lives: Vec<_> = watched.map(other).collect();
    said(draft, machine, &lives)
}

fn said(draft: &mut Draft<'_>, machine: usize, lives: &[(NodeId, u64)]) -> Option<Attempt> {
    let life = *draft.random.pick(lives)?;
    let (witness, machines) = (draft.people.node(machine), [life].into());
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, ReportGone { witness, machines })
}
