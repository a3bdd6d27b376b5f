//! `allod identity`: the key that commands sign with.

mod export;
mod import;
mod init;
mod phrase;
mod protect;
mod rotate;
mod unlock;

pub(crate) use unlock::{HOLDER, HolderArgs, hold};

use std::path::PathBuf;

use allod_api::client::Result;
use allod_node::identity::{Keyfile, Lock, Secret, seconds_left};
use clap::Subcommand;
use serde::Serialize;

use crate::context::{Context, passphrase_twice, secret_in};
use crate::render::table::pairs;

/// Make, show, copy, restore and replace the identity.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    /// Show whose key this home holds, and how it is protected. Nothing secret is printed.
    Show,
    Export(export::Args),
    Import(import::Args),
    Protect(protect::Args),
    Rotate(rotate::Args),
    Unlock(unlock::Args),
    /// End what `unlock` began: the passphrase is asked for again.
    Lock,
}

/// How a new file of an identity is closed.
#[derive(Debug, clap::Args)]
struct Closing {
    /// Ask for a passphrase that opens it, instead of binding it to this machine.
    #[arg(long)]
    passphrase: bool,
    /// Take that passphrase from a file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Shown {
    subject: String,
    key: String,
    protection: &'static str,
    /// For how many seconds more it is held open.
    unlocked_s: Option<u64>,
    file: String,
    /// Whether a key waits to take over: a rotation was broken off.
    is_rotating: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    match args.command {
        Command::Init(args) => init::run(context, &args),
        Command::Show => show(context),
        Command::Export(args) => export::run(context, &args),
        Command::Import(args) => import::run(context, &args).await,
        Command::Protect(args) => protect::run(context, args),
        Command::Rotate(args) => rotate::run(context, &args).await,
        Command::Unlock(args) => unlock::run(context, &args),
        Command::Lock => unlock::lock_now(context),
    }
}

impl Closing {
    /// The passphrase, where one is wanted.
    fn secret(&self) -> Result<Option<Secret<String>>> {
        match &self.passphrase_file {
            Some(path) => secret_in(path).map(Some),
            None if self.passphrase => passphrase_twice().map(Some),
            None => Ok(None),
        }
    }
}

/// What closes a file under a passphrase, or by this machine where there is none.
fn lock_of(passphrase: Option<&Secret<String>>) -> Lock<'_> {
    passphrase.map_or(Lock::Machine, Lock::Passphrase)
}

fn show(context: &Context) -> Result<()> {
    show_file(context, &context.keyfile()?)
}

fn show_file(context: &Context, keyfile: &Keyfile) -> Result<()> {
    let description = keyfile.describe()?;
    let socket = context.home()?.unlocked_socket(&description.key);
    let shown = Shown {
        subject: description.subject.to_string(),
        key: description.key.to_string(),
        protection: description.protection.words(),
        unlocked_s: seconds_left(&socket),
        file: keyfile.path().display().to_string(),
        is_rotating: keyfile.next().exists(),
    };
    context.show(&shown, |shown| {
        let mut rows = vec![
            ("account", shown.subject.clone()),
            ("key", shown.key.clone()),
            ("opens with", shown.protection.to_owned()),
            ("file", shown.file.clone()),
        ];
        if let Some(seconds) = shown.unlocked_s {
            rows.push(("unlocked", format!("for {seconds} s more")));
        }
        if shown.is_rotating {
            let next = "a key waits to take over; go on with: allod identity rotate";
            rows.push(("rotation", next.to_owned()));
        }
        pairs(&rows)
    });
    Ok(())
}
