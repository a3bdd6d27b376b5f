//! Validators that were seen to sign two things of which they may sign one: this machine shows the proof to the law.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::agent::chain;
use crate::inner::Inner;

/// Shows each, until the ledger ends.
pub(crate) async fn show(inner: &Arc<Inner>) {
    let mut conflicts = inner.ledger.chain().conflicts();
    loop {
        let conflict = match conflicts.recv().await {
            Ok(conflict) => conflict,
            // Others of the same validator say as much.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return std::future::pending().await,
        };
        let report = conflict.report(inner.node);
        let validator = report.validator;
        match inner.signer.submit(vec![report.into()]).await {
            Ok(_) => {
                tracing::warn!(%validator, "a validator signed two things that conflict, and the ledger knows it")
            }
            Err(error) => {
                tracing::warn!(%validator, error = %chain(&error), "the ledger does not know that a validator is false");
            }
        }
    }
}
