//! `allod keys`: who may act for the account, and within which bounds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use allod_api::client::{Client, Result, parse_budget, parse_span};
use allod_node::home::Home;
use allod_node::view::{Account, Key};
use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RevokeKey};
use allod_state::{Action, Label, PublicKey};
use clap::Subcommand;

use crate::context::{Context, usage};
use crate::render::table::table;
use crate::render::text::utc;

/// List, add and revoke the account's keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the account's keys and what each may do.
    List,
    /// Add a key with a grant.
    Add(Add),
    /// Take a key away at once.
    Revoke {
        /// The key.
        key: PublicKey,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The public key to add.
    #[arg(required_unless_present = "new_home", conflicts_with = "new_home")]
    key: Option<PublicKey>,
    /// Make a new key and keep it in this directory, to be used as ALLOD_HOME with --api.
    #[arg(long, value_name = "DIR")]
    new_home: Option<PathBuf>,
    /// What it may do: deploy, scale, delete, transfer, keys, nodes, read.
    #[arg(long, value_name = "VERB", value_delimiter = ',', required = true, value_parser = verb)]
    verbs: Vec<Verb>,
    /// Only with this app; may be repeated. With all apps where none is named.
    #[arg(long, value_name = "APP")]
    app: Vec<String>,
    /// What it may spend or reserve, such as 5/day.
    #[arg(long, value_name = "AMOUNT/PERIOD", value_parser = parse_budget)]
    budget: Option<Budget>,
    /// For how long, such as 30d; for ever where it is not given.
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    ttl: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::List => context.show(&client.own_account().await?, list),
        Command::Add(add) => {
            let now_ms = client.network().await?.time_ms;
            let grant = add.grant(&client, now_ms);
            let key = match (add.key, &add.new_home) {
                (Some(key), _) => key,
                (None, Some(dir)) => make(&client, dir)?,
                (None, None) => {
                    return Err(usage("no key is named", "allod keys add KEY --verbs read"));
                }
            };
            let receipt = client
                .submit(vec![Action::from(AddKey { key, grant })])
                .await?;
            context.show(&receipt, |_| format!("added {key}"));
            if let Some(dir) = &add.new_home {
                let (dir, url) = (dir.display(), client.url());
                context.tell(&format!(
                    "use it with: ALLOD_HOME={dir} allod --api {url} status"
                ));
            }
        }
        Command::Revoke { key } => {
            context.confirm(&format!("Revoke {key}?"))?;
            let receipt = client.submit(vec![Action::from(RevokeKey { key })]).await?;
            context.show(&receipt, |_| format!("revoked {key}"));
        }
    }
    Ok(())
}

impl Add {
    fn grant(&self, client: &Client, now_ms: u64) -> Grant {
        let label = |name: &String| Label::of(client.account().as_bytes(), name);
        let apps = if self.app.is_empty() {
            AppSelector::All
        } else {
            AppSelector::Only(self.app.iter().map(label).collect())
        };
        let can_nodes = self.verbs.contains(&Verb::Nodes) || self.verbs.contains(&Verb::Report);
        let nodes = if can_nodes {
            NodeSelector::All
        } else {
            NodeSelector::Only(BTreeSet::new())
        };
        let ttl_ms = self
            .ttl
            .map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Grant {
            verbs: self.verbs.iter().copied().collect(),
            apps,
            nodes,
            budget: self.budget,
            expires_ms: ttl_ms.map(|ttl| now_ms.saturating_add(ttl)),
        }
    }
}

/// Draws a new key for the account and keeps it in a home of its own.
fn make(client: &Client, dir: &Path) -> Result<PublicKey> {
    let home = Home::at(dir)?;
    home.prepare()?;
    let identity = client.identity().rotated()?;
    home.account_keyfile().create(&identity, None)?;
    Ok(identity.public_key())
}

fn verb(name: &str) -> Result<Verb, String> {
    Verb::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        format!("it is none of {}", names.join(", "))
    })
}

/// The keys of an account.
pub(crate) fn list(account: &Account) -> String {
    let row = |key: &Key| {
        [
            key.key.to_string(),
            key.verbs.join(","),
            key.expires_ms.map_or_else(|| "never".to_owned(), utc),
            key.nonce.to_string(),
        ]
    };
    table(
        ["KEY", "VERBS", "EXPIRES", "TRANSACTIONS>"],
        account.keys.iter().map(row).collect(),
    )
}
