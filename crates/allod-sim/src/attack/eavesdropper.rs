//! Makes itself a reader of what it cannot read.

use allod_state::app::{AddReaders, Wrap};

use crate::attack::{Attempt, never_succeeds, some_machine};
use crate::client::Draft;

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
