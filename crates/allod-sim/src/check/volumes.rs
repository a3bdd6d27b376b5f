//! A volume has one writer: at most one active lease holds it, on the node where its data are.

use std::collections::BTreeMap;

use allod_state::LeaseId;
use allod_state::volume::{Standing, VolumeKey};

use super::{Check, Found, Fresh};

pub(super) struct Volumes;

impl Check for Volumes {
    fn name(&self) -> &'static str {
        "volumes"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let state = &fresh.told.state;
        let mut writers: BTreeMap<VolumeKey, LeaseId> = BTreeMap::new();
        for (id, lease) in state.leases().filter(|(_, lease)| lease.is_active()) {
            for label in &lease.volumes {
                let key = (lease.payer, lease.app_label, *label);
                if let Some(other) = writers.insert(key, *id) {
                    return Err(format!("{other} and {id} both write to one volume"));
                }
                let volume = state.volume(&key);
                let volume = volume.ok_or_else(|| format!("{id} writes to no volume"))?;
                if volume.node != lease.node || volume.standing != Standing::Used {
                    return Err(format!(
                        "{id} runs on {} and writes to a volume on {} that is {:?}",
                        lease.node, volume.node, volume.standing
                    ));
                }
            }
        }
        Ok(())
    }
}
