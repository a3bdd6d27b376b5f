//! `allod import`: an export checked, and its apps deployed on this network.

use std::path::{Path, PathBuf};

use allod_api::client::{Check, Error, Export, Exported, Goal, Result};
use allod_node::view;
use serde::Serialize;

use super::bill::rows;
use super::export::worst;
use super::launch;
use crate::context::{Context, usage};

/// Check an export, and deploy its apps on this network: a new one of your own (`allod up`), or any that you have joined. They
/// open with the identity that they were sealed for. Apps that are there already are left alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// Only check it: no network is needed for that.
    #[arg(long)]
    check: bool,
    /// Only these apps; all where none is named.
    #[arg(long = "app", value_name = "APP", conflicts_with = "check")]
    apps: Vec<String>,
    /// Deploy apps with volumes too, which begin empty: their data are not in an export.
    #[arg(long, conflicts_with = "check")]
    empty_volumes: bool,
    /// Do not wait until the apps are ready.
    #[arg(long, conflicts_with = "check")]
    no_wait: bool,
}

/// What became of the apps.
#[derive(Serialize)]
struct Imported {
    deployed: Vec<view::App>,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    app: String,
    why: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let no_export = |cause| usage(cause, "name a file that `allod export` wrote".to_owned());
    let (export, checks) = Export::read(&read(&args.file)?).map_err(no_export)?;
    if args.check {
        context.show(&checks, |checks: &Vec<Check>| rows(checks, "the export"));
        return worst(&checks);
    }
    worst(&checks)?;
    let client = context.client()?;
    let apps = export.apps(client.identity()).map_err(|cause| {
        let help = "bring the identity that made it here: allod identity import";
        usage(cause, help.to_owned())
    })?;
    let there = client.apps().await?;
    let (wanted, mut left_out) = sorted(&args, apps, &there)?;
    if wanted.is_empty() && left_out.is_empty() {
        return Err(usage(
            "the export holds no app".to_owned(),
            "look at what it holds: allod import --check FILE".to_owned(),
        ));
    }
    let names: Vec<&str> = wanted
        .iter()
        .map(|it| it.lowered.manifest.app.as_str())
        .collect();
    if !names.is_empty() {
        context.confirm(&format!("Deploy {}?", names.join(", ")))?;
    }
    let mut deployed = Vec::new();
    for app in wanted {
        let name = app.lowered.manifest.app.clone();
        let goal = (!args.no_wait).then(Goal::default);
        match Box::pin(launch::launch(context, &client, app.lowered, None, goal)).await {
            Ok(app) => deployed.push(app),
            Err(error) => left_out.push(LeftOut {
                app: name,
                why: format!("{error}; {}", error.help()),
            }),
        }
    }
    let imported = Imported { deployed, left_out };
    context.show(&imported, told);
    match imported.left_out.first() {
        Some(first) => Err(Error::Failed {
            message: format!("{} of the apps were left out", imported.left_out.len()),
            help: format!("begin with {}: {}", first.app, first.why),
        }),
        None => Ok(()),
    }
}

/// The apps to deploy, and why the others are not.
fn sorted(
    args: &Args,
    apps: Vec<Exported>,
    there: &[view::App],
) -> Result<(Vec<Exported>, Vec<LeftOut>)> {
    for name in &args.apps {
        if !apps.iter().any(|app| app.lowered.manifest.app == *name) {
            return Err(Error::NotFound {
                kind: "app in the export",
                name: name.clone(),
            });
        }
    }
    let (mut wanted, mut left_out) = (Vec::new(), Vec::new());
    for app in apps {
        let name = app.lowered.manifest.app.clone();
        if !args.apps.is_empty() && !args.apps.contains(&name) {
            continue;
        }
        let is_there = there.iter().any(|other| other.name == name);
        let why = if is_there {
            "it is there already".to_owned()
        } else if app.is_handed_over {
            "its image was handed to a machine, and no registry has it; hand it over again: allod run --image-file".to_owned()
        } else if !app.volumes.is_empty() && !args.empty_volumes {
            format!(
                "its data ({}) are not in the export; say --empty-volumes to begin with none",
                app.volumes.join(", ")
            )
        } else {
            wanted.push(app);
            continue;
        };
        left_out.push(LeftOut { app: name, why });
    }
    Ok((wanted, left_out))
}

fn told(imported: &Imported) -> String {
    let deployed = imported.deployed.iter().map(|app| {
        let url = app.services.iter().find_map(|service| service.urls.first());
        format!("deployed {} {}", app.name, url.map_or("", String::as_str))
    });
    let left = imported
        .left_out
        .iter()
        .map(|it| format!("left out {}: {}", it.app, it.why));
    deployed.chain(left).collect::<Vec<_>>().join("\n")
}

fn read(path: &Path) -> Result<String> {
    let failed = |source| Error::File {
        attempted: format!("read {}", path.display()),
        source,
    };
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).map_err(failed);
    }
    std::fs::read_to_string(path).map_err(failed)
}
