//! `allod delete`: the end of an app.

use allod_api::client::{Error, Result};
use allod_node::view;
use allod_state::app::Delete;
use allod_state::volume::Standing;
use allod_state::{Action, Label};
use serde::Serialize;

use crate::context::Context;

/// End an app. Its volumes are kept and listed, unless they are given up with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app.
    app: String,
    /// Give its volumes up too: their data are removed.
    #[arg(long)]
    volumes: bool,
}

#[derive(Serialize)]
struct Deleted {
    receipt: view::Receipt,
    kept_volumes: Vec<view::Volume>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let (apps, before) = tokio::try_join!(client.apps_with(&args.app), client.volumes())?;
    let is_meant = |app: &&view::App| app.name == args.app || app.app.to_string() == args.app;
    let app = apps.iter().find(is_meant).ok_or_else(|| Error::NotFound {
        kind: "app",
        name: args.app.clone(),
    })?;
    let label = Label::of(client.account().as_bytes(), &app.name);
    let own: Vec<view::Volume> = before
        .into_iter()
        .filter(|volume| volume.app == label && volume.standing != Standing::Dropped)
        .collect();
    let names: Vec<&str> = own.iter().map(|volume| volume.name.as_str()).collect();
    let fate = match (own.is_empty(), args.volumes) {
        (true, _) => String::new(),
        (false, true) => format!(" and the data of {}", names.join(", ")),
        (false, false) => format!(" (its volumes stay: {})", names.join(", ")),
    };
    context.confirm(&format!("Delete {}{fate}?", app.name))?;
    let delete = Delete {
        app: app.app,
        drops_volumes: args.volumes,
    };
    let receipt = client.submit(vec![Action::from(delete)]).await?;
    // Their names are read before: without the app nobody may know them any more.
    let kept: Vec<view::Volume> = if args.volumes { Vec::new() } else { own };
    let deleted = Deleted {
        receipt,
        kept_volumes: kept
            .into_iter()
            .map(|volume| view::Volume {
                standing: Standing::Kept,
                ..volume
            })
            .collect(),
    };
    context.show(&deleted, |deleted| {
        let mut text = format!("deleted {}", app.name);
        for volume in &deleted.kept_volumes {
            text.push_str(&format!("\nkept volume {}", volume.name));
        }
        if !deleted.kept_volumes.is_empty() {
            text.push_str("\ndeploy the app again to use them, or: allod volume remove NAME");
        }
        text
    });
    Ok(())
}
