//! A validator that may have signed what it no longer knows tells the ledger so; the block that holds its report is the
//! proof that it may sign again ([`allod_state::validator::ReportLoss`]).

use std::sync::Arc;

use allod_state::validator::{ReportLoss, ValidatorSet};
use allod_state::{NodeId, State};

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
            let signs = may_sign(&view.state, &inner.node);
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

/// Whether a machine decides blocks, or may come to.
fn may_sign(state: &State, node: &NodeId) -> bool {
    let is = |set: ValidatorSet| {
        set.iter()
            .any(|(key, _)| NodeId::of_first_key(key) == *node)
    };
    state.seat(node).is_some() || is(state.elected()) || is(state.validators())
}
