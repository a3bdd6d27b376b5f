//! The binary: flags, configuration, `main()`.
#![forbid(unsafe_code)]

mod cmd;
mod context;
mod reference;
mod render;
mod terminal;
mod up;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` says nothing: our own life-cycle, and of others what a person must act on.
const LOG_DEFAULT: &str = "warn,allod=info,allod_api=info,allod_ledger=info,allod_net=info,\
    allod_node=info,allod_runtime=info,iroh::socket::transports::relay=off,libcgroups=error,\
    libcontainer=error";

fn main() -> ExitCode {
    let cli = cmd::Cli::parse();
    if cli.is_server() {
        start_logging();
    }
    cmd::run(cli)
}

/// Logs of the node go to standard error, with data as fields. Commands log nothing: they answer.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none())
        .init();
}
