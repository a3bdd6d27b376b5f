//! Replica slots: which lease serves a replica, which is to replace it, and when to look again.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{AppId, Label, LeaseId, NodeId};
use crate::lease::EndCause;
use crate::place::WhyNot;
use crate::table::Row;

/// App, service and index of a replica.
pub type SlotKey = (AppId, Label, u32);

/// One replica of a service, over all its leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Slot {
    /// The epoch of its newest lease. It only rises: it is the fencing token.
    pub epoch: u64,
    /// The lease that serves.
    pub current: Option<LeaseId>,
    /// The lease that is to take over once it is ready.
    pub successor: Option<LeaseId>,
    /// Leases in a row that ended by failure.
    pub failures: u32,
    /// Block time at which placement looks at it; never where none.
    pub due_ms: Option<u64>,
    /// How often in a row placement looked at it and found no node.
    pub refused: u32,
    /// Why it has no lease, where it has none.
    pub waiting: Option<Waiting>,
}

/// Why a replica has no lease.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Waiting {
    /// Its turn comes in the next block.
    Queued,
    /// No node can run it.
    NoPlacement(WhyNot),
    /// None of the machines that can read the app is reached: it goes on when one is back, or its owner deploys it again.
    NeedsOwner,
    /// Its data are on a machine that is not reached.
    ForVolume {
        /// The machine.
        node: NodeId,
    },
    /// It failed and waits before it is tried again.
    BackingOff(EndCause),
    /// Its process ended and its restart policy says that this is all.
    Completed(EndCause),
}

impl Row for Slot {
    type Key = SlotKey;
    const TAG: u8 = 6;
}
