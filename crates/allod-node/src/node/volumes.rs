//! The data of volumes, taken along and put back.

use std::fs::File;
use std::os::fd::OwnedFd;

use allod_runtime::{ClientError, Refusal};
use allod_state::{AccountId, Label, NodeId};

use crate::agent::volume_name;
use crate::node::Node;

/// Why data of a volume are not packed, or not put in their place.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is no such volume here.
    #[error("the data of the volume are not on this machine")]
    NotHere,
    /// A replica has it, or it has data already.
    #[error("{0}")]
    Busy(String),
    /// The archive is none, or damaged.
    #[error("{0}")]
    BadArchive(String),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(ClientError),
}

impl From<ClientError> for VolumeError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(Refusal::NotFound { .. }) => Self::NotHere,
            ClientError::Refused(Refusal::Busy { why, .. }) => Self::Busy(why),
            ClientError::Refused(Refusal::Invalid { what }) => Self::BadArchive(what),
            other => Self::Runtime(other),
        }
    }
}

impl Node {
    /// Where the data of a volume are.
    #[must_use]
    pub fn volume_at(&self, owner: &AccountId, app: &Label, volume: &Label) -> Option<NodeId> {
        let row = self.state().volume(&(*owner, *app, *volume))?;
        Some(row.node)
    }

    /// Writes the archive of a volume's data to `out`, which may be a pipe; it takes as long as whoever reads it. Where it
    /// fails, what was written is no whole archive. Call it from a thread that may block.
    ///
    /// # Errors
    /// Where the data are not here, or cannot be read.
    pub fn pack_volume(
        &self,
        owner: &AccountId,
        (app, volume): (&Label, &Label),
        out: OwnedFd,
    ) -> Result<(), VolumeError> {
        let name = volume_name(owner, app, volume);
        Ok(self.inner.runtime.pack_volume(name, out)?)
    }

    /// Makes a volume and fills it from an archive, as a whole or not at all: an app that is deployed here afterwards finds
    /// it. Call it from a thread that may block.
    ///
    /// # Errors
    /// Where it has data already, a replica has it, or the archive is not whole.
    pub fn fill_volume(
        &self,
        owner: &AccountId,
        (app, volume): (&Label, &Label),
        archive: &File,
    ) -> Result<(), VolumeError> {
        let name = volume_name(owner, app, volume);
        Ok(self.inner.runtime.fill_volume(name, archive)?)
    }
}
