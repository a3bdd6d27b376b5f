//! Every bound of signed requests, in one place.

/// Longest time between `created` and `expires`, in seconds.
pub(super) const LIFETIME_S_MAX: u64 = 60;
/// What our own client asks for, in seconds.
pub(super) const LIFETIME_S: u64 = 30;
/// How far a client's clock may run ahead of ours, in seconds.
pub(super) const SKEW_S_MAX: u64 = 30;
/// How long a nonce is remembered past its `expires`, in seconds: a clock set back by less replays nothing.
pub(super) const NONCE_GRACE_S: u64 = LIFETIME_S_MAX;
/// Nonces remembered at a time, over all accounts but the operator's; each costs less than 150 bytes where
/// one key sends many in a second, and less than 500 where each sends one.
pub(super) const NONCES_MAX: usize = 262_144;
/// Of them, those of one account: half, so that no account shuts out the others.
pub(super) const NONCES_PER_ACCOUNT_MAX: u32 = 131_072;
/// Nonces remembered at a time for the account that operates this node; nobody else takes their room.
pub(super) const OPERATOR_NONCES_MAX: usize = 65_536;
/// Nonces remembered at a time for one key.
pub(super) const NONCES_PER_KEY_MAX: u32 = 16_384;
/// Records of used nonces after which their file is begun anew: twice what is remembered; each has 105 bytes.
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
