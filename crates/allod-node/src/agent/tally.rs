//! Tallies: what one lease's workload used, from which evidence is written.
//!
//! Evidence is the difference between what this machine has counted in total and what the law has on its meter. So a
//! submission that failed is made good by the next one, one that was taken is not repeated, and a restart of the agent
//! loses no counter that the kernel keeps. Ready time is counted only while it was watched, by a clock that never jumps:
//! what the wall clock says is only where an item ends, as far as the newest block bears it out.

use allod_runtime::Usage as Measured;
use allod_state::LeaseId;
use allod_state::evidence::{Item, Meter, Usage};
use allod_state::lease::Lease;
use allod_state::limits::{EVIDENCE_ITEMS_MAX, EVIDENCE_SPAN_MS_MAX};

use crate::time::{now_ms, steady_ms};

const MIB: u64 = 1024 * 1024;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    pub(crate) wall_ms: u64,
    pub(crate) steady_ms: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            wall_ms: now_ms(),
            steady_ms: steady_ms(),
        }
    }

    /// The moment of the newest block: what it says the time is, and when that was seen here.
    pub(crate) fn of_block(self, time_ms: u64) -> Self {
        if time_ms <= self.wall_ms {
            return self;
        }
        Self {
            wall_ms: time_ms,
            steady_ms: steady_ms(),
        }
    }

    /// The same moment as the law may have it: its wall clock says what the newest block does, and at most what has passed
    /// since more. The law takes nothing that ends in its future, and whoever's clock is ahead would never be paid.
    pub(crate) fn since(self, block: Self) -> Self {
        let passed_ms = self.steady_ms.saturating_sub(block.steady_ms);
        let latest_ms = block.wall_ms.saturating_add(passed_ms);
        Self {
            wall_ms: self.wall_ms.clamp(block.wall_ms, latest_ms),
            ..self
        }
    }

    /// An earlier moment, by the wall clock.
    pub(crate) fn back_at(self, wall_ms: u64) -> Self {
        let since_ms = self.wall_ms.saturating_sub(wall_ms);
        Self {
            wall_ms,
            steady_ms: self.steady_ms.saturating_sub(since_ms),
        }
    }
}

/// Those of all items that one submission has room for: the ones that reach back furthest, so that each has its turn.
pub(crate) fn oldest(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| item.from_ms);
    items.truncate(EVIDENCE_ITEMS_MAX);
    items
}

/// What one lease's workload used since this agent began to watch it, on top of what the law had then.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    base: Meter,
    ready_ms: u64,
    /// On the steady clock.
    ready_since_ms: Option<u64>,
    memory_mib_ms: u64,
    storage_mib_ms: u64,
    storage_bytes: u64,
    /// On the steady clock.
    sampled_ms: u64,
    last: Measured,
}

impl Tally {
    pub(crate) fn new(base: Meter, steady_ms: u64) -> Self {
        Self {
            base,
            ready_ms: 0,
            ready_since_ms: None,
            memory_mib_ms: 0,
            storage_mib_ms: 0,
            storage_bytes: 0,
            sampled_ms: steady_ms,
            last: Measured::default(),
        }
    }

    /// Notes whether the replica is ready from now on.
    pub(crate) fn set_ready(&mut self, is_ready: bool, steady_ms: u64) {
        match (self.ready_since_ms, is_ready) {
            (None, true) => self.ready_since_ms = Some(steady_ms),
            (Some(since), false) => {
                self.ready_ms = self
                    .ready_ms
                    .saturating_add(steady_ms.saturating_sub(since));
                self.ready_since_ms = None;
            }
            _ => {}
        }
    }

    /// Takes a measurement in. What was in use then is taken to have been in use since the one before.
    pub(crate) fn sample(&mut self, measured: Measured, steady_ms: u64) {
        let span_ms = steady_ms.saturating_sub(self.sampled_ms);
        if let Some(storage) = measured.storage {
            self.storage_bytes = storage.upper_bytes.saturating_add(storage.volume_bytes);
        }
        let integral = |bytes: u64| (bytes / MIB).saturating_mul(span_ms);
        self.memory_mib_ms = self
            .memory_mib_ms
            .saturating_add(integral(measured.memory_bytes));
        self.storage_mib_ms = self
            .storage_mib_ms
            .saturating_add(integral(self.storage_bytes));
        self.sampled_ms = steady_ms;
        self.last = measured;
    }

    /// The items that bring the law's meter up to `until`: one, or several where the span is longer than an item
    /// may be. Ready time goes into the first that have room for it, and what was used into the last.
    pub(crate) fn items(&self, id: LeaseId, lease: &Lease, until: Moment) -> Vec<Item> {
        let until_ms = until.wall_ms;
        let mut items = Vec::new();
        let mut from_ms = lease.meter.until_ms;
        let total = self
            .base
            .ready_ms
            .saturating_add(self.ready_until(until.steady_ms));
        let mut left = total.saturating_sub(lease.meter.ready_ms);
        while from_ms < until_ms {
            let end_ms = until_ms.min(from_ms.saturating_add(EVIDENCE_SPAN_MS_MAX));
            let epoch = lease.epoch;
            let mut item = Item {
                lease: id,
                epoch,
                from_ms,
                until_ms: end_ms,
                ready_ms: left.min(end_ms.saturating_sub(from_ms)),
                usage: Usage::default(),
            };
            left = left.saturating_sub(item.ready_ms);
            if end_ms == until_ms {
                item.usage = minus(self.total(), lease.meter.usage);
            }
            items.push(item);
            from_ms = end_ms;
        }
        items
    }

    fn ready_until(&self, steady_ms: u64) -> u64 {
        let running = self
            .ready_since_ms
            .map_or(0, |since| steady_ms.saturating_sub(since));
        self.ready_ms.saturating_add(running)
    }

    fn total(&self) -> Usage {
        let base = self.base.usage;
        Usage {
            cpu_ms: self.last.cpu_ns / 1_000_000,
            memory_mib_seconds: base
                .memory_mib_seconds
                .saturating_add(self.memory_mib_ms / 1_000),
            storage_mib_seconds: base
                .storage_mib_seconds
                .saturating_add(self.storage_mib_ms / 1_000),
            network_received_bytes: self.last.net_rx_bytes,
            network_sent_bytes: self.last.net_tx_bytes,
        }
    }
}

fn minus(total: Usage, before: Usage) -> Usage {
    Usage {
        cpu_ms: total.cpu_ms.saturating_sub(before.cpu_ms),
        memory_mib_seconds: total
            .memory_mib_seconds
            .saturating_sub(before.memory_mib_seconds),
        storage_mib_seconds: total
            .storage_mib_seconds
            .saturating_sub(before.storage_mib_seconds),
        network_received_bytes: total
            .network_received_bytes
            .saturating_sub(before.network_received_bytes),
        network_sent_bytes: total
            .network_sent_bytes
            .saturating_sub(before.network_sent_bytes),
    }
}

#[cfg(test)]
pub(super) mod tests;
