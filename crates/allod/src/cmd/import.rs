//! `allod import`: an export checked, and its apps deployed on this network.

use std::path::{Path, PathBuf};

use allod_api::client::{Check, Client, Error, Export, Exported, Goal, Result, VolumeCopy};
use allod_node::view;
use allod_state::PlanId;
use serde::Serialize;

use super::bill::rows;
use super::export::{volumes_beside, worst};
use super::launch;
use crate::context::{Context, usage};

/// Check an export, and deploy its apps on this network: a new one of your own (`allod up`), or any that you have joined. They
/// open with the identity that they were sealed for, and their volumes begin with the data of the export. Apps that are there
/// already are left alone.
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
    /// Deploy apps with volumes whose data are not in the export, too: those begin empty.
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
    let (export, mut checks) = Export::read(&read(&args.file)?).map_err(no_export)?;
    let dir = volumes_beside(&args.file);
    if args.check {
        for copy in export.volumes.iter().filter(|copy| copy.data.is_some()) {
            checks.push(copy.check(&dir).await);
        }
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
    // Nothing is begun with where a file is not what it was.
    for copy in wanted.iter().flat_map(data_of).map(|(_, copy)| copy) {
        worst(&[copy.check(&dir).await])?;
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
        let begun = Box::pin(begin(context, &client, app, &dir, goal));
        match begun.await {
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

/// Puts the data of an app's volumes in their place, and deploys it then. Where it does not come to that, says what stays.
async fn begin(
    context: &Context,
    client: &Client,
    app: Exported,
    dir: &Path,
    goal: Option<Goal>,
) -> Result<view::App> {
    if data_of(&app).next().is_none() {
        return launch::launch(context, client, app.lowered, None, goal).await;
    }
    let pinned = planned_here(client, &app).await?;
    let name = app.lowered.manifest.app.clone();
    let begun = async {
        for (volume, copy) in data_of(&app) {
            context.tell(&format!("putting back the data of {name}/{volume}"));
            client.put_back(copy, dir, (&name, volume)).await?;
        }
        launch::launch(context, client, app.lowered, pinned, goal).await
    };
    let begun: Result<view::App> = begun.await;
    if begun.is_err() && is_missing(client, &name).await {
        context.tell(&format!(
            "what was put back for {name} stays on this machine until it is imported again, which replaces it"
        ));
    }
    begun
}

async fn is_missing(client: &Client, app: &str) -> bool {
    let apps = client.apps().await;
    apps.is_ok_and(|apps| apps.iter().all(|it| it.name != app))
}

/// Data are put on the machine that is asked, so the app has to begin there: the ledger refuses it elsewhere.
async fn planned_here(client: &Client, app: &Exported) -> Result<Option<PlanId>> {
    let (network, _, plan) = launch::rehearse(client, app.lowered.clone()).await?;
    if let Some(error) = launch::refused(&plan) {
        return Err(error);
    }
    let mut demands = app.lowered.demands.values();
    let begins_later = demands.any(|it| it.replicas == 0 && !it.volumes.is_empty());
    if begins_later && client.nodes().await?.len() > 1 {
        return Err(Error::Failed {
            message: format!(
                "{} is scaled to 0, and once it begins it may begin on another machine than its data",
                app.lowered.manifest.app
            ),
            help: "import it into a new network of one, and let others join once it runs".into(),
        });
    }
    let mut elsewhere = plan.placements.iter();
    match elsewhere.find(|placement| placement.node != network.node) {
        None => Ok(plan.id),
        Some(placement) => Err(Error::Failed {
            message: format!(
                "{} would begin on {}, and its data can only be put on the machine that is asked",
                app.lowered.manifest.app, placement.node_name
            ),
            help: "ask that machine: allod --api URL import FILE; or import into a new network of one, and let others join it then".into(),
        }),
    }
}

/// The volumes of an app whose data are in the export.
fn data_of(app: &Exported) -> impl Iterator<Item = (&str, &VolumeCopy)> {
    let copies = app.copies.iter().filter(|(_, copy)| copy.data.is_some());
    copies.map(|(name, copy)| (name.as_str(), copy))
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
        } else if let Some(lacking) = lacking(&app).filter(|_| !args.empty_volumes) {
            format!(
                "its data ({lacking}) are not in the export; say --empty-volumes to begin with none"
            )
        } else {
            wanted.push(app);
            continue;
        };
        left_out.push(LeftOut { app: name, why });
    }
    Ok((wanted, left_out))
}

/// The volumes of an app whose data are not in the export.
fn lacking(app: &Exported) -> Option<String> {
    let has_data = |name: &str| data_of(app).any(|(copied, _)| copied == name);
    let lacking = app.volumes.iter().filter(|name| !has_data(name));
    let lacking: Vec<&str> = lacking.map(String::as_str).collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
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
