//! The unpacked layers: what is there, who uses it, and what may go.
//!
//! A record that names a layer keeps it, whatever the phase of the workload: views of a removed one would go stale. Makers
//! of workloads hold the store shared from before they look for a layer until its views are mounted, and have their
//! record written before that; who removes holds it alone. So a layer that no record names is mounted nowhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::UNIX_EPOCH;

use super::host::{Host, absent_is_none, chain, not_found, refuse};
use crate::image::limits::LAYERS_MAX;
use crate::image::unpack::{self, UnpackError};
use crate::image::{
    Budget, Digest, Freed, Hasher, LayerRecord, LayerStore, Limits, Removed, StoreError,
};
use crate::record;
use crate::request::{LayerUse, Refusal};
use crate::workload::{LayerId, WorkloadId};

fn store(host: &Host) -> Result<LayerStore, Refusal> {
    LayerStore::open(host.layout.directory()).map_err(refuse("open the layers"))
}

fn digest(layer: &LayerId) -> Result<Digest, Refusal> {
    layer.to_string().parse().map_err(refuse("name the layer"))
}

fn layer_id(digest: Digest) -> Result<LayerId, Refusal> {
    digest.to_string().parse().map_err(refuse("name the layer"))
}

/// The layers that are here, whole.
pub(super) fn list(host: &Host) -> Result<Vec<LayerId>, Refusal> {
    let mut layers = Vec::new();
    for layer in store(host)?.uses().map_err(refuse("list the layers"))? {
        layers.push(layer_id(layer.diff_id)?);
    }
    Ok(layers)
}

/// The layers that are here, and how they are used.
pub(super) fn uses(host: &Host) -> Result<Vec<LayerUse>, Refusal> {
    let used = used(host)?;
    let mut layers = Vec::new();
    for layer in store(host)?.uses().map_err(refuse("list the layers"))? {
        let since = layer.used.duration_since(UNIX_EPOCH).unwrap_or_default();
        layers.push(LayerUse {
            layer: layer_id(layer.diff_id)?,
            bytes: layer.bytes,
            used_ms: since.as_millis() as u64,
            is_in_use: used.contains(&layer.diff_id),
        });
    }
    Ok(layers)
}

/// The layers that a record names.
fn used(host: &Host) -> Result<BTreeSet<Digest>, Refusal> {
    let mut used = BTreeSet::new();
    for (_, record) in records(host)? {
        for layer in &record.layers {
            used.insert(digest(layer)?);
        }
    }
    Ok(used)
}

fn records(host: &Host) -> Result<Vec<(WorkloadId, record::Record)>, Refusal> {
    let mut records = Vec::new();
    for id in record::all(&host.layout).map_err(refuse("list the workloads"))? {
        let record = absent_is_none(host.place(&id).record()).map_err(refuse("read a record"))?;
        records.extend(record.map(|record| (id, record)));
    }
    Ok(records)
}

/// Takes a layer away, unless a workload uses it. Removing what it held is left to do.
pub(super) fn take_away(host: &Host, layer: LayerId) -> Result<Removed, Refusal> {
    if !host.layout.layer(&layer).exists() {
        return Err(not_found(layer));
    }
    let removed = store(host)?.take_away(digest(&layer)?, || {
        let users = records(host).map_err(Failure::Refused)?;
        match users
            .iter()
            .find(|(_, record)| record.layers.contains(&layer))
        {
            Some((id, _)) => Err(Failure::Refused(Refusal::Busy {
                what: layer.to_string(),
                why: format!("workload {id} uses it"),
            })),
            None => Ok(()),
        }
    });
    removed.map_err(|failure| failure.into_refusal("remove the layer"))
}

/// Removes layers until the budget is met.
pub(super) fn collect(host: &Host, keep: &[LayerId], budget: &Budget) -> Result<Freed, Refusal> {
    let collected = store(host)?.collect(
        || -> Result<_, Failure> {
            let mut used = used(host).map_err(Failure::Refused)?;
            for layer in keep {
                used.insert(digest(layer).map_err(Failure::Refused)?);
            }
            Ok(used)
        },
        budget,
    );
    collected.map_err(|failure| failure.into_refusal("collect the layers"))
}

