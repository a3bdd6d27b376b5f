//! Access counters per route: what passed, how it was answered, how long the answer took.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::ingress::routes::{RouteKey, Routes};
use crate::limits::COUNTED_ROUTES_MAX;

/// The counters of one route since the ingress started. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered, by anyone.
    pub requests: u64,
    /// Body bytes from clients, and what they sent through upgraded connections.
    pub bytes_in: u64,
    /// Body bytes to clients, and what they received through upgraded connections.
    pub bytes_out: u64,
    /// Answers by class of status: `statuses[0]` counts 1xx, `statuses[4]` 5xx.
    pub statuses: [u64; 5],
    /// Answers that were our own, because no replica could give one.
    pub refused: u64,
    /// Requests sent to another replica because the first could not be reached.
    pub retried: u64,
    /// Microseconds from request to the head of the answer, summed over the requests.
    pub latency_us: u64,
}

/// The live counters of one route.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    statuses: [AtomicU64; 5],
    refused: AtomicU64,
    retried: AtomicU64,
    latency_us: AtomicU64,
}

impl Meter {
    /// Counts an answer.
    pub(crate) fn answered(&self, status: StatusCode, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let class = usize::from(status.as_u16() / 100).clamp(1, self.statuses.len());
        self.statuses[class - 1].fetch_add(1, Ordering::Relaxed);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// Counts an answer of our own.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a second attempt.
    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            statuses: [0, 1, 2, 3, 4].map(|class| read(&self.statuses[class])),
            refused: read(&self.refused),
            retried: read(&self.retried),
            latency_us: read(&self.latency_us),
        }
    }
}

/// The counters of all routes.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    by_route: Mutex<BTreeMap<RouteKey, Arc<Meter>>>,
}

impl Meters {
    /// The counters of a route.
    pub(crate) fn of(&self, key: &RouteKey) -> Arc<Meter> {
        let mut by_route = self.lock();
        if let Some(meter) = by_route.get(key) {
            return Arc::clone(meter);
        }
        Arc::clone(by_route.entry(key.clone()).or_default())
    }

    /// The counters of every route as they stand.
    pub(crate) fn snapshot(&self) -> BTreeMap<RouteKey, Counts> {
        let by_route = self.lock();
        by_route
            .iter()
            .map(|(key, meter)| (key.clone(), meter.counts()))
            .collect()
    }

    /// Forgets routes that are gone, when there are too many.
    pub(crate) fn prune(&self, routes: &Routes) {
        let mut by_route = self.lock();
        if by_route.len() > COUNTED_ROUTES_MAX {
            let listed: std::collections::BTreeSet<&RouteKey> =
                routes.iter().map(|route| &route.key).collect();
            by_route.retain(|key, _| listed.contains(key));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RouteKey, Arc<Meter>>> {
        self.by_route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
