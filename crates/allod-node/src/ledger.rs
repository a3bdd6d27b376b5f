//! The ledger as the node uses it: the chain's handle with the questions that are asked all the time.

use std::sync::Arc;

use allod_ledger::Chain;
use allod_ledger::chain::{Committed, SubmitError, View};
use allod_state::{State, Transaction};

/// A running ledger.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    chain: Chain,
}

impl Ledger {
    pub(crate) const fn new(chain: Chain) -> Self {
        Self { chain }
    }

    /// The newest committed state.
    pub(crate) fn state(&self) -> State {
        self.chain.view().state.clone()
    }

    /// The newest committed state and its block.
    pub(crate) fn view(&self) -> Arc<View> {
        self.chain.view()
    }

    /// Submits a transaction and waits until it is durable in a block, or never will be.
    pub(crate) async fn submit(&self, transaction: Transaction) -> Result<Committed, SubmitError> {
        self.chain
            .submit(transaction)
            .await
            .unwrap_or(Err(SubmitError::Stopped))
    }

    /// The same for a transaction of this machine, which goes before everybody else's.
    pub(crate) async fn submit_own(
        &self,
        transaction: Transaction,
    ) -> Result<Committed, SubmitError> {
        let verified = transaction.verify();
        let verified = verified.map_err(|_| SubmitError::BadSignature)?;
        let answer = self.chain.submit_own(verified);
        answer.await.unwrap_or(Err(SubmitError::Stopped))
    }

    /// The chain itself.
    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }
}

#[cfg(test)]
pub(crate) mod tests;
