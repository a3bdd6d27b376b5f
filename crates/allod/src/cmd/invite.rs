//! `allod invite`: a way into this network for somebody else's machine.

use std::time::Duration;

use allod_api::client::{Client, Result, parse_span};
use allod_node::invite::{self, Entrance, Invite};
use allod_node::time::now_ms;
use allod_state::Action;
use allod_state::account::AddKey;
use allod_state::account::grant::Grant;

use crate::context::{Context, usage};

/// Print an invite, by which one machine of somebody else's joins this network.
///
/// Whoever holds it opens an account of its own, which owns nothing, and lists one machine. It is used up by that:
/// `allod join INVITE` on the other machine. Take it back with `allod keys revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For a machine and its owner; there is no other kind yet.
    #[arg(long)]
    node: bool,
    /// How long it can be used.
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "1d")]
    ttl: Duration,
}

/// How long it may take until this node listens to others: it begins with the first invite.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let (secret, key) = invite::draw()?;
    let ttl_ms = u64::try_from(args.ttl.as_millis()).unwrap_or(u64::MAX);
    let network = client.network().await?;
    let expires_ms = now_ms().max(network.time_ms).saturating_add(ttl_ms);
    let grant = Grant::of_invite(expires_ms);
    client
        .submit(vec![Action::from(AddKey { key, grant })])
        .await?;
    let invite = Invite {
        network: network.network,
        inviter: client.account(),
        secret,
        expires_ms,
        entrance: entrance(&client).await?,
    };
    context.show(&invite.to_string(), Clone::clone);
    context.tell(&format!(
        "on the other machine: allod join INVITE; take it back: allod keys revoke {key}"
    ));
    Ok(())
}

async fn entrance(client: &Client) -> Result<Entrance> {
    let deadline = tokio::time::Instant::now() + LISTENS_WITHIN;
    loop {
        if let Some(entrance) = client.network().await?.entrance {
            let newer = "the node says where newcomers get in as another version does";
            return entrance
                .parse()
                .map_err(|_| usage(newer, "update allod here or there"));
        }
        if tokio::time::Instant::now() >= deadline {
            let next = "see why in its log; start it with another --peers";
            return Err(usage("the node does not listen for other machines", next));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
