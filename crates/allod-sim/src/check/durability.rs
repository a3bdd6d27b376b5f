//! Acknowledged is durable: whatever any replica told as committed, and whatever any client was told, is in its store
//! after every crash, as it was told.

use std::collections::{BTreeMap, BTreeSet};

use allod_ledger::LocalSigner;
use allod_ledger::replica::Replica;
use allod_state::block::Header;
use allod_state::{BlockId, TransactionId};

use crate::machine::Machine;

use super::{Check, Found, Told};

/// Heights that a restart looks at again; the end of the run looks at all.
const LOOKED_AT: usize = 8;

#[derive(Default)]
pub(super) struct Durability {
    blocks: BTreeMap<u64, (BlockId, Vec<TransactionId>)>,
    told: BTreeMap<usize, u64>,
    /// Where machines began that were founded on a snapshot: they need not hold what lies before.
    since: BTreeMap<usize, u64>,
    answered: BTreeMap<usize, BTreeSet<TransactionId>>,
}

impl Durability {
    fn look(&self, machine: usize, replica: &Replica<LocalSigner>, heights: usize) -> Found {
        let told = self.told.get(&machine).copied().unwrap_or(0);
        let tip = replica.state().tip().height;
        if tip < told {
            return Err(format!(
                "machine {machine} told of height {told} and is at {tip}"
            ));
        }
        let read = |error| format!("machine {machine} cannot read its store: {error}");
        let first = self.since.get(&machine).map_or(1, |since| since + 1);
        if told < first {
            return Ok(());
        }
        for (height, (block, ids)) in self.blocks.range(first..=told).rev().take(heights) {
            let stored = replica.store().block(*height).map_err(read)?;
            let stored = stored.ok_or_else(|| format!("machine {machine} lost height {height}"))?;
            if stored.certificate.block != *block {
                return Err(format!(
                    "machine {machine} has another block at height {height}"
                ));
            }
            for id in ids {
                let found = replica.store().receipt(id).map_err(read)?;
                if found.map(|(at, ..)| at) != Some(*height) {
                    return Err(format!(
                        "machine {machine} has no receipt of {id} at {height}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn look_for(&self, replica: &Replica<LocalSigner>, id: &TransactionId) -> Found {
        match replica.store().receipt(id) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("the acknowledged transaction {id} is lost")),
            Err(error) => Err(format!("the store cannot be read: {error}")),
        }
    }
}

impl Check for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn told(&mut self, told: &Told) -> Found {
        let height = told.header.height;
        let block = (told.certificate.block, told.ids.clone());
        self.blocks.entry(height).or_insert(block);
        let last = self.told.entry(told.machine).or_default();
        if height > *last + 1 {
            return Err(format!(
                "machine {} told of height {height} after {last}",
                told.machine
            ));
        }
        *last = height.max(*last);
        Ok(())
    }

    fn answered(&mut self, machine: usize, id: TransactionId) -> Found {
        self.answered.entry(machine).or_default().insert(id);
        Ok(())
    }

    fn replaced(&mut self, machine: usize) {
        self.told.remove(&machine);
        self.answered.remove(&machine);
        self.since.remove(&machine);
    }

    fn founded(&mut self, machine: usize, header: &Header) -> Found {
        self.told.insert(machine, header.height);
        self.since.insert(machine, header.height);
        Ok(())
    }

    fn restarted(&mut self, machine: usize, replica: &Replica<LocalSigner>) -> Found {
        self.look(machine, replica, LOOKED_AT)?;
        // What was decided before a crash and not told comes back from the log.
        let told = self.told.entry(machine).or_default();
        *told = replica.state().tip().height.max(*told);
        let answered = self.answered.get(&machine);
        for id in answered.into_iter().flatten() {
            self.look_for(replica, id)?;
        }
        Ok(())
    }

    fn ended(&mut self, machines: &[&Machine]) -> Found {
        for machine in machines {
            let at = machine.number;
            let replica = machine.replica.as_ref();
            let replica = replica.ok_or_else(|| format!("machine {at} is down at the end"))?;
            self.look(at, replica, usize::MAX)?;
            // What others told may lie above the height at which this one is when the run ends.
            for id in self.answered.get(&at).into_iter().flatten() {
                self.look_for(replica, id)?;
            }
        }
        Ok(())
    }
}
