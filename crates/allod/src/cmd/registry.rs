//! `allod registry`: credentials for private images.

use std::io::{IsTerminal, Read};

use allod_api::client::{Error, Result};
use allod_node::identity::Secret;
use clap::Subcommand;

use crate::context::{Context, usage};
use crate::terminal;

const PASSWORD_BYTES_MAX: u64 = 16 * 1024;

/// Keep and forget credentials for registries.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep credentials for a registry on the node, encrypted.
    Login {
        /// The registry, such as ghcr.io or localhost:5000.
        host: String,
        /// The user.
        #[arg(short, long, visible_alias = "user")]
        username: Option<String>,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Forget the credentials for a registry.
    Logout {
        /// The registry.
        host: String,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<()> {
    let client = context.client()?;
    match args.command {
        Command::Login {
            host,
            username,
            password_stdin,
        } => {
            let user = match username {
                Some(user) => user,
                None if std::io::stdin().is_terminal() && !password_stdin => {
                    terminal::ask("User: ")
                        .map_err(unreadable)?
                        .trim()
                        .to_owned()
                }
                None => return Err(usage("no user is named", "add --username NAME")),
            };
            let password = password(password_stdin)?;
            client.login(&host, &user, &password).await?;
            context.tell(&format!("logged in to {host} as {user}"));
        }
        Command::Logout { host } => {
            client.logout(&host).await?;
            context.tell(&format!("logged out of {host}"));
        }
    }
    Ok(())
}

fn password(is_on_stdin: bool) -> Result<Secret<String>> {
    if is_on_stdin {
        let mut text = String::new();
        let mut input = std::io::stdin().lock().take(PASSWORD_BYTES_MAX);
        input.read_to_string(&mut text).map_err(unreadable)?;
        let text = Secret::new(text);
        return Ok(Secret::new(
            text.expose().trim_end_matches(['\r', '\n']).to_owned(),
        ));
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage(
            "nobody is here to type the password",
            "pipe it in with --password-stdin",
        ));
    }
    terminal::ask_hidden("Password: ").map_err(unreadable)
}

fn unreadable(source: std::io::Error) -> Error {
    Error::File {
        attempted: "read standard input".into(),
        source,
    }
}
