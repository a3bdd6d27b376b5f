//! Transactions: built from actions, signed here, submitted, and waited for.

use std::time::Instant;

use allod_node::view;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Transaction};
use http::Method;

use super::Result;
use super::connection::{Call, Client, now_ms};
use super::error::Error;
use super::limits::{
    COMMIT_TIMEOUT, OTHERS_MAX, OTHERS_PAUSE, TRANSACTION_LIFETIME_DRAWN_MS,
    TRANSACTION_LIFETIME_MS,
};

const WRONG_NONCE: &str = "wrong-nonce";

impl Client {
    /// Signs these actions as one transaction and waits until a block holds it. Where another transaction of the same
    /// key came first, it is signed again: several commands may run at once with one key.
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
        let mut nonce = self.nonce(account)?;
        let began = Instant::now();
        loop {
            match self.submit_with(network, nonce, actions.clone()).await {
                Err(error) if is_wrong_nonce(&error) && began.elapsed() < OTHERS_MAX => {
                    nonce = self.nonce(&self.own_account().await?)?;
                }
                other => return other,
            }
            // The other one may still wait for its block.
            tokio::time::sleep(OTHERS_PAUSE).await;
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
            expires_ms: expiry_ms(network.time_ms),
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

/// When a transaction that is signed now expires. Block time may run ahead of this clock after a clock was set back. The
/// exact moment is drawn: two commands of one key that want the same in one millisecond would sign the same transaction,
/// which takes effect once.
fn expiry_ms(block_time_ms: u64) -> u64 {
    let mut drawn = [0; 2];
    // Without randomness it is as without the draw.
    let _ = getrandom::fill(&mut drawn);
    let earliest = now_ms().max(block_time_ms) + TRANSACTION_LIFETIME_MS;
    earliest + u64::from(u16::from_le_bytes(drawn)) % TRANSACTION_LIFETIME_DRAWN_MS
}

fn is_wrong_nonce(error: &Error) -> bool {
    match error {
        Error::Problem(problem) => problem.code == WRONG_NONCE,
        Error::Rejected(rejection) => rejection.name == WRONG_NONCE,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
