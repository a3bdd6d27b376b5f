//! `allod keys`: who may act for the account, and within which bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use allod_api::client::{Client, Error, Result, parse_budget, parse_span};
use allod_node::identity::{Keyfile, Lock};
use allod_node::time::now_ms;
use allod_node::view::{Account, Key};
use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RevokeKey};
use allod_state::{Action, Label, PublicKey};
use clap::Subcommand;

use crate::context::{Context, usage};
use crate::render::table::{pairs, table};
use crate::render::text::utc;

/// List, add, show and revoke the account's keys.
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
    /// Show what one key may do, and what it spent.
    Show {
        /// The key.
        key: PublicKey,
    },
    /// Take a key away at once.
    Revoke {
        /// The key.
        key: PublicKey,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The public key to add: that of `allod identity init --account`, made where it will be used.
    #[arg(required_unless_present = "out", conflicts_with = "out")]
    key: Option<PublicKey>,
    /// Make a new key and write it to this new file, to be used with --identity; whoever reads the file has the key.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What it may do: deploy, scale, delete, transfer, keys, nodes, read.
    #[arg(long, value_name = "VERB", value_delimiter = ',', required = true, value_parser = verb)]
    verbs: Vec<Verb>,
    /// Only with this app, which need not exist yet; may be repeated. With all apps where none is named.
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
        Command::List => {
            let account = client.own_account().await?;
            let names = names(&client).await;
            context.show(&account, |account| list(account, &names));
        }
        Command::Add(args) => add(context, &client, args).await?,
        Command::Show { key } => {
            let account = client.own_account().await?;
            let found = account.keys.iter().find(|found| found.key == key);
            let found = found.ok_or_else(|| Error::NotFound {
                kind: "key",
                name: key.to_string(),
            })?;
            let names = names(&client).await;
            context.show(found, |found| show(found, &names));
        }
        Command::Revoke { key } => {
            context.confirm(&format!("Revoke {key}?"))?;
            let receipt = client.submit(vec![Action::from(RevokeKey { key })]).await?;
            context.show(&receipt, |_| format!("revoked {key}"));
        }
    }
    Ok(())
}

async fn add(context: &Context, client: &Client, args: Add) -> Result<()> {
    let now_ms = client.network().await?.time_ms.max(now_ms());
    let grant = args.grant(client, now_ms);
    let made = args.out.as_deref().map(|out| make(context, client, out));
    let made = made.transpose()?;
    let key = match (args.key, &made) {
        (Some(key), _) => key,
        (None, Some(keyfile)) => keyfile.describe()?.key,
        (None, None) => return Err(usage("no key is named", "allod keys add KEY --verbs read")),
    };
    let submitted = client.submit(vec![Action::from(AddKey { key, grant })]);
    let receipt = match (submitted.await, &made) {
        (Ok(receipt), _) => receipt,
        // A key that was refused is nobody's. After silence it may have been added, and stays.
        (Err(error @ (Error::Rejected(_) | Error::Problem(_))), Some(keyfile)) => {
            let path = keyfile.path();
            std::fs::remove_file(path).map_err(|source| Error::File {
                attempted: format!("remove {}", path.display()),
                source,
            })?;
            return Err(error);
        }
        (Err(error), _) => return Err(error),
    };
    context.show(&receipt, |_| format!("added {key}"));
    if let Some(keyfile) = &made {
        let (file, url) = (keyfile.path().display(), client.url());
        context.tell(&format!(
            "use it with: allod --identity {file} --api {url} status"
        ));
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

/// Draws a new key for the account and keeps it in a file of its own.
fn make(context: &Context, client: &Client, out: &Path) -> Result<Keyfile> {
    let path = std::path::absolute(out).map_err(|source| Error::File {
        attempted: format!("find {}", out.display()),
        source,
    })?;
    let keyfile = context.home()?.keyfile(path);
    let identity = client.identity().rotated()?;
    keyfile.create_with(&identity, Lock::Nothing)?;
    Ok(keyfile)
}

fn verb(name: &str) -> Result<Verb, String> {
    Verb::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        format!("it is none of {}", names.join(", "))
    })
}

/// The apps' names by their blinded names, as far as the key may see them.
pub(crate) async fn names(client: &Client) -> BTreeMap<Label, String> {
    let apps = client.apps().await.unwrap_or_default();
    let label = |name: &str| Label::of(client.account().as_bytes(), name);
    apps.into_iter()
        .map(|app| (label(&app.name), app.name))
        .collect()
}

/// The keys of an account.
pub(crate) fn list(account: &Account, names: &BTreeMap<Label, String>) -> String {
    let row = |key: &Key| {
        [
            key.key.to_string(),
            key.verbs.join(","),
            apps(key, names),
            key.budget.map_or_else(|| "none".to_owned(), budget),
            key.expires_ms.map_or_else(|| "never".to_owned(), utc),
            key.nonce.to_string(),
        ]
    };
    table(
        ["KEY", "VERBS", "APPS", "BUDGET", "EXPIRES", "TRANSACTIONS>"],
        account.keys.iter().map(row).collect(),
    )
}

fn show(key: &Key, names: &BTreeMap<Label, String>) -> String {
    let spent = |found: allod_node::view::Budget| {
        format!(
            "{}; {} sent in the current period, and its apps' cost comes on top",
            budget(found),
            found.spent
        )
    };
    pairs(&[
        ("key", key.key.to_string()),
        ("verbs", key.verbs.join(", ")),
        ("apps", apps(key, names)),
        (
            "budget",
            key.budget.map_or_else(|| "none".to_owned(), spent),
        ),
        (
            "expires",
            key.expires_ms.map_or_else(|| "never".to_owned(), utc),
        ),
        ("transactions", key.nonce.to_string()),
    ])
}

fn apps(key: &Key, names: &BTreeMap<Label, String>) -> String {
    let Some(labels) = &key.apps else {
        return "all".to_owned();
    };
    let name = |label: &Label| names.get(label).cloned().unwrap_or_else(|| label.short());
    let named: Vec<String> = labels.iter().map(name).collect();
    if named.is_empty() {
        "none".to_owned()
    } else {
        named.join(",")
    }
}

/// A budget as people write it.
fn budget(budget: allod_node::view::Budget) -> String {
    let period = match budget.period_ms {
        3_600_000 => "hour".to_owned(),
        86_400_000 => "day".to_owned(),
        604_800_000 => "week".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms => format!("{}s", ms / 1000),
    };
    format!("{}/{period}", budget.amount)
}
