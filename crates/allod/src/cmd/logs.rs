//! `allod logs`: what replicas wrote.

use allod_api::client::{LogQuery, Result, Target, app_of};

use crate::context::Context;
use crate::render::views;

/// Print the output of an app's replicas.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app or service: APP, APP/SERVICE, or a name that only one of them bears.
    target: Target,
    /// Wait for more.
    #[arg(short, long)]
    follow: bool,
    /// Begin with about so many of the last lines of each replica.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    tail: usize,
    /// Only this replica.
    #[arg(long, value_name = "N")]
    replica: Option<u32>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let apps = client.apps_with(&args.target.name).await?;
    let wanted = app_of(&apps, &args.target)?;
    let replicas: u32 = match wanted.service {
        Some(service) => service.wanted,
        None => wanted
            .app
            .services
            .iter()
            .map(|service| service.wanted)
            .sum(),
    };
    let is_named = replicas > 1 && args.replica.is_none();
    let query = LogQuery {
        service: wanted.service.map(|service| service.name.clone()),
        replica: args.replica,
        tail: Some(args.tail),
        is_followed: args.follow,
    };
    let mut lines = client.logs(&wanted.app.app.to_string(), &query).await?;
    for node in lines.missing() {
        context.tell(&format!(
            "note: {node} cannot be asked: what it has is missing here; see who is reached: allod network peers"
        ));
    }
    while let Some(line) = lines.next().await? {
        context.show_line(&line, |line| views::log_line(line, is_named));
    }
    Ok(())
}
