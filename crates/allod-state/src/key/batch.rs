//! Many signatures checked together, by keys whose points are remembered.
//!
//! The equation is that of ZIP-215 (<https://zips.z.cash/zip-0215>) for batches, with the cofactor: for signatures
//! `(R, s)` of keys `A` with `k = SHA-512(R, A, message)`,
//!
//! ```text
//! [8] ( [-sum z s] B + sum [z] R + sum [z k] A ) = 0
//! ```
//!
//! Its coefficients `z` must be such as a forger cannot predict before choosing his signatures. They are drawn from a
//! hash of every `k` and `s` of the batch (as in the Fiat-Shamir transform), so that the law needs no
//! randomness and the verdict is the same everywhere. What is said of the curve is left to its library; `ed25519-zebra`
//! checks single signatures, and has the same equation, but computes the point of every key anew: a third of a
//! batch's time where each key signs once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::once;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};

use super::{BadSignature, PublicKey, Signature};
use crate::limits::KNOWN_KEYS_MAX;

/// One signature to check among many.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

/// Keys whose points on the curve have been computed before. What it holds changes how long a check takes, and never
/// its verdict.
#[derive(Debug, Default)]
pub struct KnownKeys(BTreeMap<[u8; 32], EdwardsPoint>);

/// A claim in numbers.
struct Parsed {
    key: [u8; 32],
    r: [u8; 32],
    s: Scalar,
    k: Scalar,
}

/// What a batch holds of one key.
struct Signed {
    point: EdwardsPoint,
    coefficient: Scalar,
}

/// As [`KnownKeys::verify`], where no key is known yet.
///
/// # Errors
/// Where at least one signature is bad.
pub fn verify_batch(claims: &[Claim<'_>]) -> Result<(), BadSignature> {
    KnownKeys::default().verify(claims)
}

impl KnownKeys {
    /// Checks many signatures together: all are good exactly if every single check would pass.
    ///
    /// # Errors
    /// Where at least one signature is bad. Check one by one to learn which.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "scalars count modulo the order of the group, so none of them overflows"
    )]
    pub fn verify(&mut self, claims: &[Claim<'_>]) -> Result<(), BadSignature> {
        let claims = claims.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let mut coefficients = coefficients(&claims);
        let mut keys: BTreeMap<[u8; 32], Signed> = BTreeMap::new();
        let (mut points, mut factors) = (Vec::new(), Vec::new());
        let mut base = Scalar::ZERO;
        for Parsed { key, r, s, k } in claims {
            let mut z = [0; 16];
            coefficients.fill(&mut z);
            let z = Scalar::from(u128::from_le_bytes(z));
            let signed = match keys.entry(key) {
                Entry::Occupied(before) => before.into_mut(),
                Entry::Vacant(first) => first.insert(Signed {
                    point: self.point(key)?,
                    coefficient: Scalar::ZERO,
                }),
            };
            signed.coefficient += z * k;
            base -= z * s;
            points.push(point_of(r)?);
            factors.push(z);
        }
        let of_keys = || keys.values();
        let sum = EdwardsPoint::vartime_multiscalar_mul(
            once(&base)
                .chain(of_keys().map(|signed| &signed.coefficient))
                .chain(&factors),
            once(&ED25519_BASEPOINT_POINT)
                .chain(of_keys().map(|signed| &signed.point))
                .chain(&points),
        );
        match sum.mul_by_cofactor().is_identity() {
            true => Ok(()),
            false => Err(BadSignature),
        }
    }

    fn point(&mut self, key: [u8; 32]) -> Result<EdwardsPoint, BadSignature> {
        if let Some(point) = self.0.get(&key) {
            return Ok(*point);
        }
        let point = point_of(key)?;
        if self.0.len() >= KNOWN_KEYS_MAX {
            self.0.clear();
        }
        self.0.insert(key, point);
        Ok(point)
    }
}

/// ZIP-215 takes encodings that are not canonical, too.
fn point_of(encoded: [u8; 32]) -> Result<EdwardsPoint, BadSignature> {
    CompressedEdwardsY(encoded).decompress().ok_or(BadSignature)
}

fn parse(claim: &Claim<'_>) -> Result<Parsed, BadSignature> {
    let (PublicKey::Ed25519(key), Signature::Ed25519(signature)) = (claim.key, claim.signature);
    let halves = (signature.first_chunk(), signature.last_chunk());
    let (Some(r), Some(s)) = halves else {
        return Err(BadSignature);
    };
    let s: Option<Scalar> = Scalar::from_canonical_bytes(*s).into();
    let hash = Sha512::new().chain_update(r).chain_update(key);
    let hash = hash.chain_update(claim.message).finalize();
    Ok(Parsed {
        key,
        r: *r,
        s: s.ok_or(BadSignature)?,
        k: Scalar::from_bytes_mod_order_wide(&hash.into()),
    })
}

/// The endless hash of the batch. A claim's `k` stands for its key, its `R` and its message.
fn coefficients(claims: &[Parsed]) -> blake3::OutputReader {
    let mut transcript = blake3::Hasher::new_derive_key("allod signature batch v1");
    for claim in claims {
        transcript.update(claim.k.as_bytes());
        transcript.update(claim.s.as_bytes());
    }
    transcript.finalize_xof()
}

#[cfg(test)]
mod tests;
