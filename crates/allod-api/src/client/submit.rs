//! Transactions: built from actions, signed here, submitted, and waited for.

use allod_node::view;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Transaction};
use http::Method;

use super::Result;
use super::connection::{Call, Client, now_ms};
use super::error::Error;
use super::limits::{COMMIT_TIMEOUT, TRANSACTION_LIFETIME_MS};

const WRONG_NONCE: &str = "wrong-nonce";

impl Client {
    /// Signs these actions as one transaction and waits until a block holds it. Where another transaction of the same
    /// key came first, it is signed again once.
    ///
    /// # Errors
    /// Where the API cannot be reached, or the law refuses.
    pub async fn submit(&self, actions: Vec<Action>) -> Result<view::Receipt> {
        let (network, account) = tokio::try_join!(self.network(), self.own_account())?;
        self.submit_knowing(&network, &account, actions).await
    }

    /// The same for a caller who has just read the network and the account.
    ///
    /// # Errors
    /// See [`Client::submit`].
    pub async fn submit_knowing(
        &self,
        network: &view::Network,
        account: &view::Account,
        actions: Vec<Action>,
    ) -> Result<view::Receipt> {
        let nonce = self.nonce(account)?;
        match self.submit_with(network, nonce, actions.clone()).await {
            Err(error) if is_wrong_nonce(&error) => {
                let nonce = self.nonce(&self.own_account().await?)?;
                self.submit_with(network, nonce, actions).await
            }
            other => other,
        }
    }

    fn nonce(&self, account: &view::Account) -> Result<u64> {
        let own = self.identity().public_key();
        // A transfer opened the account, and its first key has not acted yet.
        if account.keys.is_empty() && AccountId::of_first_key(&own) == account.account {
            return Ok(0);
        }
        let key = account.keys.iter().find(|key| key.key == own);
        key.map(|key| key.nonce).ok_or_else(|| Error::KeyNotListed {
            key: own.to_string(),
        })
    }

    async fn submit_with(
        &self,
        network: &view::Network,
        nonce: u64,
        actions: Vec<Action>,
    ) -> Result<view::Receipt> {
        let body = Body {
            version: PROTOCOL_VERSION,
            network: network.network,
            account: self.account(),
            key: self.identity().public_key(),
            nonce,
            // Block time may run ahead of this clock after a clock was set back.
            expires_ms: now_ms().max(network.time_ms) + TRANSACTION_LIFETIME_MS,
            work_limit: actions.iter().map(Action::work).sum(),
            actions,
        };
        let signature = self.identity().sign(&body.sign_bytes());
        let transaction = Transaction { body, signature };
        let url = self.address(&["v1", "transactions"], &[]);
        let call = Call::new(Method::POST, url)
            .bytes(transaction.to_bytes())
            .within(COMMIT_TIMEOUT);
        let receipt: view::Receipt = self.call(call).await?;
        match receipt.rejection {
            Some(rejection) => Err(Error::Rejected(Box::new(rejection))),
            None => Ok(receipt),
        }
    }
}

fn is_wrong_nonce(error: &Error) -> bool {
    match error {
        Error::Problem(problem) => problem.code == WRONG_NONCE,
        Error::Rejected(rejection) => rejection.name == WRONG_NONCE,
        _ => false,
    }
}
