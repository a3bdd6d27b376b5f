//! Names and passwords for registries, kept sealed to this node's own key.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use allod_runtime::image::Credentials;
use allod_state::app::SealedManifest;
use allod_state::{Label, NetworkId, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use crate::identity::{Identity, Secret};
use crate::seal::{self, Holder, Opener, Scope};
use crate::whole;

/// How many registries may be logged in to.
const REGISTRIES_MAX: usize = 64;

/// Why credentials were not kept.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There are too many.
    #[error("this node is logged in to {REGISTRIES_MAX} registries already; log out of one first")]
    TooMany,
    /// They could not be written.
    #[error("could not keep the credentials at {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// User and password by registry host.
type Logins = BTreeMap<String, (String, Zeroizing<String>)>;

/// What is written: the ciphertext and who can open it.
#[derive(BorshSerialize, BorshDeserialize)]
struct Kept {
    ciphertext: Vec<u8>,
    sealed: SealedManifest,
}

/// The credentials of this node.
pub(crate) struct Registries {
    path: PathBuf,
    scope: Scope,
    node: NodeId,
    logins: Mutex<Logins>,
}

impl Registries {
    /// Opens the file at `path`; one that cannot be opened holds no credentials any more.
    pub(crate) fn open(
        path: PathBuf,
        network: NetworkId,
        node: NodeId,
        identity: &Identity,
    ) -> Self {
        let scope = Scope {
            network,
            app: Label::of(node.as_bytes(), "registries"),
        };
        let logins = read(&path, &scope, node, identity).unwrap_or_default();
        Self {
            path,
            scope,
            node,
            logins: Mutex::new(logins),
        }
    }

    /// What to show a registry.
    pub(crate) fn credentials(&self, host: &str) -> Option<Credentials> {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins
            .get(host)
            .map(|(user, password)| Credentials::new(user.clone(), password.as_str()))
    }

    /// Keeps credentials for a registry in place of those it had.
    pub(crate) fn login(
        &self,
        host: String,
        user: String,
        password: &Secret<String>,
        identity: &Identity,
    ) -> Result<(), LoginError> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.len() >= REGISTRIES_MAX && !logins.contains_key(&host) {
            return Err(LoginError::TooMany);
        }
        logins.insert(host, (user, Zeroizing::new(password.expose().clone())));
        self.write(&logins, identity)
    }

    /// Forgets a registry; says whether it was known.
    pub(crate) fn logout(&self, host: &str, identity: &Identity) -> Result<bool, LoginError> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let was_known = logins.remove(host).is_some();
        self.write(&logins, identity).map(|()| was_known)
    }

    fn write(&self, logins: &Logins, identity: &Identity) -> Result<(), LoginError> {
        let write = |source| LoginError::Write {
            path: self.path.clone(),
            source,
        };
        let plain: BTreeMap<&String, (&String, &str)> = logins
            .iter()
            .map(|(host, (user, password))| (host, (user, password.as_str())))
            .collect();
        let plain = Zeroizing::new(borsh::to_vec(&plain).map_err(write)?);
        let key = identity.sealing_key();
        let holder = Holder {
            id: *self.node.as_bytes(),
            sealing_key: key.public(),
        };
        let sealed = seal::seal(&plain, &self.scope, &[holder])
            .map_err(|error| write(io::Error::other(error)))?;
        let kept = Kept {
            ciphertext: sealed.ciphertext,
            sealed: sealed.manifest,
        };
        whole::write(&self.path, &borsh::to_vec(&kept).map_err(write)?).map_err(write)
    }
}

fn read(path: &PathBuf, scope: &Scope, node: NodeId, identity: &Identity) -> Option<Logins> {
    let kept: Kept = borsh::from_slice(&std::fs::read(path).ok()?).ok()?;
    let key = identity.sealing_key();
    let opener = Opener {
        id: *node.as_bytes(),
        key: &key,
    };
    let plain = seal::open(&kept.ciphertext, &kept.sealed, scope, opener).ok()?;
    let logins: BTreeMap<String, (String, String)> = borsh::from_slice(plain.expose()).ok()?;
    let logins = logins
        .into_iter()
        .map(|(host, (user, password))| (host, (user, Zeroizing::new(password))));
    Some(logins.collect())
}
