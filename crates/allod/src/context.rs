//! What every command has at hand: the home, the global flags, and how to say things.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use allod_api::client::{Client, Error, Exit, Result, parse_span};
use allod_node::home::Home;
use allod_node::identity::{IdentityError, Secret};
use serde::Serialize;

use crate::{render, terminal};

/// How long to wait for an app that starts, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(60);

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

    /// The client of this home's API, or of the one that was named.
    pub(crate) fn client(&self) -> Result<Client> {
        let home = self.home()?;
        let url = self.globals.api.as_deref();
        match Client::open(&home, url, None) {
            Err(Error::Identity(IdentityError::PassphraseNeeded { path })) => {
                let passphrase = passphrase(IdentityError::PassphraseNeeded { path })?;
                Client::open(&home, url, Some(&passphrase))
            }
            other => other,
        }
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

fn unreadable(source: std::io::Error) -> Error {
    Error::File {
        attempted: "read the terminal".into(),
        source,
    }
}

/// The passphrase of the identity: from the file that `ALLOD_PASSPHRASE_FILE` names, or typed.
fn passphrase(needed: IdentityError) -> Result<Secret<String>> {
    if let Some(path) = std::env::var_os("ALLOD_PASSPHRASE_FILE") {
        let text = std::fs::read_to_string(&path).map_err(|source| Error::File {
            attempted: format!("read {}", path.to_string_lossy()),
            source,
        })?;
        let text = Secret::new(text);
        return Ok(Secret::new(
            text.expose().trim_end_matches(['\r', '\n']).to_owned(),
        ));
    }
    if !std::io::stdin().is_terminal() {
        return Err(needed.into());
    }
    terminal::ask_hidden("Passphrase: ").map_err(unreadable)
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
