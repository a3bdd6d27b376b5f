//! `allod node`: machines.

use std::time::Duration;

use allod_api::client::{Client, Error, Result, parse_cpus, parse_size};
use allod_node::{offer, view};
use allod_state::node::{CordonNode, DrainNode, Offer, PublishOffer, Resources, WithdrawOffer};
use allod_state::text::Word;
use allod_state::{Action, Credits, NodeId};
use clap::Subcommand;
use tokio::time::{Instant, sleep};

use crate::context::{Context, usage};
use crate::render::table::table;
use crate::render::text::{amounts, shares};

/// How often a machine that is being drained is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// List nodes, and say what one's own give.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List nodes with what they give and what of it is used.
    List,
    /// Let everybody in the network place replicas on a node of yours, or change what it gives and asks.
    ///
    /// What is not said stays as it was offered last; for the machine of this home it is what the machine has, less what
    /// the host keeps for itself. Replicas that run keep the price they were placed at.
    Offer(OfferArgs),
    /// Take the offer of a node back: no new replicas are placed on it; those that run stay.
    Withdraw {
        /// The node's name or id.
        node: String,
    },
    /// Have what runs on a node replaced elsewhere, the new replicas first, and wait until nothing is left.
    ///
    /// What fits nowhere else, such as replicas with volumes, stays and is named.
    Drain {
        /// The node's name or id.
        node: String,
    },
    /// Place no new replicas on a node; those that run stay.
    Cordon {
        /// The node's name or id.
        node: String,
    },
    /// Place new replicas on a node again; ends a drain, too.
    Uncordon {
        /// The node's name or id.
        node: String,
    },
}

/// What a node gives, and at what price.
#[derive(Debug, clap::Args)]
struct OfferArgs {
    /// The node's name or id; the machine of this home where it is not given.
    node: Option<String>,
    /// CPUs for all replicas together, such as 1.5.
    #[arg(long, value_name = "N", value_parser = parse_cpus)]
    cpus: Option<u64>,
    /// Memory for all replicas together, such as 4g.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Disk for all replicas together, such as 50g.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    disk: Option<u64>,
    /// Credits for a CPU and hour.
    #[arg(long, value_name = "CREDITS")]
    cpu_price: Option<Credits>,
    /// Credits for a GiB of memory and hour.
    #[arg(long, value_name = "CREDITS")]
    memory_price: Option<Credits>,
    /// Credits for a GiB of disk and hour.
    #[arg(long, value_name = "CREDITS")]
    disk_price: Option<Credits>,
    /// Where the machine is, such as eu-west.
    #[arg(long, value_name = "REGION")]
    region: Option<Word>,
    /// What may be asked for of it, such as ssd; may be repeated, and replaces those offered before.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<Word>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::List => {
            context.show(&client.nodes().await?, |nodes| list(nodes));
            Ok(())
        }
        Command::Offer(args) => publish(context, &client, args).await,
        Command::Withdraw { node } => {
            let id = named(&client, &node).await?;
            let action = WithdrawOffer { node: id }.into();
            change(context, &client, action, &format!("{node} offers nothing")).await
        }
        Command::Drain { node } => drain(context, &client, &node).await,
        Command::Cordon { node } => cordon(context, &client, &node, true).await,
        Command::Uncordon { node } => cordon(context, &client, &node, false).await,
    }
}

/// The node of that name or id.
pub(super) async fn named(client: &Client, name: &str) -> Result<NodeId> {
    Ok(look(client, name).await?.node)
}

async fn look(client: &Client, name: &str) -> Result<view::Node> {
    let nodes = client.nodes().await?;
    let is_meant = |node: &&view::Node| node.name == name || node.node.to_string() == name;
    let mut found = nodes.iter().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node.clone()),
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

async fn change(context: &Context, client: &Client, action: Action, told: &str) -> Result<()> {
    let receipt = client.submit(vec![action]).await?;
    context.show(&receipt, |_| told.to_owned());
    Ok(())
}

async fn publish(context: &Context, client: &Client, args: OfferArgs) -> Result<()> {
    let own = client.network().await?.node;
    let name = args.node.clone().unwrap_or_else(|| own.to_string());
    let node = look(client, &name).await?;
    let offer = args.over(before(context, &node, node.node == own)?);
    let [cpus, memory, disk] = amounts(&offer.capacity);
    let text = format!(
        "{} offers {cpus} CPUs, {memory} of memory and {disk} of disk in {}",
        node.name, offer.region
    );
    let node = node.node;
    change(context, client, PublishOffer { node, offer }.into(), &text).await
}

