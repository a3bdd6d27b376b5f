//! Deploying: a new app, or a new revision of one.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::app::{App, Demand, Revision, Service, plan_of};
use crate::apply::Context;
use crate::event::Event;
use crate::id::{AppId, Digest, Label, PlanId};
use crate::limits::{
    APPS_PER_ACCOUNT_MAX, EFFORT_PER_ROW, EFFORT_PER_SLOT, MANIFEST_BYTES_MAX, REVISIONS_KEPT,
    SERVICES_PER_APP_MAX, WRAP_BYTES_MAX, WRAPS_PER_MANIFEST_MAX,
};
use crate::place;
use crate::reject::Rejection;
use crate::transaction::Apply;

/// Where a revision's private half is and who can read it. The ciphertext itself stays beside the ledger.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealedManifest {
    /// The hash of the ciphertext.
    pub ciphertext: Digest,
    /// The ciphertext's length in bytes.
    pub bytes: u64,
    /// The content key, wrapped for each holder.
    pub wraps: Vec<Wrap>,
}

/// A content key wrapped for one holder.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Wrap {
    /// The holder's node or account id.
    pub holder: [u8; 32],
    /// The wrapped key.
    pub key: Vec<u8>,
}

/// Creates the app with this label, or gives it a new revision. All replicas of a new app are placed together in this
/// transaction or the transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Deploy {
    /// The app's blinded name.
    pub label: Label,
    /// The public demand of each service.
    pub services: BTreeMap<Label, Demand>,
    /// Where the private half is.
    pub manifest: SealedManifest,
    /// What it has to come to, or it is refused; see [`plan_of`].
    pub plan: Option<PlanId>,
}

impl Apply for Deploy {
    const VERB: Verb = Verb::Deploy;

    fn work(&self) -> u64 {
        let services = u64::try_from(self.services.len()).unwrap_or(u64::MAX);
        let replicas = self.services.values().fold(0, |sum: u64, demand| {
            sum.saturating_add(u64::from(demand.replicas))
        });
        services
            .saturating_mul(50)
            .saturating_add(replicas.saturating_mul(20))
            .saturating_add(200)
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        self.validate()?;
        if !context.grant().covers_app(&self.label) {
            return Err(Rejection::ResourceNotGranted);
        }
        let owner = context.account();
        let promised = context.promised();
        let id = match context.state.app_by_label(&owner, &self.label) {
            Some(id) => self.revise(context, id)?,
            None => self.create(context)?,
        };
        context.check_promised(&promised)?;
        if let Some(wanted) = self.plan {
            let leases = context.state.active_leases_of(&id).len();
            let leases = u64::try_from(leases).unwrap_or(u64::MAX);
            context.toil(leases.saturating_mul(EFFORT_PER_ROW));
            if plan_of(context.state, &id) != Some(wanted) {
                return Err(Rejection::PlanChanged);
            }
        }
        Ok(())
    }
}

impl Deploy {
    fn validate(&self) -> Result<(), Rejection> {
        if self.services.is_empty() {
            return Err(Rejection::field("the app has no services"));
        }
        if self.services.len() > SERVICES_PER_APP_MAX {
            return Err(Rejection::too_many("services"));
        }
        let wraps = &self.manifest.wraps;
        if wraps.len() > WRAPS_PER_MANIFEST_MAX
            || wraps.iter().any(|wrap| wrap.key.len() > WRAP_BYTES_MAX)
        {
            return Err(Rejection::too_many("wrapped keys, or one is too long"));
        }
        if self.manifest.bytes == 0 || self.manifest.bytes > MANIFEST_BYTES_MAX {
            return Err(Rejection::field(
                "the sealed manifest is empty or larger than 1 MiB",
            ));
        }
        self.services.values().try_for_each(Demand::validate)
    }

    fn create(&self, context: &mut Context<'_>) -> Result<AppId, Rejection> {
        let owner = context.account();
        let mut account = context.state.account_or_reject(&owner)?;
        if account.apps >= APPS_PER_ACCOUNT_MAX {
            return Err(Rejection::too_many("apps"));
        }
        let id = AppId::of(&owner, account.apps_made);
        account.apps = account.apps.saturating_add(1);
        account.apps_made = account.apps_made.saturating_add(1);
        context.state.put_account(owner, account);
        let services = self.services.iter().map(|(label, demand)| {
            let replicas = demand.replicas;
            (
                *label,
                Service {
                    replicas,
                    revision: 1,
                    generation: 0,
                    is_halted: false,
                },
            )
        });
        let app = App {
            owner,
            label: self.label,
            deployed_by: context.key(),
            revision: 1,
            services: services.collect(),
            created_ms: context.now_ms,
            epoch_floor: 0,
        };
        context.state.put_app(id, app);
        context
            .state
            .put_revision((id, 1), self.revision(context.now_ms));
        context.emit(Event::AppDeployed {
            app: id,
            revision: 1,
        });
        place::place_app_whole(context, &id)?;
        Ok(id)
    }

    fn revise(&self, context: &mut Context<'_>, id: AppId) -> Result<AppId, Rejection> {
        let app = context.own_app(&id)?;
        let number = app.revision.saturating_add(1);
        let services = self.services.iter().map(|(label, demand)| {
            let before = app.services.get(label);
            let generation = before.map_or(0, |service| service.generation);
            (
                *label,
                Service {
                    replicas: demand.replicas,
                    revision: number,
                    generation,
                    is_halted: false,
                },
            )
        });
        let app = App {
            deployed_by: context.key(),
            revision: number,
            services: services.collect(),
            ..app
        };
        context
            .state
            .put_revision((id, number), self.revision(context.now_ms));
        context.state.put_app(id, app);
        forget_old_revisions(context, &id, number);
        context.emit(Event::AppDeployed {
            app: id,
            revision: number,
        });
        place::refill(context, &id)?;
        Ok(id)
    }

    fn revision(&self, now_ms: u64) -> Revision {
        Revision {
            services: self.services.clone(),
            manifest: self.manifest.clone(),
            created_ms: now_ms,
            rolled_back_to: None,
        }
    }
}

/// Keeps the newest revisions and those that a service still runs or wants.
pub(crate) fn forget_old_revisions(context: &mut Context<'_>, id: &AppId, newest: u64) {
    let kept = u64::try_from(REVISIONS_KEPT).unwrap_or(u64::MAX);
    let leases = context.state.active_leases_of(id).len();
    let leases = u64::try_from(leases).unwrap_or(u64::MAX);
    context.toil(leases.saturating_mul(EFFORT_PER_SLOT));
    let in_use = context.state.revisions_in_use(id);
    let old: Vec<u64> = context
        .state
        .revisions_of(id)
        .map(|((_, number), _)| *number)
        .filter(|number| number.saturating_add(kept) <= newest && !in_use.contains(number))
        .collect();
    for number in old {
        context.toil(EFFORT_PER_ROW);
        context.state.remove_revision(&(*id, number));
    }
}
