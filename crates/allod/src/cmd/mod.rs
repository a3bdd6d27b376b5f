//! The list of commands. Each is a file beside this one: its flags, what it asks of the client, and what it prints.

mod account;
mod bill;
mod completions;
mod config;
mod credits;
mod delete;
mod deploy;
mod doctor;
mod down;
mod events;
mod exec;
mod export;
mod identity;
mod import;
mod invite;
mod join;
mod keys;
mod launch;
mod logs;
mod man;
mod network;
mod node;
mod plan;
mod registry;
mod restart;
mod rollback;
mod run;
mod scale;
mod source;
mod status;
mod validator;
mod version;
mod volume;
mod why;

use std::process::ExitCode;

use allod_api::client::Result;
use clap::{Parser, Subcommand};

use crate::context::{Context, Globals};
use crate::{reference, up};

/// A private cloud of machines of different owners: one binary, one command.
#[derive(Debug, Parser)]
#[command(
    name = "allod",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
#[command(after_help = "Start with `allod up`, then `allod run nginx:alpine --port 80`.")]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The commands, in the order in which help shows them.
#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    Down(down::Args),
    Run(run::Args),
    Plan(plan::Args),
    Deploy(deploy::Args),
    Status(status::Args),
    Logs(logs::Args),
    Exec(exec::Args),
    Scale(scale::Args),
    Restart(restart::Args),
    Rollback(rollback::Args),
    Delete(delete::Args),
    Events(events::Args),
    Why(why::Args),
    Bill(bill::Args),
    Credits(credits::Args),
    Registry(registry::Args),
    Volume(volume::Args),
    Node(node::Args),
    Validator(validator::Args),
    Account(account::Args),
    Keys(keys::Args),
    Network(network::Args),
    Invite(invite::Args),
    Join(join::Args),
    Identity(identity::Args),
    Export(export::Args),
    Import(import::Args),
    Doctor(doctor::Args),
    Version(version::Args),
    Completions(completions::Args),
    Man(man::Args),
    Config(config::Args),
    /// Prints docs/reference/cli.md.
    #[command(hide = true)]
    Reference,
    /// Holds a key open for a while; `allod identity unlock` starts it itself.
    #[command(hide = true, name = identity::HOLDER)]
    IdentityHolder(identity::HolderArgs),
    /// The network process of `allod up`, which starts it itself.
    #[command(hide = true, name = up::NETWORK_PROCESS)]
    NetworkProcess(up::network::Args),
}

impl Cli {
    /// Whether this process serves, and so has a log, instead of answering one question.
    pub(crate) const fn is_server(&self) -> bool {
        matches!(
            self.command,
            Command::Up(_) | Command::Join(_) | Command::NetworkProcess(_)
        )
    }
}

/// Runs the command and says what the process ends with.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let context = Context::new(cli.globals);
    match cli.command {
        Command::Up(args) => ended(up::run(&args)),
        Command::Join(args) => ended(join::run(&args)),
        Command::NetworkProcess(args) => ended(up::network::run(&args)),
        Command::Reference => {
            crate::render::print(&reference::markdown());
            ExitCode::SUCCESS
        }
        Command::Completions(args) => completions::run(&args),
        Command::IdentityHolder(args) => identity::hold(&args),
        Command::Man(args) => man::run(&args),
        command => context.finish(ask(&context, command)),
    }
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::render::complain(&format!("{error:#}"), None);
            ExitCode::FAILURE
        }
    }
}

/// Runs one of the commands that end by themselves. The code is the process's: 0, or that of a process in a replica.
fn ask(context: &Context, command: Command) -> Result<u8> {
    let runtime = context.runtime()?;
    let code = runtime.block_on(dispatch(context, command));
    // A read of the terminal that nobody waits for any more must not hold the process up.
    runtime.shutdown_background();
    code
}

async fn dispatch(context: &Context, command: Command) -> Result<u8> {
    match command {
        Command::Exec(args) => return Box::pin(exec::run(context, args)).await,
        Command::Doctor(args) => return Box::pin(doctor::run(context, &args)).await,
        Command::Bill(args) => return Box::pin(bill::run(context, args)).await,
        Command::Down(args) => down::run(context, &args)?,
        Command::Run(args) => Box::pin(run::run(context, args)).await?,
        Command::Plan(args) => Box::pin(plan::run(context, args)).await?,
        Command::Deploy(args) => Box::pin(deploy::run(context, args)).await?,
        Command::Status(args) => Box::pin(status::run(context, args)).await?,
        Command::Logs(args) => Box::pin(logs::run(context, args)).await?,
        Command::Scale(args) => Box::pin(scale::run(context, args)).await?,
        Command::Restart(args) => Box::pin(restart::run(context, args)).await?,
        Command::Rollback(args) => Box::pin(rollback::run(context, args)).await?,
        Command::Delete(args) => Box::pin(delete::run(context, args)).await?,
        Command::Events(args) => Box::pin(events::run(context, args)).await?,
        Command::Why(args) => Box::pin(why::run(context, args)).await?,
        Command::Credits(args) => Box::pin(credits::run(context, args)).await?,
        Command::Registry(args) => Box::pin(registry::run(context, args)).await?,
        Command::Volume(args) => Box::pin(volume::run(context, args)).await?,
        Command::Node(args) => Box::pin(node::run(context, args)).await?,
        Command::Validator(args) => validator::run(context, args).await?,
        Command::Account(args) => Box::pin(account::run(context, args)).await?,
        Command::Keys(args) => Box::pin(keys::run(context, args)).await?,
        Command::Invite(args) => invite::run(context, args).await?,
        Command::Network(args) => Box::pin(network::run(context, args)).await?,
        Command::Identity(args) => Box::pin(identity::run(context, args)).await?,
        Command::Export(args) => Box::pin(export::run(context, args)).await?,
        Command::Import(args) => Box::pin(import::run(context, args)).await?,
        Command::Version(args) => version::run(context, &args)?,
        Command::Config(args) => config::run(context, &args)?,
        Command::Up(_)
        | Command::Join(_)
        | Command::NetworkProcess { .. }
        | Command::IdentityHolder(_)
        | Command::Reference
        | Command::Completions(_)
        | Command::Man(_) => unreachable!("these run before there is an async runtime"),
    }
    Ok(0)
}
