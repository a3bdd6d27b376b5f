//! The canonical encoding: one value has exactly one encoding, and anything else is refused.
//!
//! The format is Borsh (<https://borsh.io>): little-endian integers, length-prefixed sequences, sorted maps. Decoding
//! refuses trailing bytes and unsorted or repeated map keys, so that `encode(decode(bytes)) == bytes`. The vectors in
//! `tests/it/golden.rs` freeze it.

use std::sync::OnceLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use borsh::{BorshDeserialize, BorshSerialize};

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are more bytes than this kind of value may have.
    #[error("{what} has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// The kind of value.
        what: &'static str,
        /// How many bytes came.
        len: usize,
        /// How many may come.
        max: usize,
    },
    /// The bytes are not the canonical encoding of a value of this kind.
    #[error("the bytes are not a canonically encoded {what}")]
    Malformed {
        /// The kind of value.
        what: &'static str,
    },
}

/// The canonical bytes of `value`.
#[must_use]
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory cannot fail")
}

/// How many canonical bytes `value` has.
#[must_use]
pub fn encoded_len<T: BorshSerialize + ?Sized>(value: &T) -> usize {
    borsh::object_length(value).expect("counting bytes cannot fail")
}

/// Reads back one value of at most `max` bytes; `what` names it in the error.
///
/// # Errors
/// Where the bytes are too many or are not the one canonical encoding.
pub fn decode<T: BorshDeserialize>(
    what: &'static str,
    max: usize,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong {
            what,
            len: bytes.len(),
            max,
        });
    }
    borsh::from_slice(bytes).map_err(|_| DecodeError::Malformed { what })
}

/// The BLAKE3 hash of `parts` under `domain`; each part is preceded by its length, so that no two lists of parts meet.
#[must_use]
pub fn hash_parts(domain: &str, parts: &[&[u8]]) -> [u8; 32] {
    hash_parts_with(blake3::Hasher::new_derive_key(domain), parts)
}

/// The hash of a value's canonical bytes under `domain`.
#[must_use]
pub fn hash<T: BorshSerialize + ?Sized>(domain: &str, value: &T) -> [u8; 32] {
    hash_with(blake3::Hasher::new_derive_key(domain), value)
}

/// A domain that is hashed under so often that its name's own hash is worth keeping.
#[derive(Debug)]
pub(crate) struct Domain {
    name: &'static str,
    key: OnceLock<ContextKey>,
}

impl Domain {
    pub(crate) const fn new(name: &'static str) -> Self {
        let key = OnceLock::new();
        Self { name, key }
    }

    /// As [`hash_parts`].
    pub(crate) fn hash_parts(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash_parts_with(self.hasher(), parts)
    }

    /// As [`hash`].
    pub(crate) fn hash<T: BorshSerialize + ?Sized>(&self, value: &T) -> [u8; 32] {
        hash_with(self.hasher(), value)
    }

    fn hasher(&self) -> blake3::Hasher {
        let key = self.key.get_or_init(|| hash_derive_key_context(self.name));
        blake3::Hasher::new_from_context_key(key)
    }
}

fn hash_parts_with(mut hasher: blake3::Hasher, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        hasher.update(&length(part).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Many short writes to the hasher cost more than one long one.
fn hash_with<T: BorshSerialize + ?Sized>(mut hasher: blake3::Hasher, value: &T) -> [u8; 32] {
    hasher.update(&encode(value));
    *hasher.finalize().as_bytes()
}

fn length(part: &[u8]) -> u64 {
    u64::try_from(part.len()).unwrap_or(u64::MAX)
}
