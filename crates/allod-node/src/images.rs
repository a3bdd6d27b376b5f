//! Images on this node: resolved and fetched here, unpacked by the root process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use allod_runtime::image::{
    self, BlobStore, Budget, Digest, Freed, ImageRecord, ImportError, Limits, Progress, PullError,
    Puller, Reference, ReferenceError, StoreError,
};
use allod_runtime::{Client, ClientError, Image, LayerId, Refusal};
use tokio::task::spawn_blocking;

use crate::fault::{Point, reach};
use crate::limits::{RESOLVE_ATTEMPTS, RESOLVE_SILENCE_MAX, RESOLVE_TIMEOUT};
use crate::manifest::{self, ImageSource};
use crate::registries::Registries;

mod preparing;
mod refusal;

use preparing::Preparing;

pub use refusal::IMAGE_REFUSALS;

/// Why an image is not ready to run here.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference cannot be read.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry did not give it.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The archive is no image.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It is not in the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was handed over as an archive that this node does not have.
    #[error(
        "the image {digest} was given as a file, and this node does not have it; deploy it again with --image-file"
    )]
    NotHere {
        /// The manifest digest.
        digest: String,
    },
    /// The manifest names no digest.
    #[error("the image `{reference}` was deployed without a digest; deploy it again")]
    Unresolved {
        /// As written.
        reference: String,
    },
    /// The root process did not unpack it.
    #[error("could not unpack the image")]
    Unpack(#[from] ClientError),
    /// Its layers are too large together.
    #[error("the image unpacks to more than {limit} bytes, which is what this machine takes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// A digest is not one.
    #[error("`{0}` is not a digest")]
    Digest(String),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopping,
}

/// Fetched and whole bytes of each layer of an image.
type Fetching = BTreeMap<Digest, (u64, u64)>;

/// The images of this node.
pub(crate) struct Images {
    dir: PathBuf,
    puller: Puller,
    /// Asks what a tag means, while a person waits.
    asker: Puller,
    limits: Limits,
    registries: Arc<Registries>,
    /// The images under way, by manifest digest.
    fetching: Mutex<BTreeMap<String, Fetching>>,
    preparing: Preparing,
    /// What all take of the disk.
    bytes: AtomicU64,
}

impl Images {
    pub(crate) fn open(dir: &Path, registries: Arc<Registries>) -> Result<Self, ImageError> {
        let limits = Limits::default();
        let puller = Puller::new(BlobStore::open(dir)?, limits.clone());
        let asker = Puller::new(BlobStore::open(dir)?, waited_for(&limits));
        Ok(Self {
            dir: dir.to_owned(),
            puller,
            asker,
            limits,
            registries,
            fetching: Mutex::default(),
            preparing: Preparing::default(),
            bytes: AtomicU64::new(0),
        })
    }

    /// The digest that a reference means now. One that is pinned is what it says, once the registry has shown that it
    /// has it, or where the image is here.
    pub(crate) async fn resolve(&self, text: &str) -> Result<String, ImageError> {
        let reference: Reference = text.parse()?;
        let pinned = reference.digest();
        if let Some(digest) = pinned.filter(|digest| self.record(&digest.to_string()).is_some()) {
            return Ok(digest.to_string());
        }
        let credentials = self.registries.credentials(reference.host());
        let found = self.asker.resolve(&reference, credentials.as_ref()).await?;
        Ok(pinned.unwrap_or(found).to_string())
    }

    /// Takes the images of an archive in; their digests and what they were called.
    pub(crate) async fn import(
        &self,
        file: File,
    ) -> Result<Vec<(String, Vec<String>)>, ImageError> {
        let (store, limits) = (self.puller.store().clone(), self.limits.clone());
        let imported = spawn_blocking(move || image::import::archive(file, &store, &limits))
            .await
            .map_err(|_| ImageError::Stopping)??;
        let described = imported
            .into_iter()
            .map(|image| (image.record.manifest_digest.to_string(), image.names));
        Ok(described.collect())
    }

