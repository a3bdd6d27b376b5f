//! Sends again what was done already.

use crate::attack::{Attempt, Never};
use crate::client::Draft;

pub(super) fn replay(draft: &mut Draft<'_>) -> Option<Attempt> {
    let remembered = draft.desk.remembered();
    let transaction = (*draft.random.pick(&remembered)?).clone();
    Some(Attempt {
        transaction,
        never: Never::Twice,
    })
}
