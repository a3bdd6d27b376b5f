//! Touching what belongs to others, or giving oneself more rights.

use allod_state::account::AddKey;
use allod_state::account::grant::{Grant, Verb};
use allod_state::app::Delete;
use allod_state::lease::{Report, ReportLease};

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::{MACHINES, STRANGERS};

pub(super) fn anothers_app(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, victim) = draft.founder();
    let (_, account) = draft.founder();
    let apps: Vec<_> = draft.state.apps_of(&victim).map(|(_, id)| id).collect();
    let app = *draft.random.pick(&apps)?;
    if account == victim {
        return None;
    }
    let signer = draft.signer_for(&account)?;
    let delete = Delete {
        app,
        drops_volumes: true,
    };
    never_succeeds(draft, signer, account, delete)
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

/// A key without every verb hands on every verb.
pub(super) fn widened_grant(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, account) = draft.founder();
    let weak: Vec<_> = draft
        .state
        .keys_of(&account)
        .filter(|(_, record)| record.grant.verbs.len() < Verb::ALL.len())
        .filter_map(|(key, _)| draft.people.holder(&key))
        .collect();
    let signer = *draft.random.pick(&weak)?;
    let action = AddKey {
        key: draft.people.get(STRANGERS.end - 1).key,
        grant: Grant::full(),
    };
    never_succeeds(draft, signer, account, action)
}
