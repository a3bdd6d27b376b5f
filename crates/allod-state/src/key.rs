//! Public keys and signatures, and the one rule by which every replica judges a signature.
//!
//! Signatures verify under the ZIP-215 rules (<https://zips.z.cash/zip-0215>), under which single and batch
//! verification agree on every input. Under looser or library-specific rules two validators could disagree about one
//! crafted signature, and the network would split.

mod batch;
mod sealing;

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_zebra::VerificationKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use batch::{Claim, KnownKeys, verify_batch};
pub(crate) use sealing::can_be_sealed_to;

use crate::id::ParseIdError;

/// A public key. The tag byte of the encoding names the scheme; other schemes take the next tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032), 32 bytes.
    Ed25519([u8; 32]),
}

/// A signature, tagged like its key.
#[derive(Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Signature {
    /// Ed25519 (RFC 8032), 64 bytes.
    Ed25519([u8; 64]),
}

/// A signature that its key did not make over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match its key and message")]
pub struct BadSignature;

impl PublicKey {
    /// Checks one signature.
    ///
    /// # Errors
    /// Where the signature was not made by this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let (Self::Ed25519(key), Signature::Ed25519(bytes)) = (self, signature);
        let key = VerificationKey::try_from(*key).map_err(|_| BadSignature)?;
        key.verify(&ed25519_zebra::Signature::from(*bytes), message)
            .map_err(|_| BadSignature)
    }

    /// The raw bytes, without the scheme tag.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        let Self::Ed25519(bytes) = self;
        bytes
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ed25519(bytes) = self;
        write!(
            f,
            "ed25519_{}",
            data_encoding::BASE32_NOPAD
                .encode(bytes)
                .to_ascii_lowercase()
        )
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

impl FromStr for PublicKey {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wanted = "ed25519";
        let body = text
            .strip_prefix("ed25519_")
            .ok_or(ParseIdError::Prefix { wanted })?;
        let bytes = data_encoding::BASE32_NOPAD
            .decode(body.to_ascii_uppercase().as_bytes())
            .map_err(|_| ParseIdError::Encoding)?;
        bytes
            .try_into()
            .map(Self::Ed25519)
            .map_err(|_| ParseIdError::Encoding)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
