//! `allod export`: everything of one's own, in one signed file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use allod_api::client::{Check, Error, Export, Result};
use serde::Serialize;

use super::bill::rows;
use crate::context::Context;

/// Write all that the network holds of you to a file: your account and keys, machines, apps with their sealed manifests,
/// leases, volumes and bills, each with its proof, and signed. The data of volumes are not in it. Nothing in the file is
/// readable for others that was not before; `allod import` checks it and deploys its apps on another network.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file, which must not be there yet; `-` is standard output.
    file: PathBuf,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    file: String,
    bytes: usize,
    rows: usize,
    manifests: usize,
    months: usize,
    checks: Vec<Check>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    let export = client.export().await?;
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
        checks,
    };
    context.show(&written, |written| {
        format!(
            "{}\n\nwrote {} row(s), {} manifest(s) and the bills of {} month(s) to {}\nthe data of volumes are not in it; check it anywhere: allod import --check {}",
            rows(&written.checks, "the export"),
            written.rows,
            written.manifests,
            written.months,
            written.file,
            written.file
        )
    });
    worst(&written.checks)
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
        ErrorKind::AlreadyExists => Error::Failed {
            message: format!(
                "{} is there already, and is not written over",
                path.display()
            ),
            help: "name another file: allod export FILE".into(),
        },
        _ => failed(error),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
