//! Carries over what was good elsewhere, at another time, or after what is missing.

use allod_state::NetworkId;

use crate::attack::envelope::{good, signed_again};
use crate::attack::{Attempt, Never};
use crate::client::Draft;

pub(super) fn another_network(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.network = NetworkId([7; 32]);
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}

pub(super) fn expired(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.expires_ms = draft.state.tip().time_ms;
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}

/// No transaction of these runs has so high a nonce.
pub(super) fn skipped_nonce(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.nonce += 10_000;
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}
