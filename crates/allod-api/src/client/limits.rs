//! Every bound of the client, in one place.

use std::time::Duration;

/// How long connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may be away before it is asked whether there is a node at all.
pub(super) const DOWN_AFTER: Duration = Duration::from_millis(800);
/// How often that is asked.
pub(super) const DOWN_PERIOD: Duration = Duration::from_millis(500);
/// How long an ordinary answer may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the answer to a transaction may take: it waits for its block.
pub(super) const COMMIT_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a registry may take to say what a tag means.
pub(super) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the node may take to unpack an image archive.
pub(super) const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long other transactions of the same key may come first, one after the other.
pub(super) const OTHERS_MAX: Duration = Duration::from_secs(20);
/// How long one of them is given for its block before it is tried again.
pub(super) const OTHERS_PAUSE: Duration = Duration::from_millis(50);
/// How long sending the data of a volume and putting them in their place may take.
pub(super) const VOLUME_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// How long the data of a volume may stop on their way.
pub(super) const DATA_SILENCE_MAX: Duration = Duration::from_secs(300);
/// How long a stream may be silent; the server sends a heartbeat every 15 s.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest image archive, in bytes.
pub(super) const ARCHIVE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Largest line of a stream, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Largest WebSocket message, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long a transaction is valid at least, in milliseconds.
pub(super) const TRANSACTION_LIFETIME_MS: u64 = 60_000;
/// By how much less than that it may be longer, drawn for each.
pub(super) const TRANSACTION_LIFETIME_DRAWN_MS: u64 = 10_000;
/// How often an app that starts is looked at: at first, and the longest pause.
pub(super) const POLL_FIRST: Duration = Duration::from_millis(20);
/// The longest pause between two looks.
pub(super) const POLL_LONGEST: Duration = Duration::from_millis(500);
/// How long one try of an app's port may take.
pub(super) const KNOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a port may close connections unanswered before it counts as one that does not speak HTTP.
pub(super) const MUTE_MAX: Duration = Duration::from_secs(3);
/// Largest genesis document, header, certificate or proof in a bill's proof, in bytes.
pub(super) const PROOF_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Ports and host names asked about in one request, so that its body stays within what is read.
pub(super) const DOORS_ASKED: usize = 40;
/// How often a bill is asked for anew because evidence came meanwhile.
pub(super) const BILL_TRIES: u32 = 5;
