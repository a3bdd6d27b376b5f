//! The node's own transactions: reports and evidence, signed with the node's key in the order of its nonces.

use std::sync::Arc;
use std::time::Duration;

use allod_ledger::chain::{Committed, SubmitError};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Rejection, Transaction};
use tokio::time::timeout;

use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::limits::COMMIT_TIMEOUT;
use crate::time::now_ms;
use turn::{Line, Turn};

mod turn;

/// Why a transaction of this node did not take effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignerError {
    #[error("this node belongs to no account yet")]
    NoOperator,
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error("the law refused it")]
    Rejected(#[from] Rejection),
    #[error("no block took it within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("others of this node had their turn for {} s", .0.as_secs())]
    NoTurn(Duration),
    #[error("it was not true any more when its turn came")]
    Withdrawn,
}

/// Signs for the node.
pub(crate) struct Signer {
    ledger: Ledger,
    identity: Arc<Identity>,
    /// One transaction at a time: the next nonce is read from the state that the last one led to.
    line: Line,
}

impl Signer {
    pub(crate) fn new(ledger: Ledger, identity: Arc<Identity>) -> Self {
        Self {
            ledger,
            identity,
            line: Line::default(),
        }
    }

    /// Signs, submits and waits for the block.
    pub(crate) async fn submit(&self, actions: Vec<Action>) -> Result<Committed, SignerError> {
        let turn = self.line.wait().await;
        // What nobody waits for any more must not wait in the ledger either: it would hold the next one's nonce.
        self.send(&turn, actions, COMMIT_TIMEOUT).await
    }

    /// The same, unless it is not true any more when its turn comes.
    pub(crate) async fn submit_if(
        &self,
        actions: Vec<Action>,
        is_true: impl Fn() -> bool + Send,
    ) -> Result<Committed, SignerError> {
        let turn = self.line.wait().await;
        if !is_true() {
            return Err(SignerError::Withdrawn);
        }
        self.send(&turn, actions, COMMIT_TIMEOUT).await
    }

    /// The same for what other machines wait for: before everything else of this node. It is true for so long only: nor does
    /// it wait any longer for its turn, after which it may not be true any more.
    pub(crate) async fn submit_first(
        &self,
        actions: Vec<Action>,
        lifetime: Duration,
    ) -> Result<Committed, SignerError> {
        let turn = timeout(lifetime, self.line.wait_urgently()).await;
        let turn = turn.map_err(|_| SignerError::NoTurn(lifetime))?;
        self.send(&turn, actions, lifetime).await
    }

    /// Whoever has the turn sends. The time of waiting for it is none of a transaction's.
    async fn send(
        &self,
        _turn: &Turn<'_>,
        actions: Vec<Action>,
        lifetime: Duration,
    ) -> Result<Committed, SignerError> {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        // Block time may run ahead of this clock after a clock was set back.
        let now_ms = now_ms().max(self.ledger.state().tip().time_ms);
        let expires_ms = now_ms.saturating_add(lifetime_ms);
        let account = self.operator().ok_or(SignerError::NoOperator)?;
        let state = self.ledger.state();
        let key = self.identity.public_key();
        let nonce = state.key(&account, &key).map_or(0, |record| record.nonce);
        let work_limit = actions.iter().map(Action::work).sum();
        let body = Body {
            version: PROTOCOL_VERSION,
            network: state.network(),
            account,
            key,
            nonce,
            expires_ms,
            work_limit,
            actions,
        };
        let signature = self.identity.sign(&body.sign_bytes());
        let submitted = self.ledger.submit_own(Transaction { body, signature });
        let committed = match timeout(lifetime, submitted).await {
            Ok(committed) => committed?,
            Err(_) => return Err(SignerError::Timeout(lifetime)),
        };
        match &committed.receipt.outcome {
            Ok(()) => Ok(committed),
            Err(rejection) => Err(rejection.clone().into()),
        }
    }

    /// Takes a turn, and does nothing with it.
    #[cfg(test)]
    pub(crate) async fn hold(&self) -> Turn<'_> {
        self.line.wait().await
    }

    fn operator(&self) -> Option<AccountId> {
        let node = self.identity.node()?;
        self.ledger.state().node(&node).map(|node| node.operator)
    }
}

#[cfg(test)]
mod tests;
