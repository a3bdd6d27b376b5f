//! What every command has at hand: the home, the global flags, and how to say things.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use allod_api::client::{Client, Error, Exit, Result, parse_span};
use allod_node::home::Home;
use allod_node::identity::{Identity, IdentityError, Keyfile, Secret};
use serde::Serialize;

use crate::{render, terminal};

/// How long to wait for an app that starts, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Longest secret that is read from a file, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// Flags that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// How to print what is asked for.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Format,
    /// Say nothing on standard error but errors.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Answer every question with yes.
    #[arg(short = 'y', long, global = true)]
    yes: bool,
    /// How long to wait for an app to be ready, such as 90s or 5m.
    #[arg(long, global = true, value_name = "SPAN", value_parser = parse_span)]
    timeout: Option<Duration>,
    /// The API to ask, instead of the one that runs in this home.
    #[arg(long, global = true, value_name = "URL", env = "ALLOD_API")]
    api: Option<String>,
    /// The identity to act with, instead of this home's: a file that `allod keys add --out` made.
    #[arg(long, global = true, value_name = "FILE", env = "ALLOD_IDENTITY")]
    identity: Option<PathBuf>,
}

/// How data are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// As the API gives it.
    Json,
    /// The same, as YAML.
    Yaml,
}

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    globals: Globals,
}

impl Context {
    pub(crate) const fn new(globals: Globals) -> Self {
        Self { globals }
    }

    /// The places of this installation.
    pub(crate) fn home(&self) -> Result<Home> {
        Ok(Home::from_environment()?)
    }

    /// The file of the identity that commands act with.
    pub(crate) fn keyfile(&self) -> Result<Keyfile> {
        let home = self.home()?;
        let Some(path) = &self.globals.identity else {
            return Ok(home.account_keyfile());
        };
        let path = std::path::absolute(path).map_err(|source| Error::File {
            attempted: format!("find {}", path.display()),
            source,
        })?;
        Ok(home.keyfile(path))
    }

    /// The client of this home's API, or of the one that was named.
    pub(crate) fn client(&self) -> Result<Client> {
        let (home, keyfile) = (self.home()?, self.keyfile()?);
        let url = self.globals.api.as_deref();
        match Client::open(&home, url, &keyfile, None) {
            Err(Error::Identity(IdentityError::PassphraseNeeded { path })) => {
                let passphrase = passphrase(IdentityError::PassphraseNeeded { path })?;
                Client::open(&home, url, &keyfile, Some(&passphrase))
            }
            other => other,
        }
    }

    /// The identity that commands act with, opened.
    pub(crate) fn identity(&self) -> Result<Identity> {
        let (home, keyfile) = (self.home()?, self.keyfile()?);
        match home.open_identity(&keyfile, None) {
            Err(needed @ IdentityError::PassphraseNeeded { .. }) => {
                Ok(keyfile.load(Some(&passphrase(needed)?))?)
            }
            opened => Ok(opened?),
        }
    }

    /// The address of the API to ask, where one was named or runs in this home.
    pub(crate) fn api(&self) -> Result<Option<String>> {
        if let Some(url) = &self.globals.api {
            return Ok(Some(url.clone()));
        }
        Ok(self.home()?.running_api()?.map(|running| running.url))
    }

