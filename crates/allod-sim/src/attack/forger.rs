//! Alters what others signed.

use allod_state::Signature;

use crate::attack::envelope::good;
use crate::attack::{Attempt, Never};
use crate::client::Draft;

pub(super) fn flipped_signature(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, mut transaction) = good(draft)?;
    let Signature::Ed25519(mut bytes) = transaction.signature;
    let at = draft.random.index(bytes.len());
    *bytes.get_mut(at)? ^= 1 << draft.random.below(8);
    transaction.signature = Signature::Ed25519(bytes);
    Some(Attempt {
        transaction,
        never: Never::Verifies,
    })
}

pub(super) fn altered_body(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, mut transaction) = good(draft)?;
    match draft.random.below(3) {
        0 => transaction.body.nonce += 1,
        1 => transaction.body.expires_ms += 1,
        _ => transaction.body.actions.extend_from_within(..),
    }
    Some(Attempt {
        transaction,
        never: Never::Verifies,
    })
}
