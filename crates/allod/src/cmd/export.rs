//! `allod export`: everything of one's own, in one signed file, and the data of volumes in files beside it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use allod_api::client::{Check, Client, Error, Export, Result, VolumeCopy};
use serde::Serialize;

use super::bill::rows;
use crate::context::Context;

/// Write all that the network holds of you to a file: your account and keys, machines, apps with their sealed manifests,
/// leases, volumes and bills, each with its proof, none left out, and signed; and the data of your volumes into files
/// beside it, in the folder FILE.volumes. An app that runs meanwhile goes on, and its files may be of different moments:
/// for a copy of one moment scale it to 0 first. Data of volumes are readable for whoever has their files. Nothing else in
/// the export is readable for others that was not before; `allod import` checks it and deploys its apps on another network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, which must not be there yet; `-` is standard output, and leaves the data of volumes out.
    file: PathBuf,
    /// Leave the data of volumes out.
    #[arg(long)]
    no_volumes: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    file: String,
    bytes: usize,
    rows: usize,
    manifests: usize,
    months: usize,
    volumes: usize,
    checks: Vec<Check>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let mut export = client.export().await?;
    let has_data = args.file != Path::new("-") && !args.no_volumes;
    let dir = volumes_beside(&args.file);
    if has_data {
        must_be_new(&args.file)?;
        export.volumes = copies(context, &client, &dir).await?;
    }
    let nonsense = |cause: String| Error::Nonsense {
        attempted: "GET /v1/export".into(),
        cause,
    };
    let text = export.signed(client.identity());
    let text = text.map_err(|error| nonsense(error.to_string()))?;
    // Whoever leaves finds out now, and not when the network is gone.
    let (export, checks) = Export::read(&text).map_err(nonsense)?;
    if args.file == Path::new("-") {
        print!("{text}");
        return worst(&checks);
    }
    write(&args.file, &text)?;
    let written = Written {
        file: args.file.display().to_string(),
        bytes: text.len(),
        rows: export.belongings.rows.len(),
        manifests: export.manifests.len(),
        months: export.bills.len(),
        volumes: export.volumes.len(),
        checks,
    };
    context.show(&written, |written| {
        format!(
            "{}\n\nwrote {} row(s), {} manifest(s) and the bills of {} month(s) to {}\n{}; check it anywhere: allod import --check {}",
            rows(&written.checks, "the export"),
            written.rows,
            written.manifests,
            written.months,
            written.file,
            with_data(&export.volumes, &dir),
            written.file
        )
    });
    worst(&written.checks)?;
    match export.volumes.iter().find(|copy| copy.data.is_none()) {
        None => Ok(()),
        Some(copy) => Err(Error::Failed {
            message: format!(
                "the data of {} are not in the export: {}",
                copy.name,
                copy.missing.as_deref().unwrap_or_default()
            ),
            help:
                "make the export again, elsewhere, once its machine is reached: allod volume list"
                    .into(),
        }),
    }
}

/// The folder for the data of volumes.
pub(super) fn volumes_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".volumes");
    name.into()
}

/// Fetches the data of all volumes, where there are any, into a folder that is new.
async fn copies(context: &Context, client: &Client, dir: &Path) -> Result<Vec<VolumeCopy>> {
    if client.volumes().await?.is_empty() {
        return Ok(Vec::new());
    }
    must_be_new(dir)?;
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(|source| Error::File {
        attempted: format!("create {}", dir.display()),
        source,
    })?;
    context.tell(&format!(
        "fetching the data of volumes to {}",
        dir.display()
    ));
    client.copy_volumes(dir).await
}

fn with_data(volumes: &[VolumeCopy], dir: &Path) -> String {
    let copied: Vec<&VolumeCopy> = volumes.iter().filter(|it| it.data.is_some()).collect();
    if copied.is_empty() {
        return "no data of volumes are in it".to_owned();
    }
    let used = copied.iter().filter(|copy| {
        let data = copy.data.as_ref();
        data.is_some_and(|data| data.was_in_use)
    });
    let used: Vec<&str> = used.map(|copy| copy.name.as_str()).collect();
    let note = match used.as_slice() {
        [] => "while nothing used them".to_owned(),
        used => format!(
            "while replicas went on with {}, so that their files may be of different moments",
            used.join(", ")
        ),
    };
    format!(
        "and the data of {} volume(s) to {}, {note}",
        copied.len(),
        dir.display()
    )
}

fn must_be_new(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(is_there(path)),
        Err(_) => Ok(()),
    }
}

fn is_there(path: &Path) -> Error {
    Error::Failed {
        message: format!(
            "{} is there already, and is not written over",
            path.display()
        ),
        help: "name another file: allod export FILE".into(),
    }
}

/// Nothing, or the first check that failed as an error.
pub(super) fn worst(checks: &[Check]) -> Result<()> {
    let Some(wrong) = checks.iter().find(|check| !check.is_good) else {
        return Ok(());
    };
    Err(Error::Failed {
        message: format!("the export is not right: {}: {}", wrong.what, wrong.found),
        help: "make the export again, on the machine that the apps were deployed through: allod export".into(),
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |source| Error::File {
        attempted: format!("write {}", path.display()),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => is_there(path),
        _ => failed(error),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
