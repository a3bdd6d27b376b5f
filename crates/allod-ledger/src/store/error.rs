//! What keeps a store from what was asked of it.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use allod_state::NetworkId;
use allod_state::state::RestoreError;

/// What to do about damage.
pub(crate) const MENDING: &str = "check the drive, then stop this node and restore its ledger's folder from a copy; where \
     others have the ledger, removing the folder is enough: it is learned anew from them";

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// redb or the file system refused.
    #[error("{what} the store: {source}")]
    Database {
        /// What was attempted.
        what: &'static str,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// The file is not what redb wrote.
    #[error("{what} the store: its file is damaged ({source}); {MENDING}")]
    DamagedFile {
        /// What was attempted.
        what: &'static str,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// Something read is not what was written.
    #[error("the store holds a damaged {what} at height {height}; {MENDING}")]
    Damaged {
        /// What.
        what: &'static str,
        /// At which height.
        height: u64,
    },
    /// The rows do not make up the tip's state.
    #[error("opening the store: {0}")]
    Restore(#[from] RestoreError),
    /// It belongs to another network.
    #[error("the store in this folder is of network {found}, not {wanted}")]
    Foreign {
        /// The store's.
        found: NetworkId,
        /// This node's.
        wanted: NetworkId,
    },
    /// A block that does not follow the tip.
    #[error("a block of height {height} cannot follow the store's tip of height {tip}")]
    OutOfOrder {
        /// The block's height.
        height: u64,
        /// The tip's.
        tip: u64,
    },
}

impl StoreError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Database { source, .. } => matches!(
                &**source,
                redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull
            ),
            _ => false,
        }
    }
}

/// Turns any of redb's errors into ours.
pub(super) trait During<T> {
    fn during(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<redb::Error>> During<T> for Result<T, E> {
    fn during(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| {
            let source = Box::new(source.into());
            if is_damage(&source) {
                StoreError::DamagedFile { what, source }
            } else {
                StoreError::Database { what, source }
            }
        })
    }
}

/// Whether redb found in its file what it never writes, or found it cut.
fn is_damage(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
        _ => false,
    }
}

thread_local! {
    static EXPECTS_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread reads a store's file, so that a panic in it is caught and told as damage. A panic hook has nothing
/// to say then.
#[must_use]
pub fn expects_panic() -> bool {
    EXPECTS_PANIC.get()
}

/// redb panics on some damage to its file; to whoever reads, that is damage like any other.
pub(super) fn guarded<T>(
    what: &'static str,
    height: u64,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let expected = EXPECTS_PANIC.replace(true);
    let read = std::panic::catch_unwind(AssertUnwindSafe(read));
    EXPECTS_PANIC.set(expected);
    read.unwrap_or(Err(StoreError::Damaged { what, height }))
}
