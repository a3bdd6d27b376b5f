//! `allod why`: why the replicas of an app are where they are, and what keeps them from being ready.

use allod_api::client::{Result, Target, app_of};
use allod_node::view;
use serde::Serialize;

use crate::context::Context;
use crate::render::views;

/// How many of the newest events are told.
const EVENTS: usize = 10;

/// Explain the state of an app: each replica, what every node says to it, what happened last, and its last words.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app, or one of its services.
    app: Target,
}

#[derive(Serialize)]
struct Why {
    app: view::App,
    verdicts: Vec<view::Verdict>,
    events: Vec<view::Happening>,
    last_lines: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let apps = client.apps_with(&args.app.name).await?;
    let wanted = app_of(&apps, &args.app)?;
    let id = wanted.app.app.to_string();
    let mut verdicts = client.verdicts(&id).await?;
    if let Some(service) = wanted.service {
        verdicts.retain(|verdict| verdict.service == service.name);
    }
    let why = Why {
        verdicts,
        events: client.events(Some(&id), Some(EVENTS)).await?,
        last_lines: client.last_lines(wanted.app, wanted.service).await,
        app: wanted.app.clone(),
    };
    context.show(&why, |why| {
        let mut text = views::app(&why.app);
        text.push_str("\n\nwhere it may run\n");
        text.push_str(&views::verdicts(&why.verdicts));
        for (title, lines) in [
            (
                "what happened",
                why.events.iter().map(views::happening).collect(),
            ),
            ("last words", why.last_lines.clone()),
        ] {
            if !lines.is_empty() {
                text.push_str(&format!("\n\n{title}\n  {}", lines.join("\n  ")));
            }
        }
        text
    });
    Ok(())
}
