//! A slot has one active lease, and at most one more that is to succeed it, unless one of them is exclusive; nodes owe what
//! their leases take.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::app::SlotKey;
use allod_state::node::Resources;
use allod_state::{LeaseId, NodeId, State};

use super::{Check, Found, Fresh};

pub(super) struct Leases;

impl Check for Leases {
    fn name(&self) -> &'static str {
        "leases"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let state = &fresh.told.state;
        let mut by_slot: BTreeMap<SlotKey, BTreeSet<LeaseId>> = BTreeMap::new();
        let mut used: BTreeMap<NodeId, Resources> = BTreeMap::new();
        for (id, lease) in state.leases().filter(|(_, lease)| lease.is_active()) {
            by_slot.entry(lease.slot()).or_default().insert(*id);
            let sum = used.entry(lease.node).or_default();
            *sum = sum.plus(lease.footprint);
        }
        for (key, active) in &by_slot {
            slot_holds(state, key, active)?;
        }
        let mut exclusive = BTreeSet::new();
        let active = state.leases().filter(|(_, lease)| lease.is_active());
        for (id, lease) in active.filter(|(_, lease)| lease.is_exclusive) {
            if !exclusive.insert((lease.app, lease.service)) {
                return Err(format!("{id} is one of two of an exclusive service"));
            }
        }
        for (node, sum) in used {
            if state.used_on(&node) != sum {
                return Err(format!("{node} owes other resources than its leases take"));
            }
        }
        Ok(())
    }
}

fn slot_holds(state: &State, key: &SlotKey, active: &BTreeSet<LeaseId>) -> Found {
    let slot = state
        .slot(key)
        .ok_or_else(|| format!("active leases {active:?} belong to no slot"))?;
    let named: BTreeSet<LeaseId> = [slot.current, slot.successor]
        .into_iter()
        .flatten()
        .collect();
    if named != *active {
        return Err(format!("a slot names {named:?}; active are {active:?}"));
    }
    let mut rows = active.iter().filter_map(|id| state.lease(id));
    if active.len() > 1 && rows.any(|lease| lease.is_exclusive) {
        return Err(format!("beside an exclusive lease: {active:?}"));
    }
    let epoch = |id: Option<LeaseId>| id.and_then(|id| state.lease(&id)).map(|row| row.epoch);
    let (current, successor) = (epoch(slot.current), epoch(slot.successor));
    // A successor that failed leaves its epoch behind.
    let is_fenced = current.max(successor) <= Some(slot.epoch);
    let is_ordered = successor.is_none_or(|successor| current < Some(successor));
    if is_fenced && is_ordered && state.app(&key.0).is_some() {
        return Ok(());
    }
    Err(format!(
        "a slot at epoch {} has the epochs {current:?} and {successor:?}",
        slot.epoch
    ))
}
