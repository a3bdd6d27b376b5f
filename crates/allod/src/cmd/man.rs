//! `allod man`: the manual pages, made from the commands themselves.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

use super::Cli;
use crate::render;

/// Print the manual page, or write those of all commands into a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder, such as /usr/local/share/man/man1.
    folder: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match &args.folder {
        Some(folder) => write(folder),
        None => page().map(|page| render::print(&page)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let place = args
                .folder
                .as_deref()
                .unwrap_or(Path::new("standard output"));
            let place = place.display();
            let failed = format!("could not write the pages to {place}: {error}");
            render::complain(
                &format!("{failed}\nhelp: name a folder that you may write to"),
                None,
            );
            ExitCode::FAILURE
        }
    }
}

/// The pages of all commands that people call.
fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}

fn page() -> io::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    String::from_utf8(page).map_err(io::Error::other)
}
