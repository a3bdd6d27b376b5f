//! `allod credits`: what the account holds, where it came from, and sending some.

use allod_api::client::Result;
use allod_node::view::{Account, Movement, Receipt};
use allod_state::credit::Transfer;
use allod_state::{AccountId, Action, Credits};
use clap::Subcommand;

use crate::context::Context;
use crate::render::table::{pairs, table};
use crate::render::text::utc;

/// Show and send credits.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the account holds and may spend.
    Balance,
    /// List credits that came and went.
    History {
        /// About so many of the last ones.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Send credits to another account.
    Send {
        /// The account that receives.
        to: AccountId,
        /// How many credits, such as 12 or 0.5.
        amount: Credits,
        /// Why; everybody can read it.
        #[arg(long, default_value = "")]
        memo: String,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::Balance => context.show(&client.own_account().await?, balance),
        Command::History { limit } => {
            let own = client.account();
            let history = client.history(&own, limit).await?;
            context.show(&history, |history| movements(history, &own));
        }
        Command::Send { to, amount, memo } => {
            context.confirm(&format!("Send {amount} credits to {to}?"))?;
            let receipt = client
                .submit(vec![Action::from(Transfer { to, amount, memo })])
                .await?;
            context.show(&receipt, |receipt| sent(receipt, &to, amount));
        }
    }
    Ok(())
}

fn balance(account: &Account) -> String {
    pairs(&[
        ("account", account.account.to_string()),
        ("balance", account.balance.to_string()),
        ("line", account.line.to_string()),
        ("available", account.available.to_string()),
    ])
}

fn movements(history: &[Movement], own: &AccountId) -> String {
    if history.is_empty() {
        return "no credits moved yet".into();
    }
    let row = |movement: &Movement| {
        let (sign, other) = if movement.from == *own {
            ("-", movement.to)
        } else {
            ("+", movement.from)
        };
        let other = if movement.from == movement.to {
            "yourself".to_owned()
        } else {
            other.short()
        };
        [
            utc(movement.time_ms),
            format!("{sign}{}", movement.amount),
            other,
            movement.memo.clone(),
        ]
    };
    table(
        ["TIME", "CREDITS>", "WITH", "MEMO"],
        history.iter().map(row).collect(),
    )
}

fn sent(receipt: &Receipt, to: &AccountId, amount: Credits) -> String {
    format!(
        "sent {amount} credits to {to}\ntransaction {} in block {}, fee {}",
        receipt.transaction, receipt.height, receipt.fee
    )
}
