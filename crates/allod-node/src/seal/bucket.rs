//! Padding: manifests of many lengths become ciphertexts of eleven.

use allod_state::limits::MANIFEST_BYTES_MAX;

use super::{HEADER_BYTES, SealError, TAG_BYTES};
use crate::identity::Secret;

const LENGTH_BYTES: usize = 4;
/// What a ciphertext holds beside the manifest and its padding.
const OVERHEAD_BYTES: usize = HEADER_BYTES + LENGTH_BYTES + TAG_BYTES;
const CIPHERTEXT_BYTES_MIN: usize = 1024;
/// The law's limit, which must be a bucket itself.
const CIPHERTEXT_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(CIPHERTEXT_BYTES_MAX as u64 == MANIFEST_BYTES_MAX);

/// Length, manifest and zeros, as long as its bucket wants.
pub(super) fn pad(manifest: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
    let max = CIPHERTEXT_BYTES_MAX - OVERHEAD_BYTES;
    let too_long = SealError::TooLong {
        bytes: manifest.len(),
        max,
    };
    if manifest.len() > max {
        return Err(too_long);
    }
    let length = u32::try_from(manifest.len()).map_err(|_| too_long)?;
    let bucket = (manifest.len() + OVERHEAD_BYTES)
        .next_power_of_two()
        .max(CIPHERTEXT_BYTES_MIN);
    let padded_bytes = bucket - HEADER_BYTES - TAG_BYTES;
    let mut padded = Vec::with_capacity(padded_bytes);
    padded.extend_from_slice(&length.to_le_bytes());
    padded.extend_from_slice(manifest);
    padded.resize(padded_bytes, 0);
    Ok(Secret::new(padded))
}

/// The manifest, where the padding is what [`pad`] makes of it.
pub(super) fn unpad(padded: &Secret<Vec<u8>>) -> Option<Secret<Vec<u8>>> {
    let (length, rest) = padded.expose().split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (manifest, zeros) = rest.split_at_checked(length)?;
    zeros
        .iter()
        .all(|byte| *byte == 0)
        .then(|| Secret::new(manifest.to_vec()))
}
