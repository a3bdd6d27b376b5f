//! `allod events`: what happened.

use allod_api::client::{Result, Target, app_of};

use crate::context::Context;
use crate::render::views;

/// Tell what happened to an app, or to everything of the account.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app, or one of its services.
    app: Option<Target>,
    /// Wait for more.
    #[arg(short, long)]
    follow: bool,
    /// About so many of the last ones.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let app = match &args.app {
        None => None,
        Some(target) => {
            let apps = client.apps_with(&target.name).await?;
            Some(app_of(&apps, target)?.app.app.to_string())
        }
    };
    let happened = client.events(app.as_deref(), Some(args.limit)).await?;
    if !args.follow {
        context.show(&happened, |all| {
            let lines: Vec<String> = all.iter().map(views::happening).collect();
            if lines.is_empty() {
                "nothing happened yet".into()
            } else {
                lines.join("\n")
            }
        });
        return Ok(());
    }
    for happening in &happened {
        context.show_line(happening, views::happening);
    }
    let newest = happened.iter().map(|one| (one.height, one.index)).max();
    let mut events = client.follow_events(app.as_deref(), newest).await?;
    while let Some(happening) = events.next().await? {
        context.show_line(&happening, views::happening);
    }
    Ok(())
}
