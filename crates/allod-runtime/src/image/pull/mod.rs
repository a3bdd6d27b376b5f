//! Fetching an image from a registry into the [`BlobStore`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::digest::Digest;
use super::limits::{DOCUMENT_BYTES_MAX, Limits};
use super::manifest::{ACCEPTED, Descriptor, Document, Manifest, Platform, choose};
use super::record::{ImageRecord, RecordError};
use super::reference::Reference;
use super::room::Room;
use super::store::{BlobStore, Budget};

mod address;
mod auth;
mod blob;
mod error;
mod registry;
mod wire;

pub use auth::Credentials;
pub use error::PullError;

use blob::Wanted;
use registry::{Ask, Session};
use wire::Wire;

/// A stage of a pull, for the person who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The reference means this manifest.
    Resolved {
        /// The platform's manifest.
        manifest: Digest,
    },
    /// The manifest is read: so many layers, so many bytes of them still to fetch.
    Planned {
        /// Layers of the image.
        layers: usize,
        /// Bytes of the layers that are not here yet.
        missing_bytes: u64,
    },
    /// More of a layer has come; equal counts mean it is here and checked or was here before.
    Layer {
        /// The blob.
        digest: Digest,
        /// How much of it is here.
        received_bytes: u64,
        /// How much there is.
        total_bytes: u64,
    },
}

/// Hears what a pull is doing; called from its tasks, so it must not block.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

struct Watcher(Option<OnProgress>);

impl Watcher {
    fn tell(&self, progress: Progress) {
        if let Some(listener) = &self.0 {
            listener(progress);
        }
    }

    fn received(&self, wanted: &Wanted, received_bytes: u64) {
        if wanted.what == "layer" {
            let (digest, total_bytes) = (wanted.digest, wanted.size);
            self.tell(Progress::Layer {
                digest,
                received_bytes,
                total_bytes,
            });
        }
    }
}

/// Fetches images into one store, under one set of limits.
pub struct Puller {
    store: BlobStore,
    limits: Limits,
    wire: Arc<Wire>,
}

impl Puller {
    /// A puller that trusts the certificate authorities of this machine.
    #[must_use]
    pub fn new(store: BlobStore, limits: Limits) -> Self {
        Self::with_authorities(store, limits, b"").expect("no authorities are no bad authorities")
    }

    /// A puller that also trusts the authorities in `pem`: those of a company's own registry.
    pub fn with_authorities(
        store: BlobStore,
        limits: Limits,
        pem: &[u8],
    ) -> Result<Self, PullError> {
        let wire = Arc::new(Wire::new(&limits, pem)?);
        Ok(Self {
            store,
            limits,
            wire,
        })
    }

    /// The store this puller fills.
    #[must_use]
    pub fn store(&self) -> &BlobStore {
        &self.store
    }

