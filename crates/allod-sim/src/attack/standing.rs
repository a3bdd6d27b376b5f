//! False witnesses: machines that have others lose their leases, their votes or their secrets by a word.

use allod_state::app::{AddReaders, Wrap};
use allod_state::certificate::VoteKind;
use allod_state::lease::witness::ReportDeaths;
use allod_state::validator::{ReportConflict, Said};
use allod_state::{BlockId, Signature};

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::MACHINES;

fn some_machine(draft: &mut Draft<'_>) -> usize {
    MACHINES.start + draft.random.index(MACHINES.len())
}

/// Two votes that the validator never signed.
pub(super) fn made_up_conflict(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = some_machine(draft);
    let validators = draft.state.validators();
    let keys: Vec<_> = validators.iter().map(|(key, _)| *key).collect();
    let validator = *draft.random.pick(&keys)?;
    let said = |byte: u8| {
        let vote = Said::Vote(VoteKind::Precommit, Some(BlockId([byte; 32])));
        (vote, Signature::Ed25519([byte; 64]))
    };
    let action = ReportConflict {
        node: draft.people.node(machine),
        validator,
        height: draft.state.tip().height,
        round: 0,
        one: said(1),
        other: said(2),
    };
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, action)
}

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

/// An app that the machine cannot read.
pub(super) fn readers_of_what_one_cannot_read(draft: &mut Draft<'_>) -> Option<Attempt> {
    let machine = some_machine(draft);
    let node = draft.people.node(machine);
    let apps: Vec<_> = draft
        .state
        .apps()
        .map(|(id, app)| (*id, app.revision))
        .collect();
    let (app, revision) = *draft.random.pick(&apps)?;
    let row = draft.state.revision(&(app, revision))?;
    if row.manifest.wraps.iter().any(|wrap| wrap.holder == node.0) {
        return None;
    }
    let wraps = vec![Wrap {
        holder: node.0,
        key: vec![1],
    }];
    let action = AddReaders {
        node,
        app,
        revision,
        wraps,
    };
    let account = draft.people.operator_of(machine).account;
    never_succeeds(draft, machine, account, action)
}
