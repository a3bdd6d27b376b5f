//! The places of the lobby: a bounded number, and where none is left, the source with the most gives one back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::LOBBY_MAX;

/// All places.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    count: usize,
    /// Who waits, by source, those who came first in front.
    sources: BTreeMap<IpAddr, BTreeMap<u64, Arc<Notify>>>,
}

/// The place of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    source: IpAddr,
    leave: Arc<Notify>,
    places: Places,
}

impl Places {
    /// A place for a client from there; somebody else is told to leave where there is none.
    pub(super) fn enter(&self, source: IpAddr) -> Place {
        let leave = Arc::new(Notify::new());
        let mut table = self.lock();
        if table.count >= LOBBY_MAX {
            table.make_room();
        }
        let number = table.next;
        table.next += 1;
        table.count += 1;
        let waiting = table.sources.entry(source).or_default();
        waiting.insert(number, Arc::clone(&leave));
        Place {
            number,
            source,
            leave,
            places: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Tells the one to leave that came first from the source with the most.
    fn make_room(&mut self) {
        let most = self.sources.iter().max_by_key(|(_, waiting)| waiting.len());
        let first = most.and_then(|(source, waiting)| Some((*source, *waiting.keys().next()?)));
        if let Some((source, number)) = first
            && let Some(leave) = self.take(source, number)
        {
            leave.notify_one();
        }
    }

    fn take(&mut self, source: IpAddr, number: u64) -> Option<Arc<Notify>> {
        let waiting = self.sources.get_mut(&source)?;
        let leave = waiting.remove(&number)?;
        if waiting.is_empty() {
            self.sources.remove(&source);
        }
        self.count -= 1;
        Some(leave)
    }
}

impl Place {
    /// Whence the client is.
    pub(super) const fn source(&self) -> IpAddr {
        self.source
    }

    /// Returns when somebody else needs the place.
    pub(super) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().take(self.source, self.number);
    }
}

#[cfg(test)]
mod tests;
