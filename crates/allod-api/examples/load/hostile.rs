//! The bad clients, on a thread of their own that gives way: what they do to the server is measured, and not how they keep
//! the good clients, which have the same processor, from asking.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Failure;
use crate::crowd::{self, Record};

/// By how much they give way.
const NICENESS: i32 = 10;

/// What they are told, and where what they see is kept.
pub(crate) struct Hostile {
    /// How many there are of each kind.
    pub(crate) count: usize,
    pub(crate) address: String,
    /// A request whose signature is false.
    pub(crate) forged: Arc<Vec<u8>>,
    pub(crate) garbage: Record,
    pub(crate) slow: Record,
    pub(crate) half_open: Record,
}

/// The thread; they go on until it is stopped.
pub(crate) struct Running {
    told: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Hostile {
    pub(crate) fn start(self) -> Result<Running, Failure> {
        let (told, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || {
            let _ = rustix::process::nice(NICENESS);
            runtime.block_on(async {
                let mut crowd = self.crowd();
                let _ = stopped.await;
                crowd.shutdown().await;
            });
        };
        let thread = std::thread::Builder::new()
            .name("hostile".into())
            .spawn(work)?;
        Ok(Running { told, thread })
    }

    fn crowd(&self) -> JoinSet<()> {
        let mut crowd = JoinSet::new();
        let address = || self.address.clone();
        for number in 0..self.count {
            let forged = Arc::clone(&self.forged);
            crowd.spawn(crowd::garbage(
                address(),
                forged,
                self.garbage.clone(),
                number,
            ));
            crowd.spawn(crowd::slow(address(), self.slow.clone(), number % 2 == 0));
            crowd.spawn(crowd::half_open(address(), self.half_open.clone()));
        }
        crowd
    }
}

impl Running {
    /// Waits until they have hung up.
    pub(crate) fn stop(self) {
        drop(self.told);
        let _ = self.thread.join();
    }
}
