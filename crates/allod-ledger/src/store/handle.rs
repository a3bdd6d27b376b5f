//! The open file, and the blocks that go into it together.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, Durability, WriteTransaction};

use super::backlog::Backlog;
use super::error::{During, StoreError};

/// The open database. Closing it writes, and may stumble over damage that nobody has read yet.
#[derive(Debug)]
pub(super) struct Handle {
    database: Option<Database>,
    backlog: Mutex<Backlog>,
    /// Held by whoever writes the backlog into the file.
    writing: Mutex<()>,
}

impl std::ops::Deref for Handle {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database
            .as_ref()
            .expect("the database is taken out only when the handle is dropped")
    }
}

impl Handle {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database: Some(database),
            backlog: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    pub(super) fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, durability: Durability) -> Result<WriteTransaction, StoreError> {
        let mut change = self.begin_write().during("writing")?;
        change.set_durability(durability).during("writing")?;
        Ok(change)
    }

    /// Writes the blocks that are not in the file yet.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        // What was not written whole is still in the backlog.
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let backlog = self.backlog().clone();
        let Some(last) = backlog.last() else {
            return Ok(());
        };
        let change = self.begin(Durability::None)?;
        backlog.write(&change)?;
        change.commit().during("writing")?;
        self.backlog().forget_to(last.height);
        Ok(())
    }

    fn close(&mut self) {
        if let Err(error) = self.write() {
            tracing::warn!(%error, "the newest blocks stay in the log alone");
        }
        drop(self.database.take());
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| self.close())).is_err() {
            tracing::error!("the store's file is damaged; it was not closed cleanly");
        }
    }
}
