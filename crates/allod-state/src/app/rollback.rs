//! Going back to an earlier revision, and replacing replicas by fresh ones.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::app::deploy::forget_old_revisions;
use crate::app::{App, Revision, Service};
use crate::apply::Context;
use crate::event::Event;
use crate::id::{AppId, Label};
use crate::place;
use crate::reject::Rejection;
use crate::transaction::Apply;

/// Makes an earlier revision the newest again, under a new number.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Rollback {
    /// The app.
    pub app: AppId,
    /// The revision to repeat; the one before the newest where none is named.
    pub to: Option<u64>,
}

impl Apply for Rollback {
    const VERB: Verb = Verb::Deploy;

    fn work(&self) -> u64 {
        500
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let app = context.own_app(&self.app)?;
        let promised = context.promised();
        let wanted = match self.to {
            Some(number) => number,
            None => previous(context, &self.app, &app)?,
        };
        let unknown = Rejection::UnknownRevision { revision: wanted };
        let old = context.state.revision(&(self.app, wanted)).ok_or(unknown)?;
        let number = app.revision.saturating_add(1);
        let services = old.services.iter().map(|(label, demand)| {
            let before = app.services.get(label);
            let generation = before.map_or(0, |service| service.generation);
            let replicas = before.map_or(demand.replicas, |service| service.replicas);
            let replicas = demand.at_most(replicas);
            (
                *label,
                Service {
                    replicas,
                    revision: number,
                    generation,
                    is_halted: false,
                },
            )
        });
        let services = services.collect();
        let app = App {
            revision: number,
            services,
            deployed_by: context.key(),
            ..app
        };
        let revision = Revision {
            created_ms: context.now_ms,
            rolled_back_to: old.rolled_back_to.or(Some(wanted)),
            ..old
        };
        context.state.put_revision((self.app, number), revision);
        context.state.put_app(self.app, app);
        forget_old_revisions(context, &self.app, number);
        context.emit(Event::AppDeployed {
            app: self.app,
            revision: number,
        });
        place::refill(context, &self.app)?;
        context.check_promised(&promised)
    }
}

/// The newest revision that is neither the present one nor what the present one repeats.
fn previous(context: &Context<'_>, id: &AppId, app: &App) -> Result<u64, Rejection> {
    let present = context.state.revision(&(*id, app.revision));
    let original = |number: u64, revision: &Revision| revision.rolled_back_to.unwrap_or(number);
    let present = present.map_or(app.revision, |revision| original(app.revision, &revision));
    context
        .state
        .revisions_of(id)
        .map(|((_, number), revision)| (*number, original(*number, revision)))
        .filter(|(number, repeats)| *number < app.revision && *repeats < present)
        .map(|(number, _)| number)
        .max()
        .ok_or(Rejection::UnknownRevision {
            revision: present.saturating_sub(1),
        })
}

/// Replaces every replica of a service, or of all services, by a fresh one, as the service's update rule says.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Restart {
    /// The app.
    pub app: AppId,
    /// The service; all where none.
    pub service: Option<Label>,
}

impl Apply for Restart {
    const VERB: Verb = Verb::Deploy;

    fn work(&self) -> u64 {
        500
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let mut app = context.own_app(&self.app)?;
        if self
            .service
            .is_some_and(|label| !app.services.contains_key(&label))
        {
            return Err(Rejection::UnknownService);
        }
        for (label, service) in &mut app.services {
            if self.service.is_none_or(|wanted| wanted == *label) {
                service.generation = service.generation.saturating_add(1);
                service.is_halted = false;
            }
        }
        context.state.put_app(self.app, app);
        context.emit(Event::AppRestarted { app: self.app });
        place::refill(context, &self.app)
    }
}
