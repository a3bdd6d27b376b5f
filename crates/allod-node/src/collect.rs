//! What nobody needs any more on this node's disk: images that no app has, manifests that no revision names, and volumes
//! that were given up while nobody reached this machine.
//!
//! An image stays as long as any kept revision of any app on the ledger has it, because a lease, a restart, a
//! successor or a rollback may need it at once, and one that was handed over as a file cannot be fetched again. The
//! others stay for a while as well, so that what was deployed before starts quickly again, until they are too many, or
//! old, or the disk is short.

use std::collections::BTreeSet;
use std::path::Path;

use allod_runtime::VolumeName;
use allod_runtime::image::{Budget, Freed};
use allod_state::{Digest, Label, NodeId, State};

use crate::agent::{chain, volume_name};
use crate::inner::Inner;
use crate::limits::{DISK_SHORT_PART, IMAGES_IDLE_MAX, IMAGES_IDLE_MIN};

/// What an image may count on, as far as nobody needs it.
pub(crate) fn budget(dir: &Path, bytes_max: u64) -> Budget {
    Budget {
        bytes_max: if is_short(dir) { 0 } else { bytes_max },
        idle_max: IMAGES_IDLE_MAX,
        idle_min: IMAGES_IDLE_MIN,
    }
}

/// Whether so little of the disk is free that what nobody needs has to go.
pub(crate) fn is_short(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|disk| disk.f_bavail < disk.f_blocks / DISK_SHORT_PART)
}

/// Removes what nobody needs. It blocks.
pub(crate) fn collect(inner: &Inner) {
    let state = inner.ledger.state();
    let (images, manifests) = needed(inner, &state);
    inner.manifests.collect(&manifests);
    let budget = budget(&inner.dir, inner.images_bytes_max);
    match inner.images.collect(&images, &budget, &inner.runtime) {
        Ok(freed) if freed == Freed::default() => {}
        Ok(freed) => tracing::info!(
            images = freed.images,
            blobs = freed.blobs,
            layers = freed.layers,
            bytes = freed.bytes,
            "images that nobody needs were removed"
        ),
        Err(error) => {
            tracing::debug!(error = %chain(&error), "images are collected another time");
        }
    }
    inner.images.measure(&inner.runtime);
    remove_left_behind(inner, &state);
}

/// Removes what this machine still has of volumes that are elsewhere now, or nowhere.
fn remove_left_behind(inner: &Inner, state: &State) {
    let left = left_behind(state, &inner.node);
    if left.is_empty() {
        return;
    }
    let here = inner.runtime.volumes().unwrap_or_default();
    for name in here.into_iter().filter(|name| left.contains(name)) {
        match inner.runtime.remove_volume(name) {
            Ok(()) => {
                tracing::info!("a volume that was given up while this machine was away was removed")
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "such a volume is removed another time");
            }
        }
    }
}

/// Volumes that leases of a machine had, and that the ledger has elsewhere, or no more: it moves and forgets none but those
/// that their owner gave up ([`allod_state::volume`]).
fn left_behind(state: &State, own: &NodeId) -> BTreeSet<VolumeName> {
    let leases = state.leases().map(|(_, lease)| lease);
    let had = leases.filter(|lease| lease.node == *own && !lease.is_active());
    let keys = had.flat_map(|lease| {
        let key = |label: &Label| (lease.payer, lease.app_label, *label);
        lease.volumes.iter().map(key)
    });
    let left = keys.filter(|key| state.volume(key).is_none_or(|row| row.node != *own));
    left.map(|(owner, app, volume)| volume_name(&owner, &app, &volume))
        .collect()
}

/// The images, by manifest digest, and the sealed manifests of every kept revision of every app.
fn needed(inner: &Inner, state: &State) -> (BTreeSet<String>, BTreeSet<Digest>) {
    let (mut images, mut manifests) = (BTreeSet::new(), BTreeSet::new());
    for (id, app) in state.apps() {
        for (_, revision) in state.revisions_of(id) {
            manifests.insert(revision.manifest.ciphertext);
            let manifest =
                inner
                    .manifests
                    .manifest(&revision.manifest, &app.label, &inner.identity);
            let services = manifest
                .iter()
                .flat_map(|manifest| manifest.services.values());
            images.extend(services.filter_map(|service| service.image.digest.clone()));
        }
    }
    (images, manifests)
}
