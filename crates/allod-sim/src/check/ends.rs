//! Whatever ends is told as ended: who makes machines match the ledger learns of an end from events alone, whether a
//! transaction asked for it or not.

use std::collections::BTreeSet;

use allod_state::LeaseId;
use allod_state::event::Event;

use super::{Check, Found, Fresh};

pub(super) struct Ends;

impl Check for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let ended = fresh.told.all_events().filter_map(|event| match event {
            Event::LeaseEnded { lease, .. } => Some(*lease),
            _ => None,
        });
        let ended: BTreeSet<LeaseId> = ended.collect();
        for (id, _) in fresh.before.leases().filter(|(_, lease)| lease.is_active()) {
            let after = fresh.told.state.lease(id);
            let is_active = after.is_some_and(|lease| lease.is_active());
            if is_active == ended.contains(id) {
                return Err(format!(
                    "{id} is active: {is_active}; told as ended: {}",
                    ended.contains(id)
                ));
            }
        }
        Ok(())
    }
}