    /// What is known of an image that is here.
    pub(crate) fn record(&self, digest: &str) -> Option<ImageRecord> {
        self.puller
            .store()
            .record(digest.parse().ok()?)
            .ok()
            .flatten()
    }

    /// How far an image is, in fetched and whole bytes, while it is being fetched.
    pub(crate) fn progress(&self, digest: &str) -> Option<(u64, u64)> {
        let fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = fetching.get(digest)?;
        let sum = |pick: fn(&(u64, u64)) -> u64| layers.values().map(pick).sum();
        Some((sum(|layer| layer.0), sum(|layer| layer.1)))
    }

    /// Removes images as far as the budget says so, but none of `needed`, by manifest digest.
    pub(crate) fn collect(
        &self,
        needed: &BTreeSet<String>,
        budget: &Budget,
        runtime: &Client,
    ) -> Result<Freed, ImageError> {
        let keep: BTreeSet<Digest> = needed.iter().filter_map(|name| name.parse().ok()).collect();
        let mut layers = Vec::new();
        for record in needed.iter().filter_map(|name| self.record(name)) {
            let ids = record.layers.iter().map(|layer| layer_id(layer.diff_id));
            layers.extend(ids.collect::<Result<Vec<LayerId>, _>>()?);
        }
        self.give_back(runtime);
        // While something is being fetched no blob goes; layers do.
        let fetched = self.puller.store().collect(&keep, budget);
        let unpacked = runtime.collect_layers(&layers, *budget)?;
        let mut freed = fetched?;
        freed.layers += unpacked.layers;
        freed.leftovers += unpacked.leftovers;
        freed.bytes += unpacked.bytes;
        Ok(freed)
    }

    /// What images take of the disk, fetched and unpacked, since the last one came or went.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Measures what they take. It blocks; where the root process does not answer, what was known stands.
    pub(crate) fn measure(&self, runtime: &Client) {
        let Ok(unpacked) = runtime.layer_uses() else {
            return;
        };
        let unpacked: u64 = unpacked.iter().map(|layer| layer.bytes).sum();
        let blobs = std::fs::read_dir(self.dir.join("blobs/sha256"))
            .into_iter()
            .flatten();
        let sizes = blobs.filter_map(|blob| Some(blob.ok()?.metadata().ok()?.len()));
        let bytes = unpacked.saturating_add(sizes.sum());
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Fetches and unpacks an image, unless it is here.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        image: &manifest::Image,
        runtime: &Client,
    ) -> Result<Image, ImageError> {
        let unresolved = || ImageError::Unresolved {
            reference: image.reference.clone(),
        };
        let digest = image.digest.clone().ok_or_else(unresolved)?;
        let record = match self.record(&digest) {
            Some(record) => record,
            None if image.source == ImageSource::Archive => {
                return Err(ImageError::NotHere { digest });
            }
            None => self.fetch(&image.reference, &digest).await?,
        };
        let (images, runtime) = (Arc::clone(self), runtime.clone());
        let unpacking = spawn_blocking(move || images.unpack(&record, &runtime));
        unpacking.await.map_err(|_| ImageError::Stopping)?
    }

    /// Unpacks what is not here yet. Where that fails, nothing of it stays that nobody else needs.
    fn unpack(&self, record: &ImageRecord, runtime: &Client) -> Result<Image, ImageError> {
        self.preparing.begin(record.manifest_digest);
        let mut unpacked = Vec::new();
        let image = unpack(record, self.puller.store(), runtime, &mut unpacked);
        let is_changed = !unpacked.is_empty();
        self.preparing
            .end(record.manifest_digest, unpacked, image.is_ok());
        if image.is_err() {
            self.give_back(runtime);
        }
        if is_changed {
            self.measure(runtime);
        }
        image
    }

