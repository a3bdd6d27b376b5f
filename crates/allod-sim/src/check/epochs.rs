//! A slot's epoch only rises, whatever happens to its app in between: it is the fencing token.

use std::collections::BTreeMap;

use allod_state::LeaseId;
use allod_state::app::SlotKey;
use allod_state::event::Event;

use super::{Check, Found, Fresh};

/// Whether a slot that was scaled away and comes back goes on above its last epoch, as the fencing token must. The law
/// lets it begin again at 1, so that its lease has the id of an old one; this becomes `true` with the law's correction.
const EPOCHS_OUTLIVE_SLOTS: bool = true;

#[derive(Default)]
pub(super) struct Epochs {
    highest: BTreeMap<SlotKey, u64>,
}

impl Check for Epochs {
    fn name(&self) -> &'static str {
        "epochs"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let state = &fresh.told.state;
        for event in fresh.told.all_events() {
            let Event::LeasePlaced {
                app,
                service,
                replica,
                lease,
                epoch,
                ..
            } = event
            else {
                continue;
            };
            let slot = (*app, *service, *replica);
            let highest = self.highest.entry(slot).or_default();
            if *epoch == 1 && !EPOCHS_OUTLIVE_SLOTS {
                *highest = 0;
            }
            if *epoch <= *highest {
                return Err(format!(
                    "replica {replica} of {app} got epoch {epoch} after {highest}"
                ));
            }
            if *lease != LeaseId::of(&slot, *epoch) {
                return Err(format!("{lease} is not named after its slot and epoch"));
            }
            *highest = *epoch;
        }
        for (key, highest) in &self.highest {
            if let Some(slot) = state.slot(key).filter(|slot| slot.epoch != *highest) {
                return Err(format!(
                    "the slot {} of {} is at epoch {}; its newest lease had {highest}",
                    key.2, key.0, slot.epoch
                ));
            }
        }
        Ok(())
    }
}
