//! Touches what belongs to others.

use allod_state::app::Delete;

use crate::attack::{Attempt, never_succeeds};
use crate::client::Draft;

pub(super) fn anothers_app(draft: &mut Draft<'_>) -> Option<Attempt> {
    let (_, victim) = draft.founder();
    let (_, account) = draft.founder();
    let apps: Vec<_> = draft.state.apps_of(&victim).map(|(_, id)| id).collect();
    let app = *draft.random.pick(&apps)?;
    if account == victim {
        return None;
    }
    let signer = draft.signer_for(&account)?;
    let delete = Delete {
        app,
        drops_volumes: true,
    };
    never_succeeds(draft, signer, account, delete)
}
