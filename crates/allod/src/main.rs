//! The binary: flags, configuration, `main()`.
#![forbid(unsafe_code)]

mod cmd;
mod context;
mod reference;
mod render;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cmd::Cli::parse();
    cmd::run(cli)
}
