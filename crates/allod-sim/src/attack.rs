//! Attackers: what they send, and what must never come of it.

mod envelope;
mod evidence;
mod money;
mod standing;
mod tenancy;

use allod_state::{Action, Transaction};

use crate::client::{Draft, Wish};

/// What must never happen to an attacker's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Never {
    /// Its signature must not verify.
    Verifies,
    /// It must be in no block.
    InBlock,
    /// It may be in a block, but must change nothing.
    Succeeds,
    /// It was in a block before, and must not be in a second one.
    Twice,
}

/// One act of an attacker.
pub(crate) struct Attempt {
    pub(crate) transaction: Transaction,
    pub(crate) never: Never,
}

type Attack = fn(&mut Draft<'_>) -> Option<Attempt>;

/// Every attack.
const ATTACKS: &[Attack] = &[
    envelope::altered_body,
    envelope::another_network,
    envelope::expired,
    envelope::flipped_signature,
    envelope::replay,
    envelope::skipped_nonce,
    envelope::strangers_key,
    envelope::too_little_work,
    evidence::for_a_wrong_epoch,
    evidence::more_ready_than_time,
    evidence::of_another_node,
    evidence::overlapping,
    money::more_than_everything,
    money::over_budget,
    standing::death_of_what_others_watch,
    standing::made_up_conflict,
    standing::readers_of_what_one_cannot_read,
    tenancy::anothers_app,
    tenancy::anothers_lease,
    tenancy::widened_grant,
];

/// One act of some attacker, if it finds an occasion.
pub(crate) fn attempt(draft: &mut Draft<'_>) -> Option<Attempt> {
    let attack = draft.random.pick(ATTACKS).copied()?;
    attack(draft)
}

/// The wish of a rightful key for something that must not succeed.
fn never_succeeds(
    draft: &Draft<'_>,
    signer: usize,
    account: allod_state::AccountId,
    action: impl Into<Action>,
) -> Option<Attempt> {
    let wish = Wish {
        signer,
        account,
        actions: vec![action.into()],
    };
    Some(Attempt {
        transaction: draft.sign(&wish)?,
        never: Never::Succeeds,
    })
}
