//! `allod identity init`: a new account with its first key, or a new key for an account that there is.

use allod_api::client::Result;
use allod_node::identity::Identity;
use allod_state::AccountId;

use super::phrase::Place;
use super::{Closing, lock_of, show_file};
use crate::context::Context;

/// Make an identity: a new account with its first key. `allod up` makes one by itself where there is none.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    closing: Closing,
    #[command(flatten)]
    place: Place,
    /// Make a key for this account instead, which has to add it: `allod keys add KEY`.
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<AccountId>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    args.place.check()?;
    let home = context.home()?;
    home.prepare()?;
    let keyfile = context.keyfile()?;
    let identity = match args.account {
        None => Identity::new_account()?,
        Some(account) => Identity::new_key_of(account)?,
    };
    let passphrase = args.closing.secret()?;
    keyfile.create_with(&identity, lock_of(passphrase.as_ref()))?;
    show_file(context, &keyfile)?;
    if args.account.is_some() {
        context.tell(&format!(
            "it acts once the account has added it: allod keys add {} --verbs ...",
            identity.public_key()
        ));
        return Ok(());
    }
    if !args.place.hand_over(context, &identity.phrase())? {
        context.tell(
            "take its recovery phrase down: allod identity export --phrase-file FILE, or on a terminal: allod identity export --phrase",
        );
    }
    Ok(())
}
