//! Acts for an account with a key that nobody gave a right.

use crate::attack::envelope::{good, signed_again};
use crate::attack::{Attempt, Never};
use crate::client::Draft;
use crate::person::STRANGERS;

pub(super) fn strangers_key(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, mut transaction) = good(draft)?;
    let stranger = STRANGERS.start + draft.random.index(STRANGERS.len());
    transaction.body.key = draft.people.get(stranger).key;
    transaction.body.nonce = 0;
    Some(Attempt {
        transaction: signed_again(draft, stranger, transaction),
        never: Never::InBlock,
    })
}
