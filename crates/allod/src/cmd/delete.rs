//! `allod delete`: the end of an app, or of everything that one has.

use allod_api::client::{Client, Error, Result};
use allod_node::view;
use allod_state::account::RevokeKey;
use allod_state::app::Delete;
use allod_state::limits::ACTIONS_MAX;
use allod_state::node::WithdrawOffer;
use allod_state::volume::{DropVolume, Standing};
use allod_state::{Action, Label, NodeId, PublicKey};
use serde::Serialize;

use crate::context::Context;

/// End an app. Its volumes are kept and listed, unless they are given up with it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app.
    #[arg(required_unless_present = "everything")]
    app: Option<String>,
    /// Give its volumes up too: their data are removed.
    #[arg(long)]
    volumes: bool,
    /// End all of one's apps with their data, give up volumes that were kept, take back the offers of one's machines, and
    /// revoke all keys but the one that signs and those of machines. Credits and bills stay.
    #[arg(long, conflicts_with_all = ["app", "volumes"])]
    everything: bool,
}

#[derive(Serialize)]
struct Deleted {
    receipt: view::Receipt,
    kept_volumes: Vec<view::Volume>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match &args.app {
        Some(name) => one(context, &client, name, args.volumes).await,
        None => everything(context, &client).await,
    }
}

/// What there is to give up.
#[derive(Serialize)]
struct Everything {
    apps: Vec<String>,
    volumes: Vec<String>,
    offers: Vec<NodeId>,
    keys: Vec<PublicKey>,
}

async fn everything(context: &Context, client: &Client) -> Result<()> {
    let (apps, volumes, nodes, account) = tokio::try_join!(
        client.apps(),
        client.volumes(),
        client.nodes(),
        client.own_account()
    )?;
    let own = nodes
        .iter()
        .filter(|node| node.operator == client.account());
    let offering = own.clone().filter(|node| node.prices.is_some());
    let machines: Vec<NodeId> = own.map(|node| node.node).collect();
    let signer = client.identity().public_key();
    let is_other =
        |key: &PublicKey| *key != signer && !machines.contains(&NodeId::of_first_key(key));
    let keys = account.keys.iter().map(|key| key.key).filter(is_other);
    let kept = volumes
        .iter()
        .filter(|volume| volume.standing == Standing::Kept);
    let all = Everything {
        apps: apps.iter().map(|app| app.name.clone()).collect(),
        volumes: kept.clone().map(|volume| volume.name.clone()).collect(),
        offers: offering.map(|node| node.node).collect(),
        keys: keys.collect(),
    };
    let mut actions: Vec<Action> = Vec::new();
    let delete = |app: &view::App| Delete {
        app: app.app,
        drops_volumes: true,
    };
    let drop = |volume: &view::Volume| DropVolume {
        app: volume.app,
        volume: volume.volume,
    };
    actions.extend(apps.iter().map(|app| Action::from(delete(app))));
    actions.extend(kept.map(|volume| Action::from(drop(volume))));
    let withdraw = |node: &NodeId| WithdrawOffer { node: *node }.into();
    actions.extend(all.offers.iter().map(withdraw));
    let revoke = |key: &PublicKey| RevokeKey { key: *key }.into();
    actions.extend(all.keys.iter().map(revoke));
    if actions.is_empty() {
        context.show(&all, |_| "there is nothing to delete".to_owned());
        return Ok(());
    }
    context.confirm(&format!("Delete {}?", told(&all)))?;
    for part in actions.chunks(ACTIONS_MAX) {
        client.submit(part.to_vec()).await?;
    }
    context.show(&all, |all| {
        format!(
            "deleted {}\nleave with your machine: allod node drain, allod validator leave, allod down",
            told(all)
        )
    });
    Ok(())
}

fn told(all: &Everything) -> String {
    let named = |what: &str, names: &[String]| format!("{what} {}", names.join(", "));
    let counted = |count: usize, one: &str| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {one}{s}")
    };
    let mut parts = Vec::new();
    if !all.apps.is_empty() {
        parts.push(named("with their data", &all.apps));
    }
    if !all.volumes.is_empty() {
        parts.push(named("kept volumes", &all.volumes));
    }
    if !all.offers.is_empty() {
        parts.push(format!(
            "the offers of {}",
            counted(all.offers.len(), "machine")
        ));
    }
    if !all.keys.is_empty() {
        parts.push(counted(all.keys.len(), "other key"));
    }
    parts.join("; ")
}

async fn one(context: &Context, client: &Client, name: &str, drops_volumes: bool) -> Result<()> {
    let (apps, before) = tokio::try_join!(client.apps_with(name), client.volumes())?;
    let is_meant = |app: &&view::App| app.name == name || app.app.to_string() == name;
    let app = apps.iter().find(is_meant).ok_or_else(|| Error::NotFound {
        kind: "app",
        name: name.to_owned(),
    })?;
    let label = Label::of(client.account().as_bytes(), &app.name);
    let own: Vec<view::Volume> = before
        .into_iter()
        .filter(|volume| volume.app == label && volume.standing != Standing::Dropped)
        .collect();
    let names: Vec<&str> = own.iter().map(|volume| volume.name.as_str()).collect();
    let fate = match (own.is_empty(), drops_volumes) {
        (true, _) => String::new(),
        (false, true) => format!(" and the data of {}", names.join(", ")),
        (false, false) => format!(" (its volumes stay: {})", names.join(", ")),
    };
    context.confirm(&format!("Delete {}{fate}?", app.name))?;
    let delete = Delete {
        app: app.app,
        drops_volumes,
    };
    let receipt = client.submit(vec![Action::from(delete)]).await?;
    // Their names are read before: without the app nobody may know them any more.
    let kept: Vec<view::Volume> = if drops_volumes { Vec::new() } else { own };
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
