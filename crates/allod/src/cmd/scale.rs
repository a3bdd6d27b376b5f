//! `allod scale`: how many replicas a service has.

use allod_api::client::{Goal, Result, Target, service_of};
use allod_state::app::Scale;
use allod_state::{Action, Label};

use super::launch;
use crate::context::Context;
use crate::render::views;

/// Set how many replicas a service has, and wait until they are ready.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service: APP/SERVICE, or a name that only one bears.
    target: Target,
    /// How many replicas.
    replicas: u32,
    /// Do not wait until they are ready.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let apps = client.apps_with(&args.target.name).await?;
    let (app, service) = service_of(&apps, &args.target)?;
    let label = Label::of(client.account().as_bytes(), &app.name);
    let scale = Scale {
        app: app.app,
        service: allod_node::service_label(&label, &service.name),
        replicas: args.replicas,
    };
    client.submit(vec![Action::from(scale)]).await?;
    let app = if args.no_wait {
        client.app(&app.app.to_string()).await?
    } else {
        launch::watch(context, &client, app, &Goal::default()).await?
    };
    context.show(&app, views::app);
    Ok(())
}
