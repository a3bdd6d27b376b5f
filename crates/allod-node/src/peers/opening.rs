//! Opening what may not open yet: its port is taken for a moment, or this machine gets the address later than its node starts.
//! It is tried until it works, and each reason why it does not is told once.

use std::error::Error;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::chain as words;
use crate::limits::OPEN_PAUSE;

/// What this machine is to open for others and could not yet, with why.
#[derive(Debug, Default)]
pub(crate) struct Unopened {
    /// The socket on which it speaks with peers.
    pub(crate) peers: watch::Sender<Option<String>>,
    /// The relay for other members.
    pub(crate) relay: watch::Sender<Option<String>>,
}

impl Unopened {
    /// What follows from it, for whoever asks how this machine is doing: the first is worse.
    pub(crate) fn notices(&self) -> [Option<String>; 2] {
        let told = |place: &watch::Sender<Option<String>>, follows: &str| {
            let why = place.borrow().clone();
            why.map(|why| format!("{follows}: {why}; it is tried again until it works"))
        };
        [
            told(&self.peers, "no other machine is spoken with"),
            told(&self.relay, "this machine relays for nobody"),
        ]
    }
}

/// Opens it, however long that takes. Why it does not open yet stands in `unopened` meanwhile.
pub(super) async fn at_last<T, E, F>(
    unopened: &watch::Sender<Option<String>>,
    open: impl Fn() -> F,
) -> T
where
    E: Error,
    F: Future<Output = Result<T, E>>,
{
    loop {
        match open().await {
            Ok(opened) => {
                unopened.send_replace(None);
                return opened;
            }
            Err(error) => {
                let why = Some(words(&error));
                let is_news = *unopened.borrow() != why;
                if is_news {
                    let error = why.as_deref();
                    tracing::error!(
                        error,
                        "what others reach this machine by does not open; it is tried again"
                    );
                    unopened.send_replace(why);
                }
            }
        }
        sleep(OPEN_PAUSE).await;
    }
}