    /// Removes layers that were unpacked in vain, but none that another image has. What stays is tried again.
    fn give_back(&self, runtime: &Client) {
        self.preparing.give_back(|image, layer| {
            match self.has_another(image, layer) {
                Ok(true) => return true,
                Ok(false) => {}
                // Whoever cannot say what is needed removes nothing.
                Err(_) => return false,
            }
            match runtime.remove_layer(*layer) {
                Ok(()) | Err(ClientError::Refused(Refusal::NotFound { .. })) => true,
                Err(error) => {
                    tracing::debug!(%layer, %error, "a layer that was unpacked in vain stays for now");
                    false
                }
            }
        });
    }

    /// Whether an image here has a layer, another one than this.
    fn has_another(&self, image: &Digest, layer: &LayerId) -> Result<bool, ImageError> {
        let records = self.puller.store().records()?;
        let others = records
            .iter()
            .filter(|record| record.manifest_digest != *image);
        for other in others.flat_map(|record| &record.layers) {
            if layer_id(other.diff_id)? == *layer {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn fetch(self: &Arc<Self>, text: &str, digest: &str) -> Result<ImageRecord, ImageError> {
        let pinned: Digest = digest
            .parse()
            .map_err(|_| ImageError::Digest(digest.to_owned()))?;
        let reference = text.parse::<Reference>()?.pinned(pinned);
        let credentials = self.registries.credentials(reference.host());
        let (images, name) = (Arc::clone(self), digest.to_owned());
        let on_progress = Arc::new(move |progress: Progress| {
            if let Progress::Layer {
                digest,
                received_bytes,
                total_bytes,
            } = progress
            {
                let mut fetching = images
                    .fetching
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let layers = fetching.entry(name.clone()).or_default();
                layers.insert(digest, (received_bytes, total_bytes));
            }
        });
        let pulled = self
            .puller
            .pull(&reference, credentials.as_ref(), Some(on_progress))
            .await;
        self.fetching
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(digest);
        reach(Point::ImageFetched);
        Ok(pulled?)
    }
}

/// The limits of a question that a person waits for: fewer tries, and shorter ones.
fn waited_for(limits: &Limits) -> Limits {
    Limits {
        attempts: RESOLVE_ATTEMPTS,
        backoff_max: RESOLVE_SILENCE_MAX,
        connect_timeout: RESOLVE_SILENCE_MAX,
        idle_timeout: RESOLVE_SILENCE_MAX,
        pull_timeout: RESOLVE_TIMEOUT,
        ..limits.clone()
    }
}

fn layer_id(diff_id: Digest) -> Result<LayerId, ImageError> {
    let text = diff_id.to_string();
    text.parse().map_err(|_| ImageError::Digest(text))
}

/// Unpacks the layers that are not here, and notes them.
fn unpack(
    record: &ImageRecord,
    store: &BlobStore,
    runtime: &Client,
    unpacked: &mut Vec<LayerId>,
) -> Result<Image, ImageError> {
    let ids = record.layers.iter().map(|layer| layer_id(layer.diff_id));
    let layers = ids.collect::<Result<Vec<LayerId>, _>>()?;
    let here: BTreeMap<LayerId, u64> = runtime.use_layers(layers.clone())?.into_iter().collect();
    let limit = Limits::default().image_unpacked_bytes_max;
    let mut left = limit;
    for (layer, id) in record.layers.iter().zip(&layers) {
        let bytes = match here.get(id) {
            Some(bytes) => *bytes,
            None => {
                let blob = store.open_blob(layer.digest)?;
                let bytes = runtime.unpack_layer(*id, &layer.media_type, blob, left)?;
                unpacked.push(*id);
                reach(Point::ImageLayerUnpacked);
                bytes
            }
        };
        left = left
            .checked_sub(bytes)
            .ok_or(ImageError::TooLarge { limit })?;
    }
    let config = record.config.clone();
    Ok(Image {
        manifest: record.manifest_digest.to_string(),
        layers,
        entrypoint: config.entrypoint,
        command: config.cmd,
        env: config.env,
        user: config.user,
        working_dir: config.working_dir,
        stop_signal: config.stop_signal,
    })
}

#[cfg(test)]
pub(crate) mod tests;
