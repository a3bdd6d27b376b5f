//! `allod identity protect`: another way to open the same key.
//!
//! The new file is whole and synced beside the old one before it takes its place, in one step: whatever happens
//! meanwhile, the file that is there opens, the old way or the new.

use std::path::PathBuf;

use allod_api::client::Result;
use allod_node::identity::lock;

use super::{Closing, lock_of, show_file};
use crate::context::{Context, usage};

/// Change what opens the identity: a passphrase, another one, or this machine. The key and its recovery phrase stay.
/// Copies made before open as they did then.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Args {
    /// Bind it to this machine: no passphrase is asked for any more.
    #[arg(long)]
    machine: bool,
    /// Ask for a new passphrase that opens it.
    #[arg(long)]
    passphrase: bool,
    /// Take the new passphrase from a file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: Args) -> Result<()> {
    let keyfile = context.keyfile()?;
    if keyfile.next().exists() {
        return Err(usage(
            "a key waits to take over, and is closed as this one is",
            "end the rotation first: allod identity rotate",
        ));
    }
    let identity = context.identity()?;
    let closing = Closing {
        passphrase: args.passphrase,
        passphrase_file: args.passphrase_file,
    };
    let passphrase = closing.secret()?;
    keyfile.replace(&identity, lock_of(passphrase.as_ref()))?;
    // What the old passphrase opened is not held open under the new one.
    lock(&context.home()?.unlocked_socket(&identity.public_key()));
    show_file(context, &keyfile)
}
