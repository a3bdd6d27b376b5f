//! A content key, wrapped for one holder with HPKE (RFC 9180).

use allod_state::app::Wrap;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::{ContentKey, Holder, OpenError, VERSION};
use crate::identity::Secret;

const INFO: &[u8] = b"allod manifest wrap v1";
const ENCAPSULATED_BYTES: usize = 32;
/// The length of every wrap: version, encapsulated key, content key and its tag.
pub const WRAP_BYTES: usize = 1 + ENCAPSULATED_BYTES + 32 + 16;

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The private X25519 key that opens what was sealed for an account or a node. It is wiped when dropped.
pub struct SealingKey(PrivateKey);

impl SealingKey {
    pub(crate) fn from_bytes(bytes: &Secret<[u8; 32]>) -> Self {
        Self(PrivateKey::from_bytes(bytes.expose()).expect("any 32 bytes are an X25519 key"))
    }

    /// The public half, as the ledger lists it.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        X25519HkdfSha256::sk_to_pk(&self.0).to_bytes().into()
    }
}

/// Wraps `key` for `holder`, bound to `bound`; nothing where the holder's key is of low order.
pub(super) fn wrap_key(
    key: &ContentKey,
    holder: &Holder,
    bound: &[u8],
    random: &mut impl CryptoRng,
) -> Option<Wrap> {
    let public = PublicKey::from_bytes(&holder.sealing_key).ok()?;
    let (encapped, sealed) = hpke::single_shot_seal_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &public, INFO, key.expose(), bound, random)
    .ok()?;
    let bytes = [&[VERSION], encapped.to_bytes().as_slice(), &sealed].concat();
    Some(Wrap {
        holder: holder.id,
        key: bytes,
    })
}

/// Undoes [`wrap_key`].
pub(super) fn unwrap_key(
    wrapped: &[u8],
    key: &SealingKey,
    bound: &[u8],
) -> Result<ContentKey, OpenError> {
    let (version, rest) = wrapped.split_first().ok_or(OpenError::WrongKey)?;
    if *version != VERSION {
        return Err(OpenError::Version);
    }
    let (encapped, sealed) = rest
        .split_at_checked(ENCAPSULATED_BYTES)
        .ok_or(OpenError::WrongKey)?;
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| OpenError::WrongKey)?;
    let mut opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key.0,
        &encapped,
        INFO,
        sealed,
        bound,
    )
    .map_err(|_| OpenError::WrongKey)?;
    let content = <[u8; 32]>::try_from(opened.as_slice()).map(ContentKey::new);
    opened.zeroize();
    content.map_err(|_| OpenError::WrongKey)
}
