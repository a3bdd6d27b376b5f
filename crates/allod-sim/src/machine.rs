//! One machine: a disk, a clock that may be wrong, and the replica that runs on them.

use std::sync::Arc;

use allod_ledger::LocalSigner;
use allod_ledger::bft::{Signer, Timing};
use allod_ledger::disk::{Disk, MemoryDisk};
use allod_ledger::replica::{Clock, Replica, ReplicaError, Settings};
use allod_ledger::store::Anchor;
use allod_state::PublicKey;
use allod_state::genesis::Genesis;

use crate::limits::START_MS;
use crate::person;
use crate::random::Random;

/// A machine that is up while it has a replica.
pub(crate) struct Machine {
    pub(crate) number: usize,
    /// The key that it has by its number.
    pub(crate) key: PublicKey,
    /// Whether it is dead for good.
    pub(crate) is_gone: bool,
    /// Whether its disk was never lost and held the chain from the first block on.
    pub(crate) has_all: bool,
    /// What it knows of the chain while it has no ledger yet and asks others for a snapshot.
    pub(crate) awaits: Option<Anchor>,
    disk: MemoryDisk,
    random: Random,
    challenges: Random,
    /// Whose key it signs with; another one's only where a bug is planted.
    pub(crate) key_of: usize,
    /// Whether its log and sign-state vanish in every crash; only where a bug is planted.
    pub(crate) forgets: bool,
    /// Whether it goes on after an error as if there were none; only where a bug is planted.
    pub(crate) shrugs: bool,
    /// How far its wall clock is off.
    pub(crate) skew_ms: i64,
    is_new_key: bool,
    pub(crate) replica: Option<Replica<LocalSigner>>,
}

impl Machine {
    pub(crate) fn new(seed: u64, number: usize) -> Self {
        Self {
            number,
            key: person::validator(number).public_key(),
            is_gone: false,
            has_all: true,
            awaits: None,
            disk: MemoryDisk::default(),
            random: Random::new(seed, &format!("disk {number}")),
            challenges: Random::new(seed, &format!("challenges {number}")),
            key_of: number,
            forgets: false,
            shrugs: false,
            skew_ms: 0,
            is_new_key: true,
            replica: None,
        }
    }

    pub(crate) fn clock(&self, now_ms: u64) -> Clock {
        Clock {
            // Every machine's steady clock began at another time.
            steady_ms: now_ms + 1_000 * (self.number as u64 + 1),
            wall_ms: START_MS
                .saturating_add(now_ms)
                .saturating_add_signed(self.skew_ms),
        }
    }

    /// When its replica wants to be stepped, in the world's time.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let deadline_ms = self.replica.as_ref()?.deadline_ms();
        Some(deadline_ms.saturating_sub(1_000 * (self.number as u64 + 1)))
    }

    /// Starts the replica from what is on the disk.
    pub(crate) fn start(&mut self, genesis: &Genesis, now_ms: u64) -> Result<(), ReplicaError> {
        let mut challenge = [0; 32];
        challenge.copy_from_slice(&self.challenges.bytes(32));
        let settings = Settings {
            genesis: genesis.clone(),
            timing: Timing::default(),
            block_bytes_max: 200_000,
            retention_ms: u64::MAX,
            is_new_key: self.is_new_key || self.forgets,
            challenge,
            wal_prepared_bytes: 0,
            // So often that crashes meet it.
            checkpoint_blocks: 64,
            space_low_bytes: 0,
        };
        let disk = Arc::new(self.disk.clone());
        let signer = person::validator(self.key_of);
        let replica = Replica::open(disk, signer, settings, self.clock(now_ms))?;
        self.is_new_key = false;
        self.replica = Some(replica);
        Ok(())
    }

    /// Loses power: what was not synced survives in part, or not at all.
    pub(crate) fn crash(&mut self) {
        self.replica = None;
        let random = &mut self.random;
        self.disk.crash(|below| random.below(below));
        self.disk.fail_sync_after(u64::MAX);
        self.disk.set_capacity(u64::MAX);
        if self.forgets {
            for name in self.disk.list().unwrap_or_default() {
                if name.starts_with("wal-") || name == "sign-state" {
                    // A file that cannot be removed stays, as on any disk.
                    let _ = self.disk.remove(&name);
                }
            }
        }
    }

    /// Its disk is replaced by another one; it has to be down.
    pub(crate) fn put_disk(&mut self, disk: MemoryDisk) {
        self.disk = disk;
    }

    pub(crate) fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    /// Leaves room for only so many more bytes.
    pub(crate) fn fill_disk(&self, room: u64) {
        self.disk.set_capacity(u64::MAX);
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        self.disk.set_capacity((u64::MAX - free) + room);
    }

    /// All of its faults end; it stays down if it is.
    pub(crate) fn heal(&mut self) {
        self.skew_ms = 0;
        self.disk.die_after(u64::MAX);
        self.disk.fail_sync_after(u64::MAX);
        self.disk.set_capacity(u64::MAX);
    }
}

/// Whether a machine with injected faults may end this way. Anything else is a bug.
pub(crate) fn is_injected(error: &dyn std::error::Error) -> bool {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words.push_str(&inner.to_string());
        source = inner.source();
    }
    [
        "the machine has died",
        "(injected)",
        "no storage space",
        "Previous I/O error",
    ]
    .iter()
    .any(|part| words.contains(part))
}
