//! Attackers, one file each: what they send, and what must never come of it.

mod climber;
mod eavesdropper;
mod envelope;
mod forger;
mod freeloader;
mod impostor;
mod meter;
mod overbiller;
mod overspender;
mod replayer;
mod slanderer;
mod smuggler;
mod stranger;
mod trespasser;
mod undertaker;

use allod_state::{Action, Transaction};

use crate::client::{Draft, Wish};
use crate::person::MACHINES;

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

/// Every attack of every attacker.
const ATTACKS: &[Attack] = &[
    climber::widened_grant,
    eavesdropper::readers_of_what_one_cannot_read,
    forger::altered_body,
    forger::flipped_signature,
    freeloader::too_little_work,
    impostor::anothers_lease,
    impostor::of_another_node,
    overbiller::for_a_wrong_epoch,
    overbiller::more_ready_than_time,
    overbiller::overlapping,
    overspender::more_than_everything,
    overspender::over_budget,
    replayer::replay,
    slanderer::made_up_conflict,
    smuggler::another_network,
    smuggler::expired,
    smuggler::skipped_nonce,
    stranger::strangers_key,
    trespasser::anothers_app,
    undertaker::death_of_what_others_watch,
];

/// One act of some attacker, if it finds an occasion.
pub(crate) fn attempt(draft: &mut Draft<'_>) -> Option<Attempt> {
    let attack = draft.random.pick(ATTACKS).copied()?;
    attack(draft)
}

/// One of the machines that run workloads.
fn some_machine(draft: &mut Draft<'_>) -> usize {
    MACHINES.start + draft.random.index(MACHINES.len())
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
