//! The sealed manifest: the private half of an app (images, environment, secrets, names), readable only by its holders.
//!
//! A fresh content key encrypts the manifest once; the key is then wrapped for each holder. Formats, version 1:
//!
//! ```text
//! ciphertext  1 (version) | 32 commitment to the content key | 24 nonce | XChaCha20-Poly1305(padded manifest)
//! padded      u32 little-endian length | manifest | zeros
//! wrap        1 (version) | 32 encapsulated key | 48 sealed content key          (HPKE, RFC 9180, base mode:
//!             DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305)
//! ```
//!
//! Rules: the associated data of the manifest is domain, network and app label, so that a ciphertext means nothing in
//! another app or network; the associated data of a wrap adds the holder's id and the ciphertext's digest, so that a
//! wrap means nothing beside another ciphertext or holder. The commitment makes every holder read the same manifest:
//! without it, a crafted ciphertext could open differently under two keys. The ciphertext's whole length is a power of
//! two from 1 KiB to 1 MiB, so that its public length says little about the content.
//!
//! What stays visible: how many holders there are and who, the bucket of the length, and when it was sealed. There is no
//! forward secrecy: whoever later gets a holder's key opens the manifests that were sealed to it.

mod bucket;
mod wrap;

pub use wrap::{SealingKey, WRAP_BYTES};

use allod_state::app::{SealedManifest, Wrap};
use allod_state::limits::WRAPS_PER_MANIFEST_MAX;
use allod_state::{Digest, Label, NetworkId};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;

use crate::identity::Secret;
use bucket::{pad, unpad};
use wrap::{unwrap_key, wrap_key};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"allod manifest v1";
const COMMITMENT_DOMAIN: &str = "allod manifest key commitment v1";
const NONCE_BYTES: usize = 24;
/// Version, commitment and nonce.
const HEADER_BYTES: usize = 1 + 32 + NONCE_BYTES;
const TAG_BYTES: usize = 16;

/// The key that encrypts one manifest.
type ContentKey = Secret<[u8; 32]>;

/// Why a manifest could not be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The manifest does not fit.
    #[error(
        "the app's private half has {bytes} bytes and at most {max} can be sealed; move large files into a volume or an image"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that fits.
        max: usize,
    },
    /// Nobody could open it.
    #[error("a manifest needs at least one holder")]
    NoHolder,
    /// The law would refuse it.
    #[error("a manifest can have {max} holders, and {holders} were named")]
    TooManyHolders {
        /// How many were named.
        holders: usize,
        /// How many there may be.
        max: usize,
    },
    /// A holder's key is none.
    #[error(
        "holder {index} has a sealing key that is not an X25519 key; its node must register again"
    )]
    BadKey {
        /// Its place in the list.
        index: usize,
    },
}

/// Why a sealed manifest could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are not those that the law names.
    #[error(
        "these bytes are not the manifest that the ledger names; fetch it again from another holder"
    )]
    WrongCiphertext,
    /// The manifest was not sealed for this holder.
    #[error(
        "the manifest is not sealed for this holder; its owner or another holder must wrap the key for it"
    )]
    NotHolder,
    /// The wrap does not open with this key, or was made for something else.
    #[error(
        "the wrapped key does not open here; the owner must deploy again, or another holder must wrap the key anew"
    )]
    WrongKey,
    /// The format is newer than this program.
    #[error(
        "the manifest has a format that this version of Allod does not know; upgrade Allod on this machine"
    )]
    Version,
    /// The content does not decrypt although the key does.
    #[error("the manifest was sealed wrongly and nobody can open it; its owner must deploy again")]
    Damaged,
}

/// What a manifest belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The network.
    pub network: NetworkId,
    /// The app's blinded name.
    pub app: Label,
}

/// Somebody for whom a manifest is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The node's or account's id.
    pub id: [u8; 32],
    /// Its public X25519 key, as the ledger lists it.
    pub sealing_key: [u8; 32],
}

/// Somebody who opens manifests.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    /// The own node's or account's id.
    pub id: [u8; 32],
    /// The own key.
    pub key: &'a SealingKey,
}

/// A manifest nobody but its holders can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The bytes to keep beside the ledger.
    pub ciphertext: Vec<u8>,
    /// What the ledger keeps of it.
    pub manifest: SealedManifest,
}

/// Seals `manifest` for `holders`, under a content key that is drawn for it alone.
///
/// # Errors
/// Where it is too long, a holder's key is bad, or there are no or too many holders.
///
/// # Panics
/// Where the kernel gives no random bytes, which it always does once it has started.
pub fn seal(manifest: &[u8], scope: &Scope, holders: &[Holder]) -> Result<Sealed, SealError> {
    seal_with(
        manifest,
        scope,
        holders,
        &mut rand_core::UnwrapErr(getrandom::SysRng),
    )
}

