//! What all connections share: the places there are, and the tasks of the processes that were started.

use std::sync::{Arc, Mutex, PoisonError};

use allod_node::Node;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::problem::Problem;
use crate::limits::{EXECS_MAX, REQUESTS_MAX, STREAMS_MAX, TURN_TIMEOUT};
use crate::signature::Verifier;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) node: Node,
    pub(crate) verifier: Verifier,
    /// Turns true when the server is told to stop; streams end then.
    pub(crate) stopping: watch::Receiver<bool>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    execs: Arc<Semaphore>,
    terminals: Mutex<JoinSet<()>>,
}

impl Shared {
    pub(crate) fn new(node: Node, verifier: Verifier, stopping: watch::Receiver<bool>) -> Self {
        Self {
            node,
            verifier,
            stopping,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            execs: Arc::new(Semaphore::new(EXECS_MAX)),
            terminals: Mutex::default(),
        }
    }

    /// Waits for its turn.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = Arc::clone(&self.requests).acquire_owned();
        match tokio::time::timeout(TURN_TIMEOUT, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::busy(
                "busy",
                "too many requests are being answered",
            )),
        }
    }

    pub(crate) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| Problem::busy("too-many-streams", "too many streams are open"))
    }

    pub(crate) fn exec_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.execs).try_acquire_owned();
        place.map_err(|_| {
            Problem::busy(
                "too-many-processes",
                "too many processes run beside replicas",
            )
        })
    }

    /// Keeps a task that outlives its request: it ends with the server at the latest.
    pub(crate) fn own(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut terminals = self
            .terminals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while terminals.try_join_next().is_some() {}
        terminals.spawn(task);
    }
}
