//! Backends: where a service's replicas listen, and how many requests each has open.
//!
//! A request is counted on a backend in the same step in which it is picked from the table, while
//! the table is still borrowed. So once a new table is in place, a backend that it no longer lists
//! can only lose requests: [`Loads::drained`] then means that it may be stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::location::Location;

/// Which replica, and where. A new replica at an old address is another backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId {
    /// Where it listens.
    pub location: Location,
    /// What people call it, such as `web-0`.
    pub replica: Arc<str>,
}

/// Whether a replica may be given new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It passed its readiness probe.
    Ready,
    /// It is starting, failing or being stopped.
    NotReady,
}

/// One replica of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Which.
    pub id: BackendId,
    /// Whether it may be given new work.
    pub readiness: Readiness,
}

impl Backend {
    /// A backend that may be given work.
    pub fn ready(location: impl Into<Location>, replica: &str) -> Self {
        Self::new(location.into(), replica, Readiness::Ready)
    }

    /// A backend that exists and may not be given work.
    pub fn not_ready(location: impl Into<Location>, replica: &str) -> Self {
        Self::new(location.into(), replica, Readiness::NotReady)
    }

    fn new(location: Location, replica: &str, readiness: Readiness) -> Self {
        let id = BackendId {
            location,
            replica: replica.into(),
        };
        Self { id, readiness }
    }
}

/// What picking a backend came to.
#[derive(Debug)]
pub(crate) enum Pick {
    /// This one; it is counted until the ticket is dropped.
    Taken(Ticket),
    /// All that are ready are at their limit.
    Busy,
    /// None is ready.
    NoneReady,
}

/// The requests (or connections) open on each backend.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    counts: Mutex<Counts>,
    emptied: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    open: HashMap<BackendId, usize>,
    turn: usize,
}

impl Loads {
    /// Takes the ready backend with the fewest open requests; among equals, the next in turn. One has
    /// at most `open_max` open, and all together `all_max`.
    pub(crate) fn pick(
        self: &Arc<Self>,
        backends: &[Backend],
        except: Option<&BackendId>,
        (open_max, all_max): (usize, usize),
    ) -> Pick {
        let mut counts = self.lock();
        counts.turn = counts.turn.wrapping_add(1);
        let turn = counts.turn;
        let ready: Vec<&BackendId> = backends
            .iter()
            .filter(|backend| backend.readiness == Readiness::Ready)
            .map(|backend| &backend.id)
            .filter(|id| Some(*id) != except)
            .collect();
        let least = (0..ready.len())
            .map(|step| ready[turn.wrapping_add(step) % ready.len()])
            .min_by_key(|id| counts.open.get(*id).copied().unwrap_or(0));
        let Some(id) = least else {
            return Pick::NoneReady;
        };
        let of = |backend: &Backend| counts.open.get(&backend.id).copied().unwrap_or(0);
        if backends.iter().map(of).sum::<usize>() >= all_max {
            return Pick::Busy;
        }
        let open = counts.open.entry(id.clone()).or_insert(0);
        if *open >= open_max {
            return Pick::Busy;
        }
        *open += 1;
        Pick::Taken(Ticket {
            loads: Arc::clone(self),
            id: id.clone(),
        })
    }

    /// The open requests of a backend.
    pub(crate) fn open(&self, id: &BackendId) -> usize {
        self.lock().open.get(id).copied().unwrap_or(0)
    }

    /// Returns once the backend has no open request.
    pub(crate) async fn drained(&self, id: &BackendId) {
        let mut emptied = self.emptied.subscribe();
        while self.open(id) > 0 {
            if emptied.changed().await.is_err() {
                return;
            }
        }
    }

    fn give_back(&self, id: &BackendId) {
        let mut counts = self.lock();
        let Some(open) = counts.open.get_mut(id) else {
            return;
        };
        *open -= 1;
        if *open == 0 {
            counts.open.remove(id);
            drop(counts);
            self.emptied
                .send_modify(|turn| *turn = turn.wrapping_add(1));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open request on a backend; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Ticket {
    loads: Arc<Loads>,
    id: BackendId,
}

impl Ticket {
    /// The backend it is for.
    pub(crate) fn id(&self) -> &BackendId {
        &self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.loads.give_back(&self.id);
    }
}

#[cfg(test)]
mod tests;
