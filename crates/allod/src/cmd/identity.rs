//! `allod identity`: the key that commands sign with.

use allod_api::client::Result;
use allod_node::identity::Protection;
use clap::Subcommand;
use serde::Serialize;

use crate::context::Context;
use crate::render::table::pairs;

/// Show the identity.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show whose key this home holds, and how it is protected. Nothing secret is printed.
    Show,
}

#[derive(Serialize)]
struct Shown {
    subject: String,
    key: String,
    protection: &'static str,
    file: String,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<()> {
    let Command::Show = args.command;
    let keyfile = context.home()?.account_keyfile();
    let description = keyfile.describe()?;
    let shown = Shown {
        subject: description.subject.to_string(),
        key: description.key.to_string(),
        protection: match description.protection {
            Protection::Machine => "this machine",
            Protection::Passphrase => "a passphrase",
        },
        file: keyfile.path().display().to_string(),
    };
    context.show(&shown, |shown| {
        pairs(&[
            ("account", shown.subject.clone()),
            ("key", shown.key.clone()),
            ("protected by", shown.protection.to_owned()),
            ("file", shown.file.clone()),
        ])
    });
    Ok(())
}
