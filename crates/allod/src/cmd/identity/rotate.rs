//! `allod identity rotate`: another key for the same account.
//!
//! The new key is on disk before the law hears of it, so that a crash at any moment leaves a key that acts: until the
//! block is committed the old one, and then the one that waits beside it. Running the command again goes on where it
//! was broken off.

use allod_api::client::{Client, Error, Result};
use allod_node::identity::{Identity, IdentityError, Keyfile, Lock, Protection, Secret, lock};
use allod_state::Action;
use allod_state::account::RotateKey;

use super::phrase::Place;
use super::show_file;
use crate::context::{Context, passphrase};

/// Replace the key by a new one with the same rights. The account stays; the old key, its copies and its recovery
/// phrase work no more.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<()> {
    args.place.check()?;
    let (home, keyfile) = (context.home()?, context.keyfile()?);
    let description = keyfile.describe()?;
    // The new file is closed as the old one is, so that the passphrase is needed although the key may be held open.
    let secret = match description.protection {
        Protection::Passphrase => Some(passphrase(IdentityError::PassphraseNeeded {
            path: keyfile.path().to_owned(),
        })?),
        Protection::Machine | Protection::Nothing => None,
    };
    let url = context.api()?.ok_or_else(|| Error::NotRunning {
        place: home.run_dir().display().to_string(),
    })?;
    let next = keyfile.next();
    if !next.exists() {
        context.confirm(
            "Replace the key? The old one, its copies and its recovery phrase will work no more.",
        )?;
    }
    if !took_over(&url, &next, secret.as_ref()).await? {
        replace(context, &keyfile, secret.as_ref()).await?;
    }
    keyfile.take_next()?;
    lock(&home.unlocked_socket(&description.key));
    show_file(context, &keyfile)?;
    let identity = keyfile.load(secret.as_ref())?;
    if !args.place.hand_over(context, &identity.phrase())? {
        context.tell(
            "the old recovery phrase works no more; take the new one down: allod identity export --phrase-file FILE",
        );
    }
    Ok(())
}

/// Whether a key that waits acts already: the rotation was broken off after its block.
async fn took_over(url: &str, next: &Keyfile, secret: Option<&Secret<String>>) -> Result<bool> {
    if !next.exists() {
        return Ok(false);
    }
    let client = Client::new(url, next.load(secret)?)?;
    match client.own_account().await {
        Ok(_) => Ok(true),
        Err(Error::Problem(problem)) if problem.code == "key_unknown" => Ok(false),
        Err(error) => Err(error),
    }
}

/// Keeps the next key, where none waits yet, and lets it take over.
async fn replace(
    context: &Context,
    keyfile: &Keyfile,
    secret: Option<&Secret<String>>,
) -> Result<()> {
    let client = context.client()?;
    let next = keyfile.next();
    if !next.exists() {
        let lock = match (keyfile.describe()?.protection, secret) {
            (Protection::Nothing, _) => Lock::Nothing,
            (_, Some(secret)) => Lock::Passphrase(secret),
            (_, None) => Lock::Machine,
        };
        let made: Identity = client.identity().rotated()?;
        next.create_with(&made, lock)?;
    }
    let new = next.describe()?.key;
    match client.submit(vec![Action::from(RotateKey { new })]).await {
        Ok(_) => Ok(()),
        Err(error) => {
            // Only what was surely refused is forgotten; after silence the block may still come.
            let is_refused = match &error {
                Error::Rejected(_) => true,
                Error::Problem(problem) => (400..500).contains(&problem.status),
                _ => false,
            };
            if is_refused {
                keyfile.drop_next()?;
            } else {
                context.tell("it is not known whether the key was replaced; run `allod identity rotate` again");
            }
            Err(error)
        }
    }
}
