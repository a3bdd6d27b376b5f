//! What nobody needs any more on this node's disk: images that no app has, and manifests that no revision names.
//!
//! An image stays as long as any kept revision of any app on the ledger has it, because a lease, a restart, a
//! successor or a rollback may need it at once, and one that was handed over as a file cannot be fetched again. The
//! others stay for a while as well, so that what was deployed before starts quickly again, until they are too many, or
//! old, or the disk is short.

use std::collections::BTreeSet;
use std::path::Path;

use allod_runtime::image::{Budget, Freed};
use allod_state::{Digest, State};

use crate::agent::chain;
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
