//! Every bound of signed requests, in one place.

/// Longest time between `created` and `expires`, in seconds.
pub(super) const LIFETIME_S_MAX: u64 = 60;
/// What our own client asks for, in seconds.
pub(super) const LIFETIME_S: u64 = 30;
/// How far a client's clock may run ahead of ours, in seconds.
pub(super) const SKEW_S_MAX: u64 = 30;
/// How long a nonce is remembered past its `expires`, in seconds: a clock set back by less replays nothing.
pub(super) const NONCE_GRACE_S: u64 = LIFETIME_S_MAX;
/// Nonces remembered at a time, over all keys; each costs less than 200 bytes.
pub(super) const NONCES_MAX: usize = 131_072;
/// Nonces remembered at a time for one key.
pub(super) const NONCES_PER_KEY_MAX: u32 = 16_384;
/// Records of used nonces after which their file is begun anew; each has 72 bytes.
pub(super) const JOURNAL_RECORDS_MAX: usize = 2 * NONCES_MAX;
/// Longest nonce, in bytes.
pub(super) const NONCE_BYTES_MAX: usize = 64;
/// Shortest nonce, in bytes.
pub(super) const NONCE_BYTES_MIN: usize = 16;
/// Longest `Signature-Input`, in bytes.
pub(super) const SIGNATURE_INPUT_BYTES_MAX: usize = 2_048;
/// Longest `Signature`, in bytes.
pub(super) const SIGNATURE_BYTES_MAX: usize = 512;
/// Longest value of a covered header, in bytes.
pub(super) const COMPONENT_BYTES_MAX: usize = 1_024;
/// Longest path and query together, in bytes.
pub(super) const TARGET_BYTES_MAX: usize = 16_384;
/// Longest authority, in bytes: a DNS name, a colon and a port.
pub(super) const AUTHORITY_BYTES_MAX: usize = 260;
/// How much of a peer's text is repeated in an error, in characters.
pub(super) const QUOTED_CHARS_MAX: usize = 80;
