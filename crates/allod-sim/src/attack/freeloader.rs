//! Has the network work for less than it costs.

use crate::attack::envelope::{good, signed_again};
use crate::attack::{Attempt, Never};
use crate::client::Draft;

pub(super) fn too_little_work(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (signer, mut transaction) = good(draft)?;
    transaction.body.work_limit = 1;
    Some(Attempt {
        transaction: signed_again(draft, signer, transaction),
        never: Never::InBlock,
    })
}
