//! Every bound of signed requests, in one place.

/// Longest time between `created` and `expires`, in seconds.
pub(super) const LIFETIME_S_MAX: u64 = 60;
/// What our own client asks for, in seconds.
pub(super) const LIFETIME_S: u64 = 30;
/// How far a client's clock may run ahead of ours, in seconds.
pub(super) const SKEW_S_MAX: u64 = 30;
/// How long a nonce is remembered past its `expires`, in seconds: a clock set back by less replays nothing.
pub(super) const NONCE_GRACE_S: u64 = SKEW_S_MAX;
/// Nonces remembered at a time, over all accounts but the operator's: 8,700 requests a second of clients like ours,
/// lastingly, which is more than a processor verifies. Each costs less than 80 bytes where one key sends many in a second,
/// and less than 400 where each sends one.
pub(super) const NONCES_MAX: usize = 32 * NONCES_PER_KEY_MAX as usize;
/// Of them, those of one account: half, so that no account shuts out the others.
pub(super) const NONCES_PER_ACCOUNT_MAX: u32 = 16 * NONCES_PER_KEY_MAX;
/// Nonces remembered at a time for the account that operates this node; nobody else takes their room.
pub(super) const OPERATOR_NONCES_MAX: usize = 4 * NONCES_PER_KEY_MAX as usize;
/// Nonces remembered at a time for one key.
#[cfg(not(test))]
pub(super) const NONCES_PER_KEY_MAX: u32 = 16_384;
/// Tests fill all of the memory.
#[cfg(test)]
pub(super) const NONCES_PER_KEY_MAX: u32 = 1_024;
/// Records of used nonces after which their file is begun anew: twice what is remembered; each has 89 bytes.
pub(super) const JOURNAL_RECORDS_MAX: usize = 2 * (NONCES_MAX + OPERATOR_NONCES_MAX);
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
