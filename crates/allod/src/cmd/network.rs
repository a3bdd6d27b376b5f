//! `allod network`: the ledger that this home belongs to.

use allod_api::client::Result;
use allod_node::view::Network;
use clap::Subcommand;

use crate::context::Context;
use crate::render::table::pairs;
use crate::render::text::{bytes, utc};

/// Show the network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the network, its newest block and this node.
    Status,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::Status => context.show(&client.network().await?, |network| {
            show(network, client.url())
        }),
    }
    Ok(())
}

fn show(network: &Network, url: &str) -> String {
    let mut rows = vec![
        ("network", network.network.to_string()),
        (
            "height",
            format!("{} at {} UTC", network.height, utc(network.time_ms)),
        ),
        ("validators", network.validators.to_string()),
        ("node", network.node.to_string()),
        ("api", url.to_owned()),
        ("ingress", network.ingress.clone()),
    ];
    let state = if network.disk.is_full {
        ", too little: nothing can be changed until there is more"
    } else {
        ""
    };
    let free = bytes(network.disk.free_bytes);
    rows.push(("disk", format!("{free} free{state}")));
    rows.push((
        "images",
        format!("{} of it", bytes(network.disk.images_bytes)),
    ));
    rows.extend(network.notice.clone().map(|notice| ("notice", notice)));
    pairs(&rows)
}
