//! `allod config`: where this installation keeps things.

use allod_api::client::Result;
use clap::Subcommand;
use serde::Serialize;

use crate::context::Context;
use crate::render::table::pairs;

/// Show where things are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the paths of this installation, which ALLOD_HOME chooses.
    Path,
}

#[derive(Serialize)]
struct Paths {
    identity: String,
    config: String,
    node: String,
    root: String,
    run: String,
    logs: String,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<()> {
    let Command::Path = args.command;
    let home = context.home()?;
    let paths = Paths {
        identity: home.account_keyfile().path().display().to_string(),
        config: home.config_file().display().to_string(),
        node: home.node_dir().display().to_string(),
        root: home.root_dir().display().to_string(),
        run: home.run_dir().display().to_string(),
        logs: home.logs_dir().display().to_string(),
    };
    context.show(&paths, |paths| {
        pairs(&[
            ("identity", paths.identity.clone()),
            ("config", paths.config.clone()),
            ("node", paths.node.clone()),
            ("root", paths.root.clone()),
            ("run", paths.run.clone()),
            ("logs", paths.logs.clone()),
        ])
    });
    Ok(())
}
