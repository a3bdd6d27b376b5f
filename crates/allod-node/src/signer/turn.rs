//! Whose transaction is next: one at a time, and what is urgent before everything else.
//!
//! The key's nonces allow for one transaction at a time, and each takes as long as a block does. What many apps here have to
//! say would hold up the few words on which other machines wait: that one of them is gone, or that this one is back.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// The line in which transactions wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The first of those that are not urgent.
    front: Mutex<()>,
    turn: Mutex<()>,
    /// Urgent ones that wait.
    urgent: AtomicUsize,
}

/// Having the turn, until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
}

/// Being urgent, and waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(urgent: &'a AtomicUsize) -> Self {
        urgent.fetch_add(1, Ordering::SeqCst);
        Self(urgent)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Line {
    /// Waits until nobody else has the turn, and nothing urgent waits.
    pub(super) async fn wait(&self) -> Turn<'_> {
        let _front = self.front.lock().await;
        loop {
            let turn = self.turn.lock().await;
            if self.urgent.load(Ordering::SeqCst) == 0 {
                return Turn { _turn: turn };
            }
            // Whoever is urgent is in line already, or about to be; the next try is behind it.
            drop(turn);
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nobody else has the turn.
    pub(super) async fn wait_urgently(&self) -> Turn<'_> {
        let _waiting = Waiting::begin(&self.urgent);
        let turn = self.turn.lock().await;
        Turn { _turn: turn }
    }
}

#[cfg(test)]
mod tests;
