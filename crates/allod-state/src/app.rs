//! Apps: the public half of a compose file, its revisions, and the replica slots that placement fills.

mod delete;
mod demand;
mod deploy;
mod plan;
pub mod reader;
mod rollback;
mod scale;
mod slot;

pub use delete::Delete;
pub use demand::{Constraints, Demand, Port, Protocol, Restart as RestartPolicy, Update};
pub use deploy::{Deploy, SealedManifest, Wrap};
pub use plan::plan_of;
pub use reader::AddReaders;
pub use rollback::{Restart, Rollback};
pub use scale::Scale;
pub use slot::{Slot, SlotKey, Waiting};

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec;
use crate::id::{AccountId, AppId, Label};
use crate::key::PublicKey;
use crate::table::Row;

/// One compose file that an account runs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct App {
    /// Who owns and pays it.
    pub owner: AccountId,
    /// Its blinded name, unique among its owner's apps.
    pub label: Label,
    /// The key that deployed the newest revision, or a limited key that scaled the app since; the key's budget covers
    /// the app.
    pub deployed_by: PublicKey,
    /// The number of the newest revision.
    pub revision: u64,
    /// What is wanted of each service.
    pub services: BTreeMap<Label, Service>,
    /// Block time of its first deployment.
    pub created_ms: u64,
    /// The highest epoch of any slot that was scaled away: a slot that comes back goes on above it, so that its lease
    /// has an id of its own and fences whatever still runs of the old one.
    pub epoch_floor: u64,
}

/// What is wanted of one service of an app.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Service {
    /// How many replicas.
    pub replicas: u32,
    /// The revision its replicas should run.
    pub revision: u64,
    /// Counts the owner's wishes for fresh replicas; a replica of a lower generation is replaced.
    pub generation: u64,
    /// Set when a revision failed too often to go on replacing serving replicas; a new deployment clears it.
    pub is_halted: bool,
}

impl Row for App {
    type Key = AppId;
    const TAG: u8 = 4;
}

/// One version of an app.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Revision {
    /// The public demand of each service.
    pub services: BTreeMap<Label, Demand>,
    /// Where the private half is.
    pub manifest: SealedManifest,
    /// Block time of its deployment.
    pub created_ms: u64,
    /// The revision it repeats, where it is a rollback.
    pub rolled_back_to: Option<u64>,
}

impl Row for Revision {
    type Key = (AppId, u64);
    const TAG: u8 = 5;
}

impl AppId {
    /// The `counter`th app of `owner`.
    #[must_use]
    pub fn of(owner: &AccountId, counter: u64) -> Self {
        Self(codec::hash("allod app v1", &(owner, counter)))
    }
}
