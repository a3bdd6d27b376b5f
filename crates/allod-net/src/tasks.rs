//! Owned tasks: what a part of this crate starts, it can stop, and dropping the part stops them.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

/// A set of tasks that anything holding a reference may add to.
///
/// The owner of the part calls [`Tasks::stop`] when it is dropped, because the tasks themselves
/// usually hold the reference that would keep this set alive.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Starts `task`, and forgets those that have ended meanwhile.
    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.lock();
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Ends every task at its next await.
    pub(crate) fn stop(&self) {
        self.lock().abort_all();
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
