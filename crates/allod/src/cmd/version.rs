//! `allod version`: what this program is.

use allod_api::client::Result;
use allod_state::transaction::PROTOCOL_VERSION;
use serde::Serialize;

use crate::context::Context;

/// Show the version of the program and of the protocol that it speaks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    protocol: u16,
}

pub(crate) fn run(context: &Context, _: &Args) -> Result<()> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        protocol: PROTOCOL_VERSION,
    };
    context.show(&version, |version| {
        format!("allod {} (protocol {})", version.version, version.protocol)
    });
    Ok(())
}
