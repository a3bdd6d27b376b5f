//! A validator that may have signed what it no longer knows tells the ledger so; the block that holds its report is the
//! proof that it may sign again ([`allod_state::validator::ReportLoss`]).

use std::sync::Arc;

use allod_state::State;
use allod_state::validator::ReportLoss;

use crate::agent::chain;
use crate::inner::Inner;
use crate::limits::RETRY_PAUSE;

/// Tells it whenever there is something to tell, for as long as the ledger runs. A machine that is neither a validator nor
/// stands for one has nothing to sign, and tells nothing.
pub(crate) async fn report(inner: &Arc<Inner>) {
    let mut views = inner.ledger.chain().views();
    loop {
        let due = {
            let view = views.borrow_and_update();
            let signs = may_sign(&view.state, inner);
            view.quarantine.filter(|_| signs)
        };
        let Some(challenge) = due else {
            if views.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        let node = inner.node;
        match inner
            .signer
            .submit(vec![ReportLoss { node, challenge }.into()])
            .await
        {
            Ok(_) => tracing::info!("the ledger knows that this machine lost what it had signed"),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    error,
                    "the ledger does not know yet that this machine lost what it had signed"
                );
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Whether this machine decides blocks, or may come to.
fn may_sign(state: &State, inner: &Inner) -> bool {
    let key = inner.identity.public_key();
    let sets = [state.validators(), state.elected()];
    sets.iter().any(|set| set.power(&key) > 0) || state.seat(&inner.node).is_some()
}
