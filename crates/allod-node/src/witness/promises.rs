//! What this machine has promised as a witness, on disk: exclusive leases that it never acknowledges again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use allod_state::codec;
use allod_state::lease::right::Watched;

use crate::limits::PROMISES_BYTES_MAX;
use crate::whole;

const FILE: &str = "promises";

/// The promises of all lives of this machine whose leases have not ended.
#[derive(Debug)]
pub(super) struct Promises {
    path: PathBuf,
    all: BTreeSet<Watched>,
}

impl Promises {
    /// What was promised in earlier lives. No file is none; one that says nothing is an error.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let all = match std::fs::read(&path) {
            Ok(bytes) => codec::decode("promises", PROMISES_BYTES_MAX, &bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, all })
    }

    pub(super) const fn all(&self) -> &BTreeSet<Watched> {
        &self.all
    }

    /// Promises more, and is back when that is on disk. What has ended needs no promise.
    pub(super) fn make(
        &mut self,
        more: BTreeSet<Watched>,
        has_ended: impl Fn(&Watched) -> bool,
    ) -> io::Result<()> {
        self.all.retain(|lease| !has_ended(lease));
        self.all.extend(more);
        whole::write(&self.path, &codec::encode(&self.all))
    }
}
