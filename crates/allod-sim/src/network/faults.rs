//! Faults: what the seed does to machines, disks, clocks and the network between them.

use crate::limits::{DIFFERENCE_MS_MAX, DOWN_MS_MAX, JUMP_MS_MAX};

use super::{Event, Network};

/// Whether validators' clocks differ by more than a block's time may run ahead. A replica whose clock is that far
/// behind finds good blocks invalid and stops for good when others decide them; this becomes `true` with the ledger's
/// correction.
const CLOCKS_DIFFER_FAR: bool = false;

type Fault = fn(&mut Network, usize);

/// What can happen to a machine.
const FAULTS: &[Fault] = &[
    Network::power_cut,
    Network::power_cut_while_writing,
    Network::power_cut_while_writing,
    Network::failing_sync,
    Network::full_disk,
    Network::wrong_clock,
];

/// What can happen between machines.
const BETWEEN: &[Fault] = &[Network::partition, Network::lossy_wire, Network::slow_wire];

impl Network {
    pub(super) fn fault(&mut self) {
        self.counts.faults += 1;
        let at = self.faults.index(self.machines.len());
        let is_between = self.machines.len() > 1 && self.faults.percent(40);
        let faults = if is_between { BETWEEN } else { FAULTS };
        if let Some(fault) = self.faults.pick(faults).copied() {
            fault(self, at);
        }
        let ms = self.faults.between(500, 8_000);
        self.after(ms, Event::FaultEnds(at));
    }

    pub(super) fn end_fault(&mut self, at: usize) {
        self.wire_heals();
        if let Some(machine) = self.machines.get_mut(at) {
            machine.heal();
        }
    }

    fn wire_heals(&mut self) {
        let is_lost_for_good = self.is_calm && self.wire.lost_percent == 100;
        if !is_lost_for_good {
            self.wire.heal();
        }
    }

    pub(super) fn down_ms(&mut self) -> u64 {
        1 + self.faults.below(DOWN_MS_MAX)
    }

    fn is_up(&self, at: usize) -> bool {
        let machine = self.machines.get(at);
        machine.is_some_and(|machine| machine.replica.is_some())
    }

    fn power_cut(&mut self, at: usize) {
        if self.is_up(at) {
            self.crash(at);
        }
    }

    /// Death in the middle of a step, between any two changes of the disk.
    fn power_cut_while_writing(&mut self, at: usize) {
        let changes = self.faults.below(60);
        if let Some(machine) = self.machines.get(at) {
            machine.disk().die_after(changes);
        }
    }

    fn failing_sync(&mut self, at: usize) {
        let count = self.faults.below(10);
        if let Some(machine) = self.machines.get(at) {
            machine.disk().fail_sync_after(count);
        }
    }

    fn full_disk(&mut self, at: usize) {
        let room = self.faults.below(20_000);
        if let Some(machine) = self.machines.get(at) {
            machine.fill_disk(room);
        }
    }

    fn wrong_clock(&mut self, at: usize) {
        let is_alone = self.machines.len() == 1;
        let most_ms = if is_alone || CLOCKS_DIFFER_FAR {
            JUMP_MS_MAX
        } else {
            DIFFERENCE_MS_MAX
        };
        let size = i64::try_from(self.faults.below(most_ms)).unwrap_or(0);
        let skew_ms = match self.faults.below(3) {
            0 => -size,
            1 => size / 100,
            _ => size,
        };
        if let Some(machine) = self.machines.get_mut(at) {
            machine.skew_ms = skew_ms;
        }
    }

    fn partition(&mut self, at: usize) {
        self.wire.cut = (0..self.machines.len())
            .filter(|other| *other == at || self.faults.percent(25))
            .collect();
        self.wire.is_one_way = self.faults.percent(40);
    }

    fn lossy_wire(&mut self, _: usize) {
        self.wire.lost_percent = self.faults.between(5, 60);
        self.wire.doubled_percent = self.faults.between(0, 40);
    }

    fn slow_wire(&mut self, _: usize) {
        self.wire.delay_ms_max = self.faults.between(50, 2_000);
    }
}
