//! `allod identity export`: a copy of the identity for another machine or for a drawer.

use std::path::{Path, PathBuf};

use allod_api::client::{Error, Result};
use allod_node::home::create_once;

use super::phrase::Place;
use crate::context::{Context, passphrase_twice, secret_in, usage};

/// Copy the identity: as a recovery phrase, or as a file that opens with a passphrase on any machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show the recovery phrase, on a terminal only.
    #[arg(long, conflicts_with_all = ["phrase_file", "out"])]
    phrase: bool,
    #[command(flatten)]
    place: Place,
    /// Write the identity to this new file, encrypted under a passphrase (`age` opens it too).
    #[arg(long, value_name = "FILE", conflicts_with = "phrase_file")]
    out: Option<PathBuf>,
    /// Take the passphrase of that file from another; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "out")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    args.place.check()?;
    if let Some(out) = &args.out {
        return encrypted(context, out, args.passphrase_file.as_deref());
    }
    let is_shown = args.phrase && context.is_watched();
    if args.place.phrase_file.is_none() && !is_shown {
        let message = if args.phrase {
            "a recovery phrase is shown on a terminal only, and standard error is none"
        } else {
            "nothing says as what the identity is to be copied"
        };
        return Err(usage(
            message,
            "allod identity export --phrase-file FILE, or --out FILE for a file under a passphrase",
        ));
    }
    let identity = context.identity()?;
    args.place.hand_over(context, &identity.phrase()).map(drop)
}

fn encrypted(context: &Context, out: &Path, passphrase_file: Option<&Path>) -> Result<()> {
    let identity = context.identity()?;
    let passphrase = match passphrase_file {
        Some(path) => secret_in(path)?,
        None => passphrase_twice()?,
    };
    let text = identity.export(&passphrase)?;
    let unwritten = |source| Error::File {
        attempted: format!("write {}", out.display()),
        source,
    };
    let path = std::path::absolute(out).map_err(unwritten)?;
    if !create_once(&path, text.as_bytes(), 0o600).map_err(unwritten)? {
        return Err(usage(
            format!("{} exists, and is never overwritten", out.display()),
            "name another file, or remove this one",
        ));
    }
    context.tell(&format!(
        "wrote {}; bring it in with: allod identity import {}",
        out.display(),
        out.display()
    ));
    Ok(())
}
