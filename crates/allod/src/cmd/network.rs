//! `allod network`: the ledger that this home belongs to.

use allod_api::client::Result;
use allod_node::view::{Network, Peer};
use clap::Subcommand;

use crate::context::Context;
use crate::render::table::{pairs, table};
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
    /// Show the machines that this node has spoken to, by which way, and what was wrong.
    Peers,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::Status => context.show(&client.network().await?, |network| {
            show(network, client.url())
        }),
        Command::Peers => context.show(&client.peers().await?, |peers| list(peers)),
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

fn list(peers: &[Peer]) -> String {
    let row = |peer: &Peer| {
        let way = match (&peer.by, peer.is_direct) {
            (None, _) => "not reached",
            (Some(_), true) => "direct",
            (Some(_), false) => "relayed",
        };
        let by = peer.by.clone().or_else(|| peer.problem.clone());
        let round_trip = peer.by.as_ref().map(|_| {
            let tenths = peer.round_trip_us / 100;
            format!("{}.{} ms", tenths / 10, tenths % 10)
        });
        [
            peer.name.clone().unwrap_or_default(),
            peer.node.short(),
            way.to_owned(),
            round_trip.unwrap_or_default(),
            by.unwrap_or_default(),
        ]
    };
    table(
        ["NODE", "ID", "WAY", "ROUND TRIP>", "BY"],
        peers.iter().map(row).collect(),
    )
}
