//! Ending an app.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::AppId;
use crate::lease::{self, EndCause};
use crate::limits::EFFORT_PER_ROW;
use crate::reject::Rejection;
use crate::transaction::Apply;
use crate::volume;

/// Ends an app: its leases end now, its revisions go. Its volumes stay unless they are given up here.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Delete {
    /// The app.
    pub app: AppId,
    /// Whether its volumes are given up too.
    pub drops_volumes: bool,
}

impl Apply for Delete {
    const VERB: Verb = Verb::Delete;

    fn work(&self) -> u64 {
        500
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let app = context.own_app(&self.app)?;
        for id in context.state.active_leases_of(&self.app) {
            lease::end(context, &id, EndCause::Deleted);
        }
        for key in context.state.slots_of(&self.app) {
            context.toil(EFFORT_PER_ROW);
            context.state.remove_slot(&key);
        }
        let revisions: Vec<_> = context
            .state
            .revisions_of(&self.app)
            .map(|(key, _)| *key)
            .collect();
        for key in revisions {
            context.toil(EFFORT_PER_ROW);
            context.state.remove_revision(&key);
        }
        context.state.remove_app(&self.app);
        let mut owner = context.state.account_or_reject(&app.owner)?;
        owner.apps = owner.apps.saturating_sub(1);
        context.state.put_account(app.owner, owner);
        volume::release_all(context, &app, self.drops_volumes);
        context.emit(Event::AppDeleted { app: self.app });
        Ok(())
    }
}
