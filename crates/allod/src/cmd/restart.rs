//! `allod restart`: fresh replicas.

use allod_api::client::{Goal, Result, Target, app_of};
use allod_state::app::Restart;
use allod_state::{Action, Label};

use super::launch;
use crate::context::Context;
use crate::render::views;

/// Replace every replica of a service or app by a fresh one, and wait until they are ready.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app or service: APP, APP/SERVICE, or a name that only one of them bears.
    target: Target,
    /// Do not wait until they are ready.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let apps = client.apps_with(&args.target.name).await?;
    let wanted = app_of(&apps, &args.target)?;
    let app = wanted.app;
    let label = Label::of(client.account().as_bytes(), &app.name);
    let service = wanted.service.map(|service| service.name.as_str());
    let restart = Restart {
        app: app.app,
        service: service.map(|name| allod_node::service_label(&label, name)),
    };
    let is_meant = |name: &str| service.is_none_or(|meant| meant == name);
    let replaced = app.services.iter().filter(|found| is_meant(&found.name));
    let goal = Goal {
        replaced: replaced
            .flat_map(|service| service.replicas.iter().filter_map(|replica| replica.lease))
            .collect(),
        ..Goal::default()
    };
    client.submit(vec![Action::from(restart)]).await?;
    let app = if args.no_wait {
        client.app(&app.app.to_string()).await?
    } else {
        launch::watch(context, &client, app, &goal).await?
    };
    context.show(&app, views::app);
    Ok(())
}
