//! What `run` and `deploy` have in common: prepare, plan, sign, and watch.

use allod_api::client::{Client, Error, Goal, Prepared, Result};
use allod_api::compose::Lowered;
use allod_node::view;
use allod_state::{Action, PlanId};

use crate::context::Context;

/// Prepares a deployment and asks what it would do. Nothing is charged or changed.
pub(crate) async fn rehearse(
    client: &Client,
    lowered: Lowered,
) -> Result<(view::Network, Prepared, view::Plan)> {
    let network = client.network().await?;
    let prepared = client.prepare(lowered, &network).await?;
    let plan = client
        .plan(&vec![Action::from(prepared.deploy.clone())])
        .await?;
    Ok((network, prepared, plan))
}

/// The error that a plan's rejection is.
pub(crate) fn refused(plan: &view::Plan) -> Option<Error> {
    let rejection = plan.rejection.as_ref()?;
    if rejection.name == "no-placement" && !plan.refusals.is_empty() {
        return Some(Error::NoPlacement(plan.refusals.clone()));
    }
    Some(Error::Rejected(Box::new(rejection.clone())))
}

/// Deploys an app, where it comes to what was planned, and watches it until it is ready, unless it should not be waited
/// for.
pub(crate) async fn launch(
    context: &Context,
    client: &Client,
    lowered: Lowered,
    pinned: Option<PlanId>,
    goal: Option<Goal>,
) -> Result<view::App> {
    context.tell("resolving images");
    let (network, mut prepared, mut plan) = rehearse(client, lowered).await?;
    if pinned.is_some() {
        prepared.deploy.plan = pinned;
        // The law decides that again when it is there; until then nothing has been handed over.
        let pinned = vec![Action::from(prepared.deploy.clone())];
        plan = client.plan(&pinned).await?;
    }
    if let Some(error) = refused(&plan) {
        return Err(error);
    }
    // Doors that are taken are found out before anything is signed: they open here, wherever the app runs.
    client.check_doors(&prepared.app, &prepared.doors).await?;
    for placement in &plan.placements {
        let name = prepared.names.get(&placement.service);
        context.tell(&format!(
            "{}/{}: on {} for {} credits/hour",
            prepared.app,
            name.map_or("?", String::as_str),
            placement.node_name,
            placement.price_per_hour
        ));
    }
    let (account, ()) = tokio::try_join!(
        client.own_account(),
        client.put_manifest(prepared.ciphertext)
    )?;
    let actions = vec![Action::from(prepared.deploy)];
    client.submit_knowing(&network, &account, actions).await?;
    let app = client.app(&prepared.app).await?;
    match goal {
        None => Ok(app),
        Some(goal) => {
            let goal = Goal {
                revision: app.revision,
                ..goal
            };
            watch(context, client, &app, &goal).await
        }
    }
}

/// Watches an app until it is at its goal, and tells how it gets there.
pub(crate) async fn watch(
    context: &Context,
    client: &Client,
    app: &view::App,
    goal: &Goal,
) -> Result<view::App> {
    let tell = |line: &str| context.tell(line);
    Box::pin(client.follow(&app.app, goal, context.timeout(), tell)).await
}
