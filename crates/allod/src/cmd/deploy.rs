//! `allod deploy`: a compose file as an app, or a new revision of it.

use allod_api::client::{Goal, Result};

use allod_state::PlanId;

use super::{launch, source};
use crate::context::Context;
use crate::render::views;

/// Run a compose file, or bring a running app to its newest form, and wait until it is ready.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: source::Source,
    /// Deploy only what comes to this plan, as `allod plan` names it; be refused otherwise.
    #[arg(long, value_name = "PLAN")]
    plan: Option<PlanId>,
    /// Do not wait until it is ready.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let lowered = args.source.lower(context)?;
    let goal = (!args.no_wait).then(Goal::default);
    let app = launch::launch(context, &client, lowered, args.plan, goal).await?;
    context.show(&app, views::started);
    Ok(())
}
