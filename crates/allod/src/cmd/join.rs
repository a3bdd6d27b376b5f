//! `allod join`: this machine becomes a member of somebody else's network.

use std::io::Read;

use allod_node::invite::Invite;
use anyhow::{Context, Result};

use crate::up;

/// Start the node of this home, and join the network that an invite names.
///
/// The invite is used up by that, and stands in the list of processes until this command ends: where others use this
/// machine, hand it over on standard input instead, with `-`. Later `allod up` starts the node again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The invite, or `-` to read it from standard input.
    #[arg(allow_hyphen_values = true)]
    invite: String,
    #[command(flatten)]
    up: up::Args,
}

/// Runs the root process until it is told to stop.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut text = args.invite.clone();
    if text == "-" {
        text.clear();
        let mut input = std::io::stdin().lock().take(INPUT_BYTES_MAX);
        input
            .read_to_string(&mut text)
            .context("reading the invite from standard input")?;
    }
    let invite: Invite = text.parse()?;
    up::start(&args.up, Some(&invite))
}

/// More than any invite has.
const INPUT_BYTES_MAX: u64 = 64 * 1024;
