//! `allod validator`: the machines that decide blocks.

use allod_api::client::Result;
use allod_node::view::{Standing, Validator};
use allod_state::Action;
use allod_state::validator::{Leave, Stand, Vote};
use clap::Subcommand;

use super::node::named;
use crate::context::Context;
use crate::render::table::table;

/// Show and choose the machines that decide blocks.
///
/// A machine stands by its operator's word, and the operators of validators elect it with more than two thirds of the
/// votes. It decides with the others as soon as four are elected: four can lose one and go on, two or three cannot.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show who decides blocks, who waits to, and who stands for it.
    Status,
    /// Put a machine of one's own up for election.
    Stand {
        /// The node's name or id.
        node: String,
    },
    /// Vote for a machine with all of one's validators.
    Add {
        /// The node's name or id.
        node: String,
    },
    /// Vote a machine out with all of one's validators; before it is elected, take the vote for it back.
    Remove {
        /// The node's name or id.
        node: String,
    },
    /// Stop deciding, or standing, with a machine of one's own.
    Leave {
        /// The node's name or id.
        node: String,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let action: Action = match args.command {
        Command::Status => {
            context.show(&client.validators().await?, |all| list(all));
            return Ok(());
        }
        Command::Stand { node } => {
            let node = named(&client, &node).await?;
            Stand { node }.into()
        }
        Command::Add { node } => {
            let (node, is_in) = (named(&client, &node).await?, true);
            Vote { node, is_in }.into()
        }
        Command::Remove { node } => {
            let (node, is_in) = (named(&client, &node).await?, false);
            Vote { node, is_in }.into()
        }
        Command::Leave { node } => {
            let node = named(&client, &node).await?;
            Leave { node }.into()
        }
    };
    client.submit(vec![action]).await?;
    context.show(&client.validators().await?, |all| list(all));
    Ok(())
}

fn list(all: &[Validator]) -> String {
    let validating = all.iter().filter(|it| it.standing == Standing::Validates);
    let count = validating.count();
    let row = |validator: &Validator| {
        let standing = match validator.standing {
            Standing::Validates => "decides",
            Standing::Waits => "elected, waits for more",
            Standing::Stands => "stands",
            Standing::Barred => "barred",
        };
        let change = match (validator.standing, validator.votes.len()) {
            (_, 0) => String::new(),
            (Standing::Stands, votes) => format!("{votes} of {count} want it in"),
            (_, votes) => format!("{votes} of {count} want it out"),
        };
        [
            validator.name.clone().unwrap_or_default(),
            validator.node.short(),
            validator.operator.map(|it| it.short()).unwrap_or_default(),
            standing.to_owned(),
            change,
        ]
    };
    let rows = all.iter().map(row).collect();
    let table = table(["NODE", "ID", "OPERATOR", "STANDING", "VOTES"], rows);
    format!("{table}\n{}", may_fail(count))
}

/// What the network survives: with n validators of equal power, fewer than a third may fail (n >= 3f + 1).
fn may_fail(count: usize) -> String {
    match (count, count.saturating_sub(1) / 3) {
        (1, _) => {
            "one machine decides: where it stops, changes stop, and what runs goes on".to_owned()
        }
        (count, 0) => format!("all {count} have to agree: where one stops, changes stop"),
        (count, 1) => format!("one of {count} may fail"),
        (count, failing) => format!("{failing} of {count} may fail"),
    }
}
