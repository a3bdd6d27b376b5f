//! Spends what it does not have, or may not.

use allod_state::Credits;
use allod_state::credit::Transfer;

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;
use crate::person::STRANGERS;

fn to_a_stranger(draft: &Draft<'_>, micro: i128) -> Transfer {
    Transfer {
        to: draft.people.get(STRANGERS.start).account,
        amount: Credits::from_micro(micro),
        memo: String::new(),
    }
}

/// More than all balances and lines together.
pub(super) fn more_than_everything(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, account) = draft.founder();
    let signer = draft.signer_for(&account)?;
    let micro = match draft.random.below(3) {
        0 => 1_000_000_000_000_000_000,
        1 => i128::MAX,
        _ => -1,
    };
    never_succeeds(draft, signer, account, to_a_stranger(draft, micro))
}

/// One micro-credit more than the key's whole budget.
pub(super) fn over_budget(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, account) = draft.founder();
    let keys: Vec<_> = draft
        .state
        .keys_of(&account)
        .filter_map(|(key, record)| Some((draft.people.holder(&key)?, record.grant.budget?)))
        .collect();
    let (signer, budget) = *draft.random.pick(&keys)?;
    let transfer = to_a_stranger(draft, budget.amount.micro() + 1);
    never_succeeds(draft, signer, account, transfer)
}