    /// Whether standard error is read by a person, who may be shown what must not be kept.
    pub(crate) fn is_watched(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// The runtime of a command: one thread, since a command waits more than it works.
    pub(crate) fn runtime(&self) -> Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::File {
                attempted: "start the async runtime".into(),
                source,
            })
    }

    /// How long to wait for an app.
    pub(crate) fn timeout(&self) -> Duration {
        self.globals.timeout.unwrap_or(TIMEOUT)
    }

    /// Whether people read the output.
    pub(crate) fn is_table(&self) -> bool {
        self.globals.output == Format::Table
    }

    /// Prints data on standard output: as a table for people, or as the API gives it.
    pub(crate) fn show<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) {
        match self.globals.output {
            Format::Table => render::print(&table(value)),
            Format::Json => render::print(&render::json(value)),
            Format::Yaml => render::print(&render::yaml::document(&render::value(value))),
        }
    }

    /// Prints one of many values that arrive one after another: as a line each.
    pub(crate) fn show_line<T: Serialize>(&self, value: &T, line: impl FnOnce(&T) -> String) {
        match self.globals.output {
            Format::Table => render::print(&line(value)),
            Format::Json => render::print(&render::value(value).to_string()),
            Format::Yaml => {
                render::print(&format!(
                    "---\n{}",
                    render::yaml::document(&render::value(value))
                ));
            }
        }
    }

    /// Says how things go, on standard error.
    pub(crate) fn tell(&self, line: &str) {
        if !self.globals.quiet {
            render::say(line);
        }
    }

    /// Asks before something that cannot be taken back.
    pub(crate) fn confirm(&self, question: &str) -> Result<()> {
        if self.globals.yes {
            return Ok(());
        }
        let refused = |message: &str| Error::Usage {
            message: message.to_owned(),
            help: "say --yes to do it without being asked".into(),
        };
        if !std::io::stdin().is_terminal() {
            return Err(refused(&format!("{question} Nobody is here to answer.")));
        }
        let answer = terminal::ask(&format!("{question} [y/N] ")).map_err(unreadable)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(refused("nothing was changed")),
        }
    }

    /// Says how the command ended.
    pub(crate) fn finish(&self, result: Result<u8>) -> ExitCode {
        let error = match result {
            Ok(code) => return ExitCode::from(code),
            Err(error) => error,
        };
        if let Error::NotReady { app, lines, .. } = &error {
            for line in lines {
                render::say(&format!("{app} | {line}"));
            }
        }
        match &error {
            // These point at their place themselves.
            Error::Spec(diagnostics) => render::diagnose(diagnostics),
            other => render::complain(&other.to_string(), std::error::Error::source(other)),
        }
        render::say(&format!("help: {}", error.help()));
        ExitCode::from(error.exit().code())
    }
}

pub(crate) fn unreadable(source: std::io::Error) -> Error {
    Error::File {
        attempted: "read the terminal".into(),
        source,
    }
}

/// The passphrase of the identity: from the file that `ALLOD_PASSPHRASE_FILE` names, or typed.
pub(crate) fn passphrase(needed: IdentityError) -> Result<Secret<String>> {
    if let Some(path) = std::env::var_os("ALLOD_PASSPHRASE_FILE") {
        return secret_in(Path::new(&path));
    }
    if !std::io::stdin().is_terminal() {
        return Err(needed.into());
    }
    terminal::ask_hidden("Passphrase: ").map_err(unreadable)
}

/// A new passphrase, typed twice.
pub(crate) fn passphrase_twice() -> Result<Secret<String>> {
    if !terminal::is_interactive() {
        return Err(usage(
            "nobody is here to type a passphrase",
            "name a file with it: --passphrase-file FILE",
        ));
    }
    let first = terminal::ask_hidden("New passphrase: ").map_err(unreadable)?;
    let second = terminal::ask_hidden("The same again: ").map_err(unreadable)?;
    if first.expose() == second.expose() {
        Ok(first)
    } else {
        Err(usage("the two passphrases differ", "try again"))
    }
}

/// What a small file holds, without the end of its last line; `-` is standard input.
pub(crate) fn secret_in(path: &Path) -> Result<Secret<String>> {
    let unread = |source| Error::File {
        attempted: format!("read {}", path.display()),
        source,
    };
    // Room for the whole, so that growing leaves no copies behind.
    let mut text = String::with_capacity(SECRET_BYTES_MAX);
    let most = u64::try_from(SECRET_BYTES_MAX).unwrap_or(0);
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    let text = Secret::new(text);
    read.map_err(unread)?;
    Ok(Secret::new(
        text.expose().trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// The error of a command that was called wrongly.
pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Error {
    let error = Error::Usage {
        message: message.into(),
        help: help.into(),
    };
    debug_assert_eq!(error.exit(), Exit::Usage);
    error
}
