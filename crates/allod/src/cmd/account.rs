//! `allod account`: the account that commands act for.

use std::collections::BTreeMap;

use allod_api::client::Result;
use allod_node::view::Account;
use allod_state::Label;
use clap::Subcommand;

use super::keys;
use crate::context::Context;
use crate::render::table::pairs;

/// Show the account.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the account with its credits and keys.
    Show,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::Show => {
            let account = client.own_account().await?;
            let names = keys::names(&client).await;
            context.show(&account, |account| show(account, &names));
        }
    }
    Ok(())
}

fn show(account: &Account, names: &BTreeMap<Label, String>) -> String {
    let head = pairs(&[
        ("account", account.account.to_string()),
        ("balance", account.balance.to_string()),
        ("line", account.line.to_string()),
        ("available", account.available.to_string()),
    ]);
    format!("{head}\n\n{}", keys::list(account, names))
}
