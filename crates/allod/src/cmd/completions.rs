//! `allod completions`: what a shell needs to complete commands.

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::render;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

/// The commands that people call: shells would offer the others too.
fn shown() -> Command {
    let all = Cli::command();
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    Command::new("allod")
        .args(all.get_arguments())
        .subcommands(shown)
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), "allod", &mut script);
    render::print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
