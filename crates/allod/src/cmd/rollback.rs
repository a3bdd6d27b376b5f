//! `allod rollback`: an earlier revision, made the newest again.

use allod_api::client::{Goal, Result, Target, app_of};
use allod_state::Action;
use allod_state::app::Rollback;

use super::launch;
use crate::context::Context;
use crate::render::views;

/// Bring an app back to the revision before, or to a given one, and wait until it is ready.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app, or one of its services.
    target: Target,
    /// The revision to go back to; `allod status APP` lists them.
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    /// Do not wait until it is ready.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let apps = client.apps_with(&args.target.name).await?;
    let id = app_of(&apps, &args.target)?.app.app;
    let rollback = Rollback {
        app: id,
        to: args.to,
    };
    client.submit(vec![Action::from(rollback)]).await?;
    let mut app = client.app(&id.to_string()).await?;
    if !args.no_wait {
        let goal = Goal {
            revision: app.revision,
            ..Goal::default()
        };
        app = launch::watch(context, &client, &app, &goal).await?;
    }
    context.show(&app, views::app);
    Ok(())
}
