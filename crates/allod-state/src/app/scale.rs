//! Scaling a service.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::{AppId, Label};
use crate::place;
use crate::reject::Rejection;
use crate::transaction::Apply;

/// Sets how many replicas a service has. New ones are placed in this transaction or it is refused.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Scale {
    /// The app.
    pub app: AppId,
    /// The service.
    pub service: Label,
    /// How many replicas.
    pub replicas: u32,
}

impl Apply for Scale {
    const VERB: Verb = Verb::Scale;

    fn work(&self) -> u64 {
        u64::from(self.replicas)
            .saturating_mul(20)
            .saturating_add(100)
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let mut app = context.own_app(&self.app)?;
        let promised = context.promised();
        let service = app
            .services
            .get_mut(&self.service)
            .ok_or(Rejection::UnknownService)?;
        let demand = context
            .state
            .demand(&self.app, service.revision, &self.service)
            .ok_or(Rejection::UnknownService)?;
        demand.check_replicas(self.replicas)?;
        service.replicas = self.replicas;
        // What a limited key asks for is in its budget, whoever deployed the app.
        if context.grant().budget.is_some() {
            app.deployed_by = context.key();
        }
        context.state.put_app(self.app, app);
        context.emit(Event::AppScaled {
            app: self.app,
            service: self.service,
            replicas: self.replicas,
        });
        place::refill_service(context, &self.app, &self.service)?;
        context.check_promised(&promised)
    }
}
