//! `allod identity import`: an identity from its phrase or from an exported file.

use std::path::{Path, PathBuf};

use allod_api::client::{Client, Error, Result};
use allod_node::identity::{Identity, IdentityError, PHRASE_BYTES_MAX, Phrase, Secret};
use allod_state::AccountId;

use super::{Closing, lock_of, show_file};
use crate::context::{Context, passphrase, secret_in, unreadable, usage};
use crate::terminal;

/// Restore an identity on this machine: from its recovery phrase, or from an exported file. Where an API is named or
/// runs, it is asked whether the key still acts, and for which account.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The exported file.
    #[arg(conflicts_with_all = ["phrase", "phrase_file"], required_unless_present_any = ["phrase", "phrase_file"])]
    file: Option<PathBuf>,
    /// Ask for the recovery phrase; what is typed is not shown.
    #[arg(long)]
    phrase: bool,
    /// Take the recovery phrase from a file; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "phrase")]
    phrase_file: Option<PathBuf>,
    /// The account that a phrase's key acts for; found out where an API can be asked, and otherwise the one that began
    /// with the key.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "file")]
    account: Option<AccountId>,
    #[command(flatten)]
    closing: Closing,
    /// Take it as it is, without asking any API.
    #[arg(long)]
    unchecked: bool,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    let home = context.home()?;
    home.prepare()?;
    let keyfile = context.keyfile()?;
    if keyfile.exists() {
        let path = keyfile.path().to_owned();
        return Err(IdentityError::Exists { path }.into());
    }
    let api = if args.unchecked { None } else { context.api()? };
    let identity = match &args.file {
        Some(file) => from_file(file, api.as_deref()).await?,
        None => from_phrase(&read_phrase(args)?, args.account, api.as_deref()).await?,
    };
    let passphrase = args.closing.secret()?;
    keyfile.create_with(&identity, lock_of(passphrase.as_ref()))?;
    if api.is_none() {
        context.tell(
            "not checked against a network; see whether the key acts there: allod account show --api URL",
        );
    }
    show_file(context, &keyfile)
}

async fn from_file(file: &Path, api: Option<&str>) -> Result<Identity> {
    let text = secret_in(file)?;
    let needed = IdentityError::PassphraseNeeded {
        path: file.to_owned(),
    };
    let identity = Identity::import(text.expose(), &passphrase(needed)?)?;
    let Some(url) = api else {
        return Ok(identity);
    };
    let client = Client::new(url, identity)?;
    client.own_account().await.map_err(explained)?;
    Ok(client.into_identity())
}

/// A phrase says which key it is, and not whose: that the network knows.
async fn from_phrase(
    phrase: &Phrase,
    account: Option<AccountId>,
    api: Option<&str>,
) -> Result<Identity> {
    let identity = Identity::from_phrase(phrase, account);
    let Some(url) = api else {
        return Ok(identity);
    };
    let client = Client::new(url, identity)?;
    let found = match account {
        Some(_) => client.own_account().await,
        None => client.unnamed().found_account().await,
    };
    Ok(Identity::from_phrase(
        phrase,
        Some(found.map_err(explained)?.account),
    ))
}

fn read_phrase(args: &Args) -> Result<Phrase> {
    let text = match &args.phrase_file {
        Some(path) => secret_in(path)?,
        None if terminal::is_interactive() => {
            terminal::ask_hidden("Recovery phrase, all 24 words: ").map_err(unreadable)?
        }
        None => {
            return Err(usage(
                "nobody is here to type the recovery phrase",
                "name a file with it: allod identity import --phrase-file FILE",
            ));
        }
    };
    let is_short = |text: &Secret<String>| text.expose().len() <= PHRASE_BYTES_MAX;
    if !is_short(&text) {
        return Err(IdentityError::PhraseLength { words: 0 }.into());
    }
    Ok(Phrase::read(&text)?)
}

/// Says of a key that no account lists what that means for its phrase.
fn explained(error: Error) -> Error {
    match error {
        Error::Problem(mut problem) if problem.code == "key_unknown" => {
            problem.detail = format!(
                "this key acts for no account of that network: it was rotated or revoked long ago, or it belongs to another network ({})",
                problem.detail
            );
            problem.next_step = "use the account's newest phrase; or bring the key for another network: allod identity import --unchecked".into();
            Error::Problem(problem)
        }
        other => other,
    }
}
