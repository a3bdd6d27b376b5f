//! The sealed manifests that this node keeps beside the ledger, and the ones among them that it can open.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use allod_state::app::SealedManifest;
use allod_state::limits::MANIFEST_BYTES_MAX;
use allod_state::{AccountId, Digest, Label, NetworkId, NodeId};

use crate::identity::Identity;
use crate::manifest::Manifest;
use crate::seal::{self, Opener, Scope};
use crate::whole;

/// Manifests by the hash of their ciphertext.
#[derive(Debug)]
pub(crate) struct Manifests {
    dir: PathBuf,
    network: NetworkId,
    node: NodeId,
    opened: Mutex<BTreeMap<Digest, Arc<Manifest>>>,
}

/// Why a ciphertext was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeepManifestError {
    /// It is larger than the law allows.
    #[error(
        "the sealed manifest has {bytes} bytes, more than {MANIFEST_BYTES_MAX}; make its files smaller"
    )]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// It could not be written.
    #[error("could not keep the sealed manifest at {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Manifests {
    pub(crate) fn open(dir: PathBuf, network: NetworkId, node: NodeId) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            network,
            node,
            opened: Mutex::default(),
        })
    }

    /// Keeps a ciphertext under its hash.
    pub(crate) fn keep(&self, ciphertext: &[u8]) -> Result<Digest, KeepManifestError> {
        let bytes = ciphertext.len();
        if u64::try_from(bytes).is_ok_and(|bytes| bytes > MANIFEST_BYTES_MAX) {
            return Err(KeepManifestError::TooLarge { bytes });
        }
        let digest = Digest::of(ciphertext);
        let path = self.path(&digest);
        if !path.exists() {
            let write = |source| KeepManifestError::Write {
                path: path.clone(),
                source,
            };
            whole::write(&path, ciphertext).map_err(write)?;
        }
        Ok(digest)
    }

    /// The manifest of a revision, opened with the node's key; nothing where it is not here or not for this node.
    pub(crate) fn manifest(
        &self,
        sealed: &SealedManifest,
        app: &Label,
        identity: &Identity,
    ) -> Option<Arc<Manifest>> {
        if let Some(manifest) = self.cache().get(&sealed.ciphertext) {
            return Some(Arc::clone(manifest));
        }
        let ciphertext = std::fs::read(self.path(&sealed.ciphertext)).ok()?;
        let scope = Scope {
            network: self.network,
            app: *app,
        };
        let key = identity.sealing_key();
        let opener = Opener {
            id: *self.node.as_bytes(),
            key: &key,
        };
        let bytes = seal::open(&ciphertext, sealed, &scope, opener).ok()?;
        let manifest = Arc::new(Manifest::from_bytes(bytes.expose()).ok()?);
        self.cache()
            .insert(sealed.ciphertext, Arc::clone(&manifest));
        Some(manifest)
    }

    /// The manifest of that ciphertext, if it was opened before.
    pub(crate) fn opened(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        self.cache().get(digest).cloned()
    }

    /// Any manifest that was opened for an app with this label, such as one that has been deleted.
    pub(crate) fn opened_for(&self, owner: &AccountId, app: &Label) -> Option<Arc<Manifest>> {
        let is_its = |manifest: &&Arc<Manifest>| Label::of(owner.as_bytes(), &manifest.app) == *app;
        self.cache().values().find(is_its).cloned()
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Manifest>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir
            .join(data_encoding::HEXLOWER.encode(digest.as_bytes()))
    }
}
