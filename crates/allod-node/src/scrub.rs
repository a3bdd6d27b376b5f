//! Reading all that the ledger keeps again, now and then: a drive may lose what nobody reads for long, and where the index
//! of transactions is hurt, one of them is simply not found.

use std::ops::ControlFlow;
use std::sync::Arc;

use allod_ledger::store::StoreError;

use crate::inner::Inner;
use crate::limits::{SCRUB_PAUSE, SCRUB_PERIOD, SCRUB_TRANSACTIONS};

/// Reads on from the oldest block to the newest, a little at a time, and begins again much later. Damage is told in the log
/// and as the network's notice; what it hides is hidden until somebody mends it, so that it is looked for no further.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut from = 0;
    loop {
        let reading = Arc::clone(&inner);
        let read = tokio::task::spawn_blocking(move || {
            reading.ledger.chain().scrub(from, SCRUB_TRANSACTIONS)
        });
        // One that panics has read something that it could not.
        let read = read.await.unwrap_or(Ok(None));
        let ControlFlow::Continue(next) = told(&inner, read) else {
            return std::future::pending().await;
        };
        let pause = if next.is_some() {
            SCRUB_PAUSE
        } else {
            SCRUB_PERIOD
        };
        from = next.unwrap_or(0);
        tokio::time::sleep(pause).await;
    }
}

fn told(inner: &Inner, read: Result<Option<u64>, StoreError>) -> ControlFlow<(), Option<u64>> {
    match read {
        Ok(next) => ControlFlow::Continue(next),
        Err(error) => {
            tracing::error!(%error, "the ledger's file is damaged");
            let _ = inner.damage.set(error.to_string());
            ControlFlow::Break(())
        }
    }
}
