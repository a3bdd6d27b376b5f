//! Accounts and keys for the clients: made with the owner's key, on the network that is measured.

use allod_api::client::Client;
use allod_node::identity::{Identity, Keyfile};
use allod_node::view;
use allod_state::account::AddKey;
use allod_state::account::grant::Grant;
use allod_state::credit::Transfer;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{Action, Credits, Transaction};

use crate::Failure;
use crate::wire::{self, Wire};

/// Keys of one account besides its first; a list of actions holds no more.
const KEYS: usize = 49;
/// Accounts.
const ACCOUNTS: usize = 4;

/// The keys of several accounts, in turns.
pub(crate) async fn enrol(owner: &Client, address: &str) -> Result<Vec<Identity>, Failure> {
    let network = owner.network().await?;
    let mut keys = Vec::new();
    for _ in 0..ACCOUNTS {
        let first = Identity::new_account()?;
        let account = first.account().ok_or("a new account is an account")?;
        let gift = Transfer {
            to: account,
            amount: Credits::from_micro(1),
            memo: String::new(),
        };
        owner.submit(vec![gift.into()]).await?;
        let mut actions: Vec<Action> = Vec::new();
        let mut own = Vec::new();
        for _ in 0..KEYS {
            let identity = first.rotated()?;
            let key = identity.public_key();
            actions.push(
                AddKey {
                    key,
                    grant: Grant::full(),
                }
                .into(),
            );
            own.push(identity);
        }
        submit(&network, &first, actions, address).await?;
        own.push(first);
        keys.push(own);
    }
    let turns = (0..=KEYS).flat_map(|at| (0..ACCOUNTS).map(move |account| (account, at)));
    turns
        .map(|(account, at)| copy(&keys[account][at]))
        .collect()
}

/// The first transaction of an account, whose key the API cannot know yet.
async fn submit(
    network: &view::Network,
    signer: &Identity,
    actions: Vec<Action>,
    address: &str,
) -> Result<(), Failure> {
    let body = Body {
        version: PROTOCOL_VERSION,
        network: network.network,
        account: signer.account().ok_or("a new account is an account")?,
        key: signer.public_key(),
        nonce: 0,
        expires_ms: wire::now_ms() + 60_000,
        work_limit: actions.iter().map(Action::work).sum(),
        actions,
    };
    let signature = signer.sign(&body.sign_bytes());
    let bytes = Transaction { body, signature }.to_bytes();
    let mut wire = Wire::open(address).await?;
    wire.write(&wire::post(address, "/v1/transactions", &bytes))
        .await?;
    let answer = wire.answer().await?;
    if answer.status == 200 {
        return Ok(());
    }
    Err(format!(
        "adding keys was answered with {}: {}",
        answer.status, answer.body
    )
    .into())
}

/// Another handle on the same key.
fn copy(identity: &Identity) -> Result<Identity, Failure> {
    let folder = tempfile::tempdir()?;
    let file = Keyfile::new(folder.path().join("key"), folder.path().join("public"));
    file.create(identity, None)?;
    Ok(file.load(None)?)
}
