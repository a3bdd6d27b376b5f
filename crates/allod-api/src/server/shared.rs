//! What all connections share: the places there are, and the tasks of the processes that were started.

use std::sync::{Arc, Mutex, PoisonError};

use allod_node::Node;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::problem::Problem;
use super::seats::{Seats, Standing};
use crate::limits::{
    EXECS_MAX, OPERATOR_EXECS_MAX, OPERATOR_STREAMS_MAX, OPERATOR_WORK_MAX, STRANGER_REQUESTS_MAX,
    STREAMS_MAX, TURN_TIMEOUT, WORK_MAX,
};
use crate::signature::Verifier;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) node: Node,
    pub(crate) verifier: Verifier,
    pub(crate) seats: Arc<Seats>,
    /// Turns true when the server is told to stop; streams end then.
    pub(crate) stopping: watch::Receiver<bool>,
    strangers: Arc<Semaphore>,
    work: Lanes,
    streams: Lanes,
    execs: Lanes,
    terminals: Mutex<JoinSet<()>>,
}

/// Places for everybody, and beside them places that only the operator may have.
struct Lanes {
    common: Arc<Semaphore>,
    operator: Arc<Semaphore>,
}

impl Lanes {
    fn new(common: usize, operator: usize) -> Self {
        Self {
            common: Arc::new(Semaphore::new(common)),
            operator: Arc::new(Semaphore::new(operator)),
        }
    }

    fn of(&self, standing: Standing) -> &Arc<Semaphore> {
        match standing {
            Standing::Operator => &self.operator,
            Standing::Member(_) | Standing::Stranger => &self.common,
        }
    }

    /// A place now, or none. The operator may have one of everybody's too.
    fn try_place(&self, standing: Standing) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(self.of(standing)).try_acquire_owned().ok();
        if place.is_none() && standing == Standing::Operator {
            return Arc::clone(&self.common).try_acquire_owned().ok();
        }
        place
    }
}

impl Shared {
    pub(crate) fn new(node: Node, verifier: Verifier, stopping: watch::Receiver<bool>) -> Self {
        Self {
            node,
            verifier,
            seats: Arc::default(),
            stopping,
            strangers: Arc::new(Semaphore::new(STRANGER_REQUESTS_MAX)),
            work: Lanes::new(WORK_MAX, OPERATOR_WORK_MAX),
            streams: Lanes::new(STREAMS_MAX, OPERATOR_STREAMS_MAX),
            execs: Lanes::new(EXECS_MAX, OPERATOR_EXECS_MAX),
            terminals: Mutex::default(),
        }
    }

    /// A turn for a stranger, now or not at all: the proven are bounded by their seats.
    pub(crate) fn stranger_turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let turn = Arc::clone(&self.strangers).try_acquire_owned();
        turn.map_err(|_| {
            Problem::busy(
                "busy",
                "too many requests that nobody signed are being answered",
            )
        })
    }

    /// Waits for a thread that reads and computes.
    pub(crate) async fn work_place(
        &self,
        standing: Standing,
    ) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(self.work.of(standing)).acquire_owned();
        match tokio::time::timeout(TURN_TIMEOUT, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Problem::busy(
                "busy",
                "too many requests are being answered",
            )),
        }
    }

    pub(crate) fn stream_place(&self, standing: Standing) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.streams.try_place(standing);
        place.ok_or_else(|| Problem::busy("too-many-streams", "too many streams are open"))
    }

    pub(crate) fn exec_place(&self, standing: Standing) -> Result<OwnedSemaphorePermit, Problem> {
        self.execs.try_place(standing).ok_or_else(|| {
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
