//! Binding a key file to this machine, as far as that is possible without a security chip.
//!
//! The file is encrypted to a key derived from two things: the machine's id (`/etc/machine-id`, not secret, but different
//! on every installed system) and a random secret in a 0600 file that lies in another directory than the key file
//! where the layout allows it.
//!
//! *What it protects against:* a key file that leaks alone (a synced or published configuration directory, a backup of
//! it, a pasted file) opens nowhere; a home copied or restored onto another machine does not silently become a second
//! machine with the same identity.
//!
//! *What it does not protect against:* anybody who can read files as this user or as root on this machine; anybody who
//! has the whole disk, since the machine's id and the secret are both on it; a clone of the whole system that kept its
//! machine id. Against those, use a passphrase.

use std::fs;
use std::io;
use std::path::Path;

use age::x25519;

use super::secret::Secret;
use super::{IdentityError, check_private};
use crate::home::{create_once, read_bounded};

const DOMAIN: &str = "allod machine key v1";
const SECRET_FILE_BYTES_MAX: u64 = 64;
/// Where systems keep the id; the second is D-Bus's older place.
const MACHINE_ID_PATHS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// What this machine can open.
pub(super) struct Machine {
    with_id: Option<x25519::Identity>,
    without_id: x25519::Identity,
}

impl Machine {
    /// This machine with the secret in `path`.
    pub(super) fn load(path: &Path) -> Result<Self, IdentityError> {
        let bytes = read_bounded(path, SECRET_FILE_BYTES_MAX).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                IdentityError::MachineSecretMissing {
                    path: path.to_owned(),
                }
            } else {
                IdentityError::Read {
                    path: path.to_owned(),
                    source,
                }
            }
        })?;
        let bytes = Secret::new(bytes);
        check_private(path)?;
        let secret = <[u8; 32]>::try_from(bytes.expose().as_slice()).map_err(|_| {
            IdentityError::MachineSecretBroken {
                path: path.to_owned(),
            }
        })?;
        Ok(Self::new(machine_id().as_deref(), &Secret::new(secret)))
    }

    /// The same, but draws the secret first where there is none.
    pub(super) fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        if !path.exists() {
            let secret = Secret::new(super::random_32()?);
            create_once(path, secret.expose(), 0o600).map_err(|source| IdentityError::Write {
                path: path.to_owned(),
                source,
            })?;
        }
        Self::load(path)
    }

    pub(super) fn new(machine_id: Option<&str>, secret: &Secret<[u8; 32]>) -> Self {
        Self {
            with_id: machine_id.map(|id| derive(id.as_bytes(), secret)),
            without_id: derive(b"", secret),
        }
    }

    /// What new files are encrypted to. Minimal containers have no machine id; there the secret alone has to do.
    pub(super) fn recipient(&self) -> x25519::Recipient {
        self.with_id
            .as_ref()
            .unwrap_or(&self.without_id)
            .to_public()
    }

    /// What opens files, in the order to try. A file made before the system got its id still opens.
    pub(super) fn identities(&self) -> impl Iterator<Item = &dyn age::Identity> {
        let bare: &dyn age::Identity = &self.without_id;
        self.with_id
            .iter()
            .map(|key| key as &dyn age::Identity)
            .chain([bare])
    }
}

fn machine_id() -> Option<String> {
    MACHINE_ID_PATHS
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .find(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn derive(machine_id: &[u8], secret: &Secret<[u8; 32]>) -> x25519::Identity {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(secret.expose());
    hasher.update(machine_id);
    let key = Secret::new(*hasher.finalize().as_bytes());
    // age takes its keys as text only.
    let prefix = bech32::Hrp::parse("age-secret-key-").expect("a constant prefix is valid");
    let text = bech32::encode::<bech32::Bech32>(prefix, key.expose())
        .expect("32 bytes fit into one bech32 text");
    let text = Secret::new(text);
    let text = Secret::new(text.expose().to_ascii_uppercase());
    text.expose()
        .parse()
        .expect("a bech32 text of 32 bytes is an age key")
}
