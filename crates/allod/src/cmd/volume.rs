//! `allod volume`: data that outlive replicas and apps.

use allod_api::client::{Error, Result};
use allod_node::view;
use allod_state::Action;
use allod_state::volume::{DropVolume, Standing};
use clap::Subcommand;

use crate::context::Context;
use crate::render::table::table;
use crate::render::text::bytes;

/// List and remove volumes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List volumes.
    List,
    /// Remove a volume that no app uses, with its data.
    Remove {
        /// The volume, as APP/VOLUME.
        name: String,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let volumes = client.volumes().await?;
    match args.command {
        Command::List => context.show(&volumes, |volumes| list(volumes)),
        Command::Remove { name } => {
            let is_meant = |v: &&view::Volume| v.name == name || v.volume.to_string() == name;
            let volume = volumes
                .iter()
                .find(is_meant)
                .ok_or_else(|| Error::NotFound {
                    kind: "volume",
                    name: name.clone(),
                })?;
            context.confirm(&format!("Remove {name} with its data?"))?;
            let drop = DropVolume {
                app: volume.app,
                volume: volume.volume,
            };
            let receipt = client.submit(vec![Action::from(drop)]).await?;
            context.show(&receipt, |_| format!("removed {name}"));
        }
    }
    Ok(())
}

fn list(volumes: &[view::Volume]) -> String {
    let row = |volume: &view::Volume| {
        let standing = match volume.standing {
            Standing::Used => "used",
            Standing::Kept => "kept",
            Standing::Dropped => "being removed",
        };
        [
            volume.name.clone(),
            bytes(volume.bytes),
            standing.to_owned(),
            volume.node.short(),
        ]
    };
    if volumes.is_empty() {
        return "no volumes".into();
    }
    table(
        ["VOLUME", "SIZE>", "STATE", "NODE"],
        volumes.iter().map(row).collect(),
    )
}
