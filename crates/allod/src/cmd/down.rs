//! `allod down`: the end of everything that runs in this home.

use allod_api::client::{Error, Result};

use crate::context::Context;

/// Stop every workload and the node of this home; data are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _: &Args) -> Result<()> {
    let home = context.home()?;
    context.confirm("Stop every workload of this home, and its node?")?;
    allod_node::down(&home).map_err(|error| Error::Unreachable {
        url: home.run_dir().display().to_string(),
        cause: error.to_string(),
    })?;
    context.tell("stopped; data are kept, and `allod up` starts it again");
    Ok(())
}
