//! The deploy file that a command is given, read and lowered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use allod_api::client::{Error, Result};
use allod_api::compose::{self, FILE_NAMES, Input, Lowered};

use crate::context::{Context, usage};
use crate::render;

/// Largest deploy file, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Which deploy file, and what it is read with.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// The compose file, or the folder that holds one.
    #[arg(default_value = ".", value_name = "PATH")]
    path: PathBuf,
    /// The same, as `docker compose` takes it.
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "path")]
    file: Option<PathBuf>,
    /// A file of NAME=value lines for the ${VARIABLES} of the compose file; may be repeated.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// A profile to activate; may be repeated.
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// The app's name, in place of that in the file.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Where an app may run.
#[derive(Debug, clap::Args)]
pub(crate) struct Whereabouts {
    /// Only on nodes where all of this holds: region=eu,tag=ssd,operator=ACCOUNT,operator!=ACCOUNT,spread=operator,reputation>0.5,attested>7d,price<0.05.
    #[arg(long, value_name = "TERMS")]
    on: Option<String>,
}

impl Whereabouts {
    /// Puts the terms into the demands of all services.
    pub(crate) fn constrain(&self, lowered: &mut Lowered) -> Result<()> {
        let Some(terms) = &self.on else {
            return Ok(());
        };
        let refused = |error| {
            usage(
                error,
                "the answer to `allod node list` shows what nodes offer",
            )
        };
        lowered.on(terms).map_err(refused)
    }
}

impl Source {
    /// Reads the file and lowers it. Its warnings are told.
    pub(crate) fn lower(&self, context: &Context) -> Result<Lowered> {
        let named = self.file.as_deref().unwrap_or(&self.path);
        let path = compose::lookup(named).ok_or_else(|| no_file(named))?;
        let text = read(&path)?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let variables = self.variables()?;
        let profiles: BTreeSet<String> = self.profile.iter().cloned().collect();
        let mut lowered = compose::lower(&Input {
            text: &text,
            file: &path.display().to_string(),
            folder: Some(&folder),
            variables: &variables,
            profiles: &profiles,
            name: self.name.as_deref(),
        })
        .map_err(Error::Spec)?;
        self.whereabouts.constrain(&mut lowered)?;
        if context.is_table() {
            render::diagnose(&lowered.warnings);
        }
        Ok(lowered)
    }

    /// The environment, over the files that were named.
    fn variables(&self) -> Result<BTreeMap<String, String>> {
        let own: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut variables = BTreeMap::new();
        for path in &self.env_file {
            let text = read(path)?;
            let name = path.display().to_string();
            variables.extend(compose::env_file(&text, &name, &own).map_err(Error::Spec)?);
        }
        variables.extend(own);
        Ok(variables)
    }
}

fn read(path: &Path) -> Result<String> {
    let failed = |source| Error::File {
        attempted: format!("read {}", path.display()),
        source,
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        return Err(usage(
            format!(
                "{} has {length} bytes, too many for a deploy file",
                path.display()
            ),
            "check that this is the file you mean",
        ));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn no_file(path: &Path) -> Error {
    if path.is_dir() {
        return usage(
            format!("there is no deploy file in {}", path.display()),
            format!("name one, or write one of {}", FILE_NAMES.join(", ")),
        );
    }
    Error::NotFound {
        kind: "file",
        name: path.display().to_string(),
    }
}
