//! Faults: what the seed does to machines, disks, clocks and the network between them.

use allod_ledger::disk::MemoryDisk;

use crate::limits::{DIFFERENCE_MS_MAX, DOWN_MS_MAX, FAULT_AGAIN_MS, FAULT_EVERY_MS, JUMP_MS_MAX};
use crate::machine::Machine;

use super::{Event, Network};

/// Something that goes wrong; it says whether it did.
type Fault = fn(&mut Network, usize) -> bool;

/// What can happen to a machine.
const FAULTS: &[Fault] = &[
    Network::power_cut,
    Network::power_cut_while_writing,
    Network::power_cut_while_writing,
    Network::failing_sync,
    Network::full_disk,
    Network::wrong_clock,
    Network::clock_far_off,
    Network::lost_disk,
];

/// What can happen between machines.
const BETWEEN: &[Fault] = &[Network::partition, Network::lossy_wire, Network::slow_wire];

impl Network {
    pub(super) fn fault(&mut self) {
        let there = self.machines.iter().filter(|one| !one.is_gone);
        let there: Vec<usize> = there.map(|one| one.number).collect();
        let Some(at) = self.faults.pick(&there).copied() else {
            return;
        };
        let is_between = self.machines.len() > 1 && self.faults.percent(40);
        let faults = if is_between { BETWEEN } else { FAULTS };
        let Some(fault) = self.faults.pick(faults).copied() else {
            return;
        };
        let ms = self.faults.between(500, 8_000);
        if fault(self, at) {
            self.counts.faults += 1;
            self.after(ms, Event::FaultEnds(at));
            let ms = self.faults.between(FAULT_EVERY_MS.0, FAULT_EVERY_MS.1);
            self.after(ms, Event::Fault);
        } else {
            self.after(FAULT_AGAIN_MS, Event::Fault);
        }
    }

    pub(super) fn end_fault(&mut self, at: usize) {
        self.wire_heals();
        self.far_off.remove(&at);
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

    pub(super) fn is_up(&self, at: usize) -> bool {
        let machine = self.machines.get(at);
        machine.is_some_and(|machine| machine.replica.is_some())
    }

    fn power_cut(&mut self, at: usize) -> bool {
        let is_up = self.is_up(at);
        if is_up {
            self.crash(at);
        }
        is_up
    }

    /// Death in the middle of a step, between any two changes of the disk.
    fn power_cut_while_writing(&mut self, at: usize) -> bool {
        let changes = self.faults.below(60);
        self.disk_of(at)
            .map(|disk| disk.die_after(changes))
            .is_some()
    }

    fn failing_sync(&mut self, at: usize) -> bool {
        let count = self.faults.below(10);
        self.disk_of(at)
            .map(|disk| disk.fail_sync_after(count))
            .is_some()
    }

    pub(super) fn disk_of(&self, at: usize) -> Option<&MemoryDisk> {
        self.machines.get(at).map(Machine::disk)
    }

    fn full_disk(&mut self, at: usize) -> bool {
        let room = self.faults.below(20_000);
        let machine = self.machines.get(at);
        machine.map(|machine| machine.fill_disk(room)).is_some()
    }

    /// A clock that is a little off; where nobody has to agree, far off.
    fn wrong_clock(&mut self, at: usize) -> bool {
        let is_alone = self.machines.len() == 1;
        let most_ms = if is_alone {
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
        self.set_clock(at, skew_ms)
    }

    /// A clock that is ten minutes off, either way; with the false ones no more than may fail.
    fn clock_far_off(&mut self, at: usize) -> bool {
        let mut failing = self.failing();
        failing.insert(at);
        let is_alone = self.machines.len() == 1;
        if !is_alone && !self.is_bearable(&failing) {
            return false;
        }
        let size = i64::try_from(JUMP_MS_MAX).unwrap_or(0);
        let skew_ms = if self.faults.percent(50) { size } else { -size };
        self.far_off.insert(at);
        self.set_clock(at, skew_ms)
    }

    fn set_clock(&mut self, at: usize, skew_ms: i64) -> bool {
        let machine = self.machines.get_mut(at);
        machine.map(|machine| machine.skew_ms = skew_ms).is_some()
    }

    fn partition(&mut self, at: usize) -> bool {
        self.wire.cut = (0..self.machines.len())
            .filter(|other| *other == at || self.faults.percent(25))
            .collect();
        self.wire.is_one_way = self.faults.percent(40);
        true
    }

    fn lossy_wire(&mut self, _: usize) -> bool {
        self.wire.lost_percent = self.faults.between(5, 60);
        self.wire.doubled_percent = self.faults.between(0, 40);
        true
    }

    fn slow_wire(&mut self, _: usize) -> bool {
        self.wire.delay_ms_max = self.faults.between(50, 2_000);
        true
    }
}
