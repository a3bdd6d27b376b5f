//! `allod node`: machines.

use allod_api::client::{Client, Error, Result};
use allod_node::view;
use allod_state::node::CordonNode;
use allod_state::{Action, NodeId};
use clap::Subcommand;

use crate::context::Context;
use crate::render::table::table;
use crate::render::text::shares;

/// List nodes, and stop or resume placing on one's own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List nodes with what they give and what of it is used.
    List,
    /// Place no new replicas on a node; those that run stay.
    Cordon {
        /// The node's name or id.
        node: String,
    },
    /// Place new replicas on a node again.
    Uncordon {
        /// The node's name or id.
        node: String,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::List => {
            context.show(&client.nodes().await?, |nodes| list(nodes));
            Ok(())
        }
        Command::Cordon { node } => cordon(context, &client, &node, true).await,
        Command::Uncordon { node } => cordon(context, &client, &node, false).await,
    }
}

/// The node of that name or id.
pub(super) async fn named(client: &Client, name: &str) -> Result<NodeId> {
    let nodes = client.nodes().await?;
    let is_meant = |node: &&view::Node| node.name == name || node.node.to_string() == name;
    let mut found = nodes.iter().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node.node),
        (None, _) => Err(Error::NotFound {
            kind: "node",
            name: name.to_owned(),
        }),
        (Some(_), Some(_)) => {
            let ids = nodes
                .iter()
                .filter(is_meant)
                .map(|node| node.node.to_string());
            Err(Error::Ambiguous {
                name: name.to_owned(),
                candidates: ids.collect(),
            })
        }
    }
}

async fn cordon(context: &Context, client: &Client, name: &str, is_cordoned: bool) -> Result<()> {
    let node = named(client, name).await?;
    let receipt = client
        .submit(vec![Action::from(CordonNode { node, is_cordoned })])
        .await?;
    context.show(&receipt, |_| {
        let state = if is_cordoned {
            "takes no new replicas"
        } else {
            "takes new replicas"
        };
        format!("{name} {state}")
    });
    Ok(())
}

fn list(nodes: &[view::Node]) -> String {
    let row = |node: &view::Node| {
        let [cpus, memory, disk] = shares(&node.used, &node.capacity);
        let state = if node.is_cordoned { "cordoned" } else { "open" };
        [
            node.name.clone(),
            node.node.short(),
            node.region.clone().unwrap_or_default(),
            state.to_owned(),
            cpus,
            memory,
            disk,
        ]
    };
    table(
        ["NODE", "ID", "REGION", "STATE", "CPUS>", "MEMORY>", "DISK>"],
        nodes.iter().map(row).collect(),
    )
}
