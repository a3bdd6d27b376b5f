//! A key that gives itself more rights than it has.

use allod_state::account::AddKey;
use allod_state::account::grant::{Grant, Verb};

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::STRANGERS;

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
