//! `allod plan`: what a deployment would do.

use allod_api::client::Result;

use super::{launch, source};
use crate::context::Context;
use crate::render::views;

/// Show where an app would run, what it would cost, and every refusal with its reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: source::Source,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let lowered = args.source.lower(context)?;
    let (_, prepared, plan) = launch::rehearse(&client, lowered).await?;
    context.show(&plan, |plan| views::plan(plan, &prepared.names));
    match launch::refused(&plan) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
