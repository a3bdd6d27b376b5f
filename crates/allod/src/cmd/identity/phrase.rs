//! Showing a recovery phrase: on a terminal, once, or in a file for its owner alone. Never on a stream that is kept.

use std::io::Write;
use std::path::{Path, PathBuf};

use allod_api::client::{Error, Result};
use allod_node::home::create_once;
use allod_node::identity::{Phrase, Secret};

use crate::context::{Context, unreadable, usage};
use crate::terminal;

/// Where a phrase goes.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Write the recovery phrase to this new file, which only its owner can read.
    #[arg(long, value_name = "FILE")]
    pub(super) phrase_file: Option<PathBuf>,
}

impl Place {
    /// Refuses a file that is there already, before anything else is done.
    pub(super) fn check(&self) -> Result<()> {
        match &self.phrase_file {
            Some(path) if path.exists() => Err(taken(path)),
            _ => Ok(()),
        }
    }

    /// Writes the phrase to the file, or shows it on the terminal. Says no where there is neither.
    pub(super) fn hand_over(&self, context: &Context, phrase: &Phrase) -> Result<bool> {
        if let Some(path) = &self.phrase_file {
            keep(path, phrase)?;
            context.tell(&format!(
                "the recovery phrase is in {}: copy it to paper and remove the file",
                path.display()
            ));
            return Ok(true);
        }
        if !context.is_watched() {
            return Ok(false);
        }
        show(phrase).map_err(unreadable)?;
        Ok(true)
    }
}

fn keep(path: &Path, phrase: &Phrase) -> Result<()> {
    let line = Secret::new([phrase.words().expose().as_str(), "\n"].concat());
    let path = std::path::absolute(path).map_err(|source| unwritten(path, source))?;
    match create_once(&path, line.expose().as_bytes(), 0o600) {
        Ok(true) => Ok(()),
        Ok(false) => Err(taken(&path)),
        Err(source) => Err(unwritten(&path, source)),
    }
}

/// Shows the words, and takes them away again once they are copied.
fn show(phrase: &Phrase) -> std::io::Result<()> {
    let rows = phrase.rows();
    let lines = rows.expose().lines().count();
    let mut terminal = std::io::stderr().lock();
    writeln!(
        terminal,
        "The recovery phrase. Whoever has these 24 words has the account; write them on paper and keep it apart:\n"
    )?;
    terminal.write_all(rows.expose().as_bytes())?;
    if terminal::is_interactive() {
        terminal.write_all(
            b"\nPress Enter when they are written down; they are then taken off the screen. ",
        )?;
        drop(terminal);
        terminal::ask("")?;
        // The rows, the empty line, and the line with the question.
        write!(std::io::stderr(), "\x1b[{}F\x1b[0J", lines + 2)?;
    }
    Ok(())
}

fn taken(path: &Path) -> Error {
    usage(
        format!("{} exists, and is never overwritten", path.display()),
        "name another file, or remove this one",
    )
}

fn unwritten(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        attempted: format!("write {}", path.display()),
        source,
    }
}
