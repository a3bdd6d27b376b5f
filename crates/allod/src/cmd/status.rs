//! `allod status`: what runs.

use allod_api::client::{Result, Target, app_of};

use crate::context::Context;
use crate::render::views;

/// List apps, or show one with its replicas.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app.
    app: Option<Target>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let apps = client.apps().await?;
    match &args.app {
        None => context.show(&apps, |apps| views::apps(apps)),
        Some(target) => context.show(app_of(&apps, target)?.app, views::app),
    }
    let disk = client.network().await?.disk;
    if disk.is_full {
        context.tell(&views::full_disk(&disk));
    }
    Ok(())
}
