//! The node's own transactions: reports and evidence, signed with the node's key in the order of its nonces.

use std::sync::Arc;
use std::time::Duration;

use allod_ledger::chain::{Committed, SubmitError};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Rejection, Transaction};
use tokio::sync::Mutex;

use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::limits::COMMIT_TIMEOUT;
use crate::time::now_ms;

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
}

/// Signs for the node.
pub(crate) struct Signer {
    ledger: Ledger,
    identity: Arc<Identity>,
    /// One transaction at a time: the next nonce is read from the state that the last one led to.
    turn: Mutex<()>,
}

impl Signer {
    pub(crate) fn new(ledger: Ledger, identity: Arc<Identity>) -> Self {
        Self {
            ledger,
            identity,
            turn: Mutex::default(),
        }
    }

    /// Signs, submits and waits for the block.
    pub(crate) async fn submit(&self, actions: Vec<Action>) -> Result<Committed, SignerError> {
        // What nobody waits for any more must not wait in the ledger either: it would hold the next one's nonce.
        self.submit_within(actions, COMMIT_TIMEOUT).await
    }

    /// The same for what is true for so long only, from now on.
    pub(crate) async fn submit_within(
        &self,
        actions: Vec<Action>,
        lifetime: Duration,
    ) -> Result<Committed, SignerError> {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        // Block time may run ahead of this clock after a clock was set back.
        let now_ms = now_ms().max(self.ledger.state().tip().time_ms);
        let expires_ms = now_ms.saturating_add(lifetime_ms);
        let _turn = self.turn.lock().await;
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
        let committed = match tokio::time::timeout(lifetime, submitted).await {
            Ok(committed) => committed?,
            Err(_) => return Err(SignerError::Timeout(lifetime)),
        };
        match &committed.receipt.outcome {
            Ok(()) => Ok(committed),
            Err(rejection) => Err(rejection.clone().into()),
        }
    }

    fn operator(&self) -> Option<AccountId> {
        let node = self.identity.node()?;
        self.ledger.state().node(&node).map(|node| node.operator)
    }
}
