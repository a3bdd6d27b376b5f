//! The sealed manifests that this node keeps beside the ledger, and the ones among them that it can open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use allod_state::app::SealedManifest;
use allod_state::limits::MANIFEST_BYTES_MAX;
use allod_state::{AccountId, Digest, Label, NetworkId, NodeId};

use crate::fault::{Point, reach};
use crate::identity::Identity;
use crate::limits::{MANIFEST_IDLE_MIN, MANIFESTS_OPENED_MAX};
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
        whole::clear(&dir)?;
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
        reach(Point::ManifestKept);
        Ok(digest)
    }

    /// The manifest of a revision, opened with the node's key; nothing where it is not here or not for this node.
    pub(crate) fn manifest(
        &self,
        sealed: &SealedManifest,
        app: &Label,
        identity: &Identity,
    ) -> Option<Arc<Manifest>> {
        if !self.is_for_this(sealed) {
            return None;
        }
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

    /// Whether a manifest is sealed for this node.
    pub(crate) fn is_for_this(&self, sealed: &SealedManifest) -> bool {
        let mut wraps = sealed.wraps.iter();
        wraps.any(|wrap| wrap.holder == self.node.0)
    }

    /// The ciphertext with this hash, where it is here.
    pub(crate) fn ciphertext(&self, digest: &Digest) -> Option<Vec<u8>> {
        std::fs::read(self.path(digest)).ok()
    }

    /// Whether the ciphertext with this hash is here.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.cache().contains_key(digest) || self.path(digest).exists()
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

    /// Removes the ciphertexts that are not `needed`, unless they came just now.
    pub(crate) fn collect(&self, needed: &BTreeSet<Digest>) {
        let names: BTreeSet<PathBuf> = needed.iter().map(|digest| self.path(digest)).collect();
        let files = std::fs::read_dir(&self.dir).into_iter().flatten();
        let paths = files.filter_map(|file| Some(file.ok()?.path()));
        for path in paths.filter(|path| !names.contains(path)) {
            let modified = std::fs::metadata(&path).and_then(|file| file.modified());
            let age = modified.ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age >= MANIFEST_IDLE_MIN) {
                // What cannot be removed now is found again.
                let _ = std::fs::remove_file(path);
            }
        }
        let mut opened = self.cache();
        if opened.len().saturating_sub(needed.len()) > MANIFESTS_OPENED_MAX {
            opened.retain(|digest, _| needed.contains(digest));
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<Manifest>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir
            .join(data_encoding::HEXLOWER.encode(digest.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_manifest_that_no_revision_names_goes_after_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let (network, node) = (NetworkId([1; 32]), NodeId([2; 32]));
        let manifests = Manifests::open(dir.path().to_owned(), network, node).unwrap();
        let [needed, old, new] =
            [b"needed", b"old...", b"new..."].map(|text| manifests.keep(text).unwrap());
        let long_ago = SystemTime::now() - MANIFEST_IDLE_MIN - Duration::from_secs(1);
        for digest in [needed, old] {
            let file = std::fs::File::options()
                .append(true)
                .open(manifests.path(&digest))
                .unwrap();
            file.set_modified(long_ago).unwrap();
        }
        manifests.collect(&BTreeSet::from([needed]));
        let is_here = |digest| manifests.path(digest).exists();
        assert!(is_here(&needed), "a revision names it");
        assert!(is_here(&new), "its deployment may be on its way");
        assert!(!is_here(&old));
    }
}
