//! What is stored is the state: rows read back give the same root, and the same answers, as the state in memory.

use allod_ledger::LocalSigner;
use allod_ledger::replica::Replica;
use allod_state::State;

use crate::machine::Machine;

use super::{Check, Found, Fresh};

pub(super) struct Restore;

/// Answers that are not under the root but follow from the rows.
fn same(what: &str, left: &State, right: &State) -> Found {
    let due = (left.next_due_ms(), right.next_due_ms());
    let used = |state: &State| -> Vec<_> {
        let leases = state.leases().map(|(_, lease)| lease.node);
        leases.map(|node| state.used_on(&node)).collect()
    };
    if left.root() != right.root() || left.tip() != right.tip() {
        return Err(format!(
            "{what} has the root {}, not {}",
            left.root(),
            right.root()
        ));
    }
    if due.0 != due.1 || used(left) != used(right) || left.counts() != right.counts() {
        return Err(format!("{what} gives other answers under the same root"));
    }
    Ok(())
}

fn stored(machine: usize, replica: &Replica<LocalSigner>) -> Found {
    let loaded = replica.store().load();
    let (state, _) = loaded.map_err(|error| format!("machine {machine}: {error}"))?;
    same(
        &format!("machine {machine}'s store"),
        &state,
        replica.state(),
    )
}

impl Check for Restore {
    fn name(&self) -> &'static str {
        "restore"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let rows = fresh.rows.iter();
        let rows = rows.map(|(key, value)| (key.clone(), value.clone()));
        let state = State::restore(&fresh.told.header, rows)
            .map_err(|error| format!("height {}: {error}", fresh.told.header.height))?;
        same("a restored state", &state, &fresh.told.state)
    }

    fn restarted(&mut self, machine: usize, replica: &Replica<LocalSigner>) -> Found {
        stored(machine, replica)
    }

    fn ended(&mut self, machines: &[&Machine]) -> Found {
        for machine in machines {
            let at = machine.number;
            if let Some(replica) = &machine.replica {
                stored(at, replica)?;
            }
        }
        Ok(())
    }
}