/// What a node offers, or what there is to offer on this machine.
fn before(context: &Context, node: &view::Node, is_own: bool) -> Result<Offer> {
    if let (Some(prices), Some(region)) = (node.prices, &node.region) {
        let word = |text: &String| {
            text.parse::<Word>().map_err(|error| Error::Nonsense {
                attempted: "GET /v1/nodes".into(),
                cause: error.to_string(),
            })
        };
        return Ok(Offer {
            capacity: node.capacity,
            prices,
            isolation: node.isolation.iter().copied().collect(),
            region: word(region)?,
            tags: node.tags.iter().map(word).collect::<Result<_>>()?,
        });
    }
    let dir = context.home()?.node_dir();
    if is_own && dir.exists() {
        return Ok(offer::of_this_machine(&dir));
    }
    Err(usage(
        format!(
            "{} offers nothing yet, and is not the machine of this home",
            node.name
        ),
        "run `allod node offer` on that machine",
    ))
}

impl OfferArgs {
    fn over(self, before: Offer) -> Offer {
        let mut offer = before;
        let Resources {
            cpu_milli,
            memory_bytes,
            storage_bytes,
        } = &mut offer.capacity;
        *cpu_milli = self.cpus.unwrap_or(*cpu_milli);
        *memory_bytes = self.memory.unwrap_or(*memory_bytes);
        *storage_bytes = self.disk.unwrap_or(*storage_bytes);
        let prices = &mut offer.prices;
        prices.cpu_core_hour = self.cpu_price.unwrap_or(prices.cpu_core_hour);
        prices.memory_gib_hour = self.memory_price.unwrap_or(prices.memory_gib_hour);
        prices.storage_gib_hour = self.disk_price.unwrap_or(prices.storage_gib_hour);
        offer.region = self.region.unwrap_or(offer.region);
        if !self.tags.is_empty() {
            offer.tags = self.tags.into_iter().collect();
        }
        offer
    }
}

async fn cordon(context: &Context, client: &Client, name: &str, is_cordoned: bool) -> Result<()> {
    let node = named(client, name).await?;
    let state = if is_cordoned {
        "takes no new replicas"
    } else {
        "takes new replicas"
    };
    let action = CordonNode { node, is_cordoned }.into();
    change(context, client, action, &format!("{name} {state}")).await
}

/// Drains a node, and waits until nothing takes anything of it any more.
async fn drain(context: &Context, client: &Client, name: &str) -> Result<()> {
    let node = named(client, name).await?;
    let receipt = client.submit(vec![DrainNode { node }.into()]).await?;
    let deadline = Instant::now() + context.timeout();
    loop {
        let now = look(client, &node.to_string()).await?;
        if now.used == Resources::default() {
            context.show(&receipt, |_| format!("{name} has nothing left"));
            return Ok(());
        }
        if !now.is_draining {
            return Err(usage(
                format!("{name} was opened again meanwhile, and keeps what it has"),
                format!("start over: allod node drain {name}"),
            ));
        }
        if Instant::now() >= deadline {
            // What fits nowhere else stays, and is tried again.
            let [cpus, memory, disk] = amounts(&now.used);
            return Err(Error::Timeout {
                attempted: format!(
                    "draining {name}, whose replicas still take {cpus} CPUs, {memory} of memory and {disk} of disk,"
                ),
                seconds: context.timeout().as_secs(),
            });
        }
        sleep(LOOK_PERIOD).await;
    }
}

fn list(nodes: &[view::Node]) -> String {
    let row = |node: &view::Node| {
        let [cpus, memory, disk] = shares(&node.used, &node.capacity);
        let state = match (node.is_draining, node.is_cordoned, &node.prices) {
            _ if node.is_unreachable => "not reached",
            (true, ..) => "draining",
            (false, true, _) => "cordoned",
            (false, false, None) => "offers nothing",
            (false, false, Some(_)) => "open",
        };
        [
            node.name.clone(),
            node.node.short(),
            node.region.clone().unwrap_or_default(),
            state.to_owned(),
            format!("{:.2}", f64::from(node.reputation_ppm) / 1e6),
            cpus,
            memory,
            disk,
        ]
    };
    table(
        [
            "NODE",
            "ID",
            "REGION",
            "STATE",
            "REPUTATION>",
            "CPUS>",
            "MEMORY>",
            "DISK>",
        ],
        nodes.iter().map(row).collect(),
    )
}
