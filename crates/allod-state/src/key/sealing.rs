//! The keys that manifests are sealed to.

use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::traits::IsIdentity;

/// Eight times a point, from the highest bit on: the order of every point that is worth nothing divides this cofactor.
const EIGHT: [bool; 4] = [true, false, false, false];

/// Whether anything can be sealed to an X25519 key. What is agreed with a point of low order is known to everybody, and
/// whoever seals refuses it (RFC 7748, section 6.1): nothing that is to be read by others too could be sealed at all.
pub(crate) fn can_be_sealed_to(key: &[u8; 32]) -> bool {
    !MontgomeryPoint(*key)
        .mul_bits_be(EIGHT.into_iter())
        .is_identity()
}
