//! Shares of a line's places, so that no target takes them all.
//!
//! A target gets one more while it has fewer than are free. So one alone gets half of the places, two get a third each,
//! and however many of them take all that they get, as many are left for the others: for those who have none yet, such as
//! whoever asks the machine itself, at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;

/// The places, and how many each target has.
#[derive(Debug)]
pub(crate) struct Shares {
    places: Arc<Semaphore>,
    held: Mutex<HashMap<Bytes, usize>>,
}

/// One place. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    target: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Shares {
    pub(crate) fn new(places: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            places,
            held: Mutex::default(),
        })
    }

    /// One more for this target, unless it has its share.
    pub(crate) fn take(self: &Arc<Self>, target: &Bytes) -> Option<Share> {
        let mut held = lock(&self.held);
        let own = held.get(target).copied().unwrap_or(0);
        if own >= self.places.available_permits() {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        held.insert(target.clone(), own + 1);
        Some(Share {
            shares: Arc::clone(self),
            target: target.clone(),
            _place: place,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = lock(&self.shares.held);
        match held.get_mut(&self.target) {
            Some(own @ 2..) => *own -= 1,
            _ => {
                held.remove(&self.target);
            }
        }
    }
}
