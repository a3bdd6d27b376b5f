//! The validator key in this process's memory.

use std::fmt;

use allod_state::{PublicKey, Signature, codec};

use crate::bft::Signer;

/// Signs with a key held in memory; the key is wiped when this is dropped.
pub struct LocalSigner(ed25519_zebra::SigningKey);

impl LocalSigner {
    /// The key of an Ed25519 seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_zebra::SigningKey::from(*seed))
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSigner({})", self.public_key())
    }
}

impl Signer for LocalSigner {
    fn public_key(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verification_key().into())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature::Ed25519(self.0.sign(message).into())
    }

    fn secret(&self) -> [u8; 32] {
        codec::hash_parts("allod secret of a key v1", &[self.0.as_ref()])
    }
}