    /// Asks the registry which manifest a reference means for this machine's platform.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Digest, PullError> {
        let session = self.session(reference, credentials)?;
        let found = self.manifest(&session);
        Ok(Digest::of(&self.in_time(reference, found).await?.0))
    }

    /// Fetches an image; what is in the store already is not fetched again.
    ///
    /// A reference pinned to an image that is here, by the digest of its manifest or of the index
    /// that leads to it, is answered without network. Blobs that are here are not hashed again:
    /// root does that before it unpacks, and names the one to [`BlobStore::discard`].
    pub async fn pull(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        on_progress: Option<OnProgress>,
    ) -> Result<ImageRecord, PullError> {
        let in_use = self.store.in_use()?;
        if let Some(digest) = reference.digest()
            && let Some(record) = self.store.record(digest)?
        {
            return Ok(record);
        }
        let session = Arc::new(self.session(reference, credentials)?);
        let watcher = Arc::new(Watcher(on_progress));
        let pulled = self.pull_with(&session, &watcher);
        let pulled = self.in_time(reference, pulled).await;
        if let Err(PullError::NoRoom { .. }) = &pulled {
            drop(in_use);
            self.give_back().await;
        }
        pulled
    }

    /// Gives back what has come of images that are not whole, unless another pull is under way: then it goes with the
    /// next collection.
    async fn give_back(&self) {
        let store = self.store.clone();
        let collect = move || store.collect(&BTreeSet::new(), &Budget::bytes(u64::MAX));
        match tokio::task::spawn_blocking(collect).await {
            Ok(Ok(_)) => {}
            left => tracing::debug!(?left, "what was fetched in vain is removed another time"),
        }
    }

    fn session(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Session, PullError> {
        Session::new(reference, credentials, Arc::clone(&self.wire), &self.limits)
    }

    async fn in_time<T>(
        &self,
        reference: &Reference,
        work: impl Future<Output = Result<T, PullError>>,
    ) -> Result<T, PullError> {
        let after = self.limits.pull_timeout;
        let late = || PullError::Timeout {
            host: reference.host().to_owned(),
            action: "send the whole image",
            after,
        };
        // Boxed: the state of a whole pull is too large to move around.
        tokio::time::timeout(after, Box::pin(work))
            .await
            .map_err(|_| late())?
    }

    async fn pull_with(
        &self,
        session: &Arc<Session>,
        watcher: &Arc<Watcher>,
    ) -> Result<ImageRecord, PullError> {
        let (bytes, manifest) = self.manifest(session).await?;
        watcher.tell(Progress::Resolved {
            manifest: Digest::of(&bytes),
        });
        self.check_sizes(session, &manifest)?;
        let config = Wanted {
            what: "image configuration",
            digest: manifest.config.digest,
            size: manifest.config.size,
        };
        blob::fetch(session, &self.store, &config, watcher).await?;
        let config = self.store.document(manifest.config.digest)?;
        let record = ImageRecord::from_documents(&bytes, &config)
            .map_err(|source| unusable(&session.reference, source))?;
        self.fetch_layers(session, &manifest, watcher).await?;
        self.store.put(&bytes)?;
        self.store.save_record(&record)?;
        if let Some(index) = session.reference.digest()
            && index != record.manifest_digest
        {
            self.store.save_record_as(index, &record)?;
        }
        Ok(record)
    }

    /// The manifest for this platform, through an index if there is one.
    async fn manifest(&self, session: &Session) -> Result<(Vec<u8>, Manifest), PullError> {
        let reference = &session.reference;
        let bad = |source| unusable(reference, source);
        let bytes = self
            .document(session, &reference.selector(), reference.digest())
            .await?;
        let entries = match Document::parse(&bytes).map_err(bad)? {
            Document::Image(manifest) => return Ok((bytes, manifest)),
            Document::Index(entries) => entries,
        };
        let chosen = choose(&entries, &Platform::host()).map_err(bad)?.digest;
        let bytes = self
            .document(session, &chosen.to_string(), Some(chosen))
            .await?;
        match Document::parse(&bytes).map_err(bad)? {
            Document::Image(manifest) => Ok((bytes, manifest)),
            Document::Index(_) => Err(bad(RecordError::Malformed {
                what: "manifest",
                why: "an index lists an index".to_owned(),
            })),
        }
    }

    async fn document(
        &self,
        session: &Session,
        selector: &str,
        expected: Option<Digest>,
    ) -> Result<Vec<u8>, PullError> {
        let path = format!("manifests/{selector}");
        let mut tries = registry::Tries::new(&self.limits);
        let body = loop {
            let exchange = session
                .get(Ask {
                    path: &path,
                    accept: ACCEPTED,
                    from: 0,
                })
                .await?;
            match exchange.whole(DOCUMENT_BYTES_MAX).await {
                Err(error) if error.is_transient() => tries.wait_after(error).await?,
                other => break other?,
            }
        };
        let bytes = body.ok_or_else(|| PullError::TooLarge {
            reference: session.reference.to_string(),
            what: "the manifest",
            bytes: DOCUMENT_BYTES_MAX + 1,
            limit: DOCUMENT_BYTES_MAX,
        })?;
        let actual = Digest::of(&bytes);
        match expected {
            Some(expected) if expected != actual => Err(PullError::BadDigest {
                host: session.host(),
                what: "manifest",
                expected,
                actual,
            }),
            _ => Ok(bytes),
        }
    }

    fn check_sizes(&self, session: &Session, manifest: &Manifest) -> Result<(), PullError> {
        let too_large = |what, bytes, limit| {
            Err(PullError::TooLarge {
                reference: session.reference.to_string(),
                what,
                bytes,
                limit,
            })
        };
        let mut total = 0_u64;
        for layer in &manifest.layers {
            if layer.size > self.limits.layer_bytes_max {
                return too_large("a layer", layer.size, self.limits.layer_bytes_max);
            }
            total = total.saturating_add(layer.size);
        }
        if total > self.limits.image_bytes_max {
            return too_large("the sum of the layers", total, self.limits.image_bytes_max);
        }
        Ok(())
    }

    async fn fetch_layers(
        &self,
        session: &Arc<Session>,
        manifest: &Manifest,
        watcher: &Arc<Watcher>,
    ) -> Result<(), PullError> {
        // An image may name one blob twice; it is fetched once.
        let distinct: BTreeMap<Digest, &Descriptor> = manifest
            .layers
            .iter()
            .map(|layer| (layer.digest, layer))
            .collect();
        let is_missing = |layer: &&&Descriptor| !self.store.has_blob(layer.digest);
        let missing = distinct.values().filter(is_missing);
        let missing_bytes = missing.clone().map(|layer| layer.size).sum();
        let rest = missing.map(|layer| {
            let partial = self.store.partial_path(layer.digest).metadata();
            layer
                .size
                .saturating_sub(partial.map_or(0, |file| file.len()))
        });
        let room = Room::on_disk_of(&self.store.partial_dir(), &self.limits);
        let fits = room.fits(rest.sum());
        watcher.tell(Progress::Planned {
            layers: manifest.layers.len(),
            missing_bytes,
        });
        fits.map_err(|full| session.no_room(full))?;
        let slots = Arc::new(Semaphore::new(self.limits.parallel_layers.max(1)));
        let mut downloads = JoinSet::new();
        for layer in distinct.values() {
            let wanted = Wanted {
                what: "layer",
                digest: layer.digest,
                size: layer.size,
            };
            let (session, watcher) = (Arc::clone(session), Arc::clone(watcher));
            let (store, slots) = (self.store.clone(), Arc::clone(&slots));
            downloads.spawn(async move {
                let _slot = slots
                    .acquire()
                    .await
                    .expect("the semaphore is never closed");
                Box::pin(blob::fetch(&session, &store, &wanted, &watcher)).await
            });
        }
        while let Some(done) = downloads.join_next().await {
            let done = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            // The first failure ends the pull; dropping the set ends the other downloads.
            if let Err(PullError::NoRoom { .. }) = &done {
                downloads.shutdown().await;
                for digest in distinct.keys() {
                    blob::abandon(&self.store, *digest);
                }
            }
            done?;
        }
        Ok(())
    }
}

fn unusable(reference: &Reference, source: RecordError) -> PullError {
    PullError::Unusable {
        reference: reference.to_string(),
        source,
    }
}
