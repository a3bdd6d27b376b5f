//! Says of a validator that it signed what it never signed.

use allod_state::certificate::VoteKind;
use allod_state::validator::{ReportConflict, Said};
use allod_state::{BlockId, Signature};

use crate::attack::{Attempt, never_succeeds, some_machine};
use crate::client::Draft;

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
