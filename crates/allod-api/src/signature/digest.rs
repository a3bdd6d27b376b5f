//! `Content-Digest` (RFC 9530): which body was meant.

use http::HeaderMap;
use sfv::{BareItem, DictSerializer, Dictionary, Item, ListEntry, Parser, key_ref};
use sha2::{Digest, Sha256};

use super::base::header;
use super::error::SignatureError;

pub(super) const CONTENT_DIGEST: &str = "content-digest";

/// The header's value for a body with this SHA-256.
pub(super) fn of(sha256: &[u8; 32]) -> String {
    let mut dictionary = DictSerializer::new();
    dictionary.bare_item(key_ref("sha-256"), sha256.as_slice());
    dictionary.finish().expect("one entry was written")
}

/// The SHA-256 that the header, of a size that is read, promises; nothing where there is no such header.
pub(super) fn promised(headers: &HeaderMap) -> Result<Option<[u8; 32]>, SignatureError> {
    if !headers.contains_key(CONTENT_DIGEST) {
        return Ok(None);
    }
    let malformed = SignatureError::Malformed {
        what: "Content-Digest",
    };
    let text = header(headers, CONTENT_DIGEST).ok_or_else(|| malformed.clone())?;
    let dictionary: Dictionary = Parser::new(&text).parse().map_err(|_| malformed.clone())?;
    match dictionary.get("sha-256") {
        Some(ListEntry::Item(Item {
            bare_item: BareItem::ByteSequence(hash),
            ..
        })) => hash.as_slice().try_into().map(Some).map_err(|_| malformed),
        Some(_) => Err(malformed),
        None => Err(SignatureError::DigestMissing),
    }
}

/// Whether `body` is the promised one. A body without a promise is refused.
pub(super) fn check(promised: Option<[u8; 32]>, body: &[u8]) -> Result<(), SignatureError> {
    match promised {
        None if body.is_empty() => Ok(()),
        None => Err(SignatureError::DigestMissing),
        Some(promised) if promised == sha256(body) => Ok(()),
        Some(_) => Err(SignatureError::DigestMismatch),
    }
}

pub(super) fn sha256(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}