fn seal_with(
    manifest: &[u8],
    scope: &Scope,
    holders: &[Holder],
    random: &mut impl CryptoRng,
) -> Result<Sealed, SealError> {
    check_count(holders.len())?;
    let padded = pad(manifest)?;
    let mut key = [0; 32];
    random.fill_bytes(&mut key);
    let key = ContentKey::new(key);
    let mut nonce = [0; NONCE_BYTES];
    random.fill_bytes(&mut nonce);

    let mut ciphertext = vec![VERSION];
    ciphertext.extend_from_slice(&commitment(&key));
    ciphertext.extend_from_slice(&nonce);
    let body = cipher(&key)
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: padded.expose(),
                aad: &scope.bytes(),
            },
        )
        .expect("a manifest is far shorter than the cipher's limit");
    ciphertext.extend_from_slice(&body);

    let digest = Digest::of(&ciphertext);
    let wraps = holders
        .iter()
        .enumerate()
        .map(|(index, holder)| {
            wrap_key(
                &key,
                holder,
                &wrap_bytes(scope, &holder.id, &digest),
                random,
            )
            .ok_or(SealError::BadKey { index })
        })
        .collect::<Result<_, _>>()?;
    let bytes = u64::try_from(ciphertext.len()).expect("1 MiB fits in 64 bits");
    Ok(Sealed {
        ciphertext,
        manifest: SealedManifest {
            ciphertext: digest,
            bytes,
            wraps,
        },
    })
}

/// Opens `ciphertext`, which `manifest` describes.
///
/// # Errors
/// Where the bytes are others than the ledger names, or this holder cannot open them.
pub fn open(
    ciphertext: &[u8],
    manifest: &SealedManifest,
    scope: &Scope,
    opener: Opener<'_>,
) -> Result<Secret<Vec<u8>>, OpenError> {
    if Digest::of(ciphertext) != manifest.ciphertext {
        return Err(OpenError::WrongCiphertext);
    }
    let key = content_key(manifest, scope, opener)?;
    decrypt(ciphertext, scope, &key)
}

/// Wraps the content key for further holders, as its owner or a holder does when the law names a new standby.
///
/// # Errors
/// Where the caller is no holder, or a new holder's key is bad (which also reads as [`OpenError::WrongKey`]).
pub fn rewrap(
    manifest: &SealedManifest,
    scope: &Scope,
    opener: Opener<'_>,
    holders: &[Holder],
) -> Result<Vec<Wrap>, OpenError> {
    let key = content_key(manifest, scope, opener)?;
    let mut random = rand_core::UnwrapErr(getrandom::SysRng);
    holders
        .iter()
        .map(|holder| {
            let bound = wrap_bytes(scope, &holder.id, &manifest.ciphertext);
            wrap_key(&key, holder, &bound, &mut random).ok_or(OpenError::WrongKey)
        })
        .collect()
}

impl Scope {
    fn bytes(&self) -> Vec<u8> {
        [DOMAIN, self.network.as_bytes(), self.app.as_bytes()].concat()
    }
}

fn content_key(
    manifest: &SealedManifest,
    scope: &Scope,
    opener: Opener<'_>,
) -> Result<ContentKey, OpenError> {
    let wrap = manifest
        .wraps
        .iter()
        .find(|wrap| wrap.holder == opener.id)
        .ok_or(OpenError::NotHolder)?;
    unwrap_key(
        &wrap.key,
        opener.key,
        &wrap_bytes(scope, &opener.id, &manifest.ciphertext),
    )
}

fn decrypt(
    ciphertext: &[u8],
    scope: &Scope,
    key: &ContentKey,
) -> Result<Secret<Vec<u8>>, OpenError> {
    let (header, body) = ciphertext
        .split_at_checked(HEADER_BYTES)
        .ok_or(OpenError::Damaged)?;
    let (version, header) = header.split_first().ok_or(OpenError::Damaged)?;
    if *version != VERSION {
        return Err(OpenError::Version);
    }
    let (committed, nonce) = header.split_at_checked(32).ok_or(OpenError::Damaged)?;
    let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| OpenError::Damaged)?;
    if committed != commitment(key) {
        return Err(OpenError::Damaged);
    }
    let padded = cipher(key)
        .decrypt(
            &XNonce::from(nonce),
            Payload {
                msg: body,
                aad: &scope.bytes(),
            },
        )
        .map(Secret::new)
        .map_err(|_| OpenError::Damaged)?;
    unpad(&padded).ok_or(OpenError::Damaged)
}

fn cipher(key: &ContentKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}

fn commitment(key: &ContentKey) -> [u8; 32] {
    blake3::derive_key(COMMITMENT_DOMAIN, key.expose())
}

fn wrap_bytes(scope: &Scope, holder: &[u8; 32], ciphertext: &Digest) -> Vec<u8> {
    [&scope.bytes(), holder.as_slice(), ciphertext.as_bytes()].concat()
}

const fn check_count(holders: usize) -> Result<(), SealError> {
    match holders {
        0 => Err(SealError::NoHolder),
        1..=WRAPS_PER_MANIFEST_MAX => Ok(()),
        _ => Err(SealError::TooManyHolders {
            holders,
            max: WRAPS_PER_MANIFEST_MAX,
        }),
    }
}

#[cfg(test)]
mod tests;