/// Finishes removals and unpackings that were cut short, unless somebody is at work on the layers.
pub(super) fn sweep(host: &Host) -> Result<(), Refusal> {
    match collect(host, &[], &Budget::bytes(u64::MAX)) {
        Err(Refusal::Busy { .. }) => Ok(()),
        other => other.map(drop),
    }
}

enum Failure {
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    fn into_refusal(self, step: &str) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Store(StoreError::Busy { .. }) => Refusal::Busy {
                what: "the store of layers".to_owned(),
                why: "a layer is being unpacked or a workload made; ask again".to_owned(),
            },
            Self::Store(error) => refuse(step)(error),
        }
    }
}

/// Notes that a workload mounts these layers now.
pub(super) fn mark_used(store: &LayerStore, layers: &[LayerId]) {
    for layer in layers {
        // On a full disk a layer looks less used than it is, and is fetched again at worst.
        let marked = digest(layer).map(|diff_id| store.mark_used(diff_id));
        if !matches!(marked, Ok(Ok(()))) {
            tracing::debug!(%layer, "the use of a layer was not noted");
        }
    }
}

/// Those of these layers that are here, with the bytes of their files. They count as used from now on, so that no
/// collection takes them before they are mounted.
pub(super) fn take_up(host: &Host, layers: &[LayerId]) -> Result<Vec<(LayerId, u64)>, Refusal> {
    let store = store(host)?;
    // A collection is over, or finds them used.
    let _in_use = store.in_use().map_err(refuse("hold the layers"))?;
    let mut here = Vec::new();
    for layer in layers.iter().take(LAYERS_MAX) {
        if let Some(stats) = store.stats(digest(layer)?) {
            here.push((*layer, stats.bytes));
        }
    }
    let names: Vec<LayerId> = here.iter().map(|(layer, _)| *layer).collect();
    mark_used(&store, &names);
    Ok(here)
}

/// Unpacks a layer, trusting nothing but its diff id; the bytes of its files.
pub(super) fn unpack(
    host: &Host,
    layer: LayerId,
    (media_type, bytes_max): (&str, u64),
    blob: File,
) -> Result<u64, Refusal> {
    let store = store(host)?;
    let diff_id = digest(&layer)?;
    let limits = Limits::default();
    let limits = Limits {
        unpacked_bytes_max: limits.unpacked_bytes_max.min(bytes_max),
        ..limits
    };
    let (digest, size) = hash(&blob).map_err(refuse("read the blob"))?;
    let record = LayerRecord {
        digest,
        diff_id,
        media_type: media_type.to_owned(),
        size,
    };
    match unpack::layer(blob, &record, &store, &limits) {
        Ok(stats) => Ok(stats.bytes),
        Err(UnpackError::NoRoom { source, .. }) => Err(Refusal::NoRoom {
            step: format!("unpack the layer {layer}"),
            room: source,
        }),
        Err(
            error @ UnpackError::Refused {
                refusal: unpack::Refusal::TooManyBytes,
                ..
            },
        ) => Err(Refusal::TooLarge {
            what: chain(&error),
        }),
        Err(error @ (UnpackError::Io { .. } | UnpackError::Store(_))) => {
            Err(refuse("unpack the layer")(error))
        }
        Err(error) => Err(Refusal::BadLayer {
            what: chain(&error),
        }),
    }
}

/// The digest of the blob names it in errors. What decides is the digest of what is in it.
fn hash(mut blob: &File) -> io::Result<(Digest, u64)> {
    blob.rewind()?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0u8; 128 * 1024];
    loop {
        match blob.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    blob.rewind()?;
    let size = hasher.bytes();
    Ok((hasher.finish(), size))
}
