//! Every bound of the ledger, in one place.

/// Validators in one set.
pub const VALIDATORS_MAX: usize = 512;
/// Largest message between ledgers: one block, or one answer to a catch-up request.
pub const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Blocks in one answer to a catch-up request.
pub const SYNC_BLOCKS_MAX: usize = 64;
/// Bytes of blocks in one answer to a catch-up request; one block may exceed it alone.
pub const SYNC_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Peers whose reported height is remembered.
pub const PEERS_MAX: usize = 1_024;
/// Messages for the next height kept for each peer while this height is being decided.
pub const EARLY_MESSAGES_PER_PEER_MAX: usize = 64;
/// Messages for the next height kept altogether.
pub const EARLY_MESSAGES_MAX: usize = 1_024;
/// Proposals for the next height kept altogether; each holds a block.
pub const EARLY_PROPOSALS_MAX: usize = 4;
/// Distinct blocks held at one height while it is being decided.
pub const VALUES_PER_HEIGHT_MAX: usize = 32;
/// Distinct proposals examined for one round; a second one proves the proposer false.
pub const PROPOSALS_PER_ROUND_MAX: usize = 2;
/// From this round on a proposal is empty, so that no transaction can hold up the chain.
pub const EMPTY_FROM_ROUND: u32 = 3;
/// How long a peer may take to answer a catch-up request, in milliseconds.
pub const SYNC_TIMEOUT_MS: u64 = 5_000;
/// How long a node that is one block behind waits for votes before it asks for the block.
pub const SYNC_PATIENCE_MS: u64 = 300;
/// How often a node tells its height when nothing else happens, in milliseconds.
pub const STATUS_EVERY_MS: u64 = 2_000;
/// Largest log segment that is read back.
pub const WAL_SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// How much of a log segment is prepared with zeros.
pub const WAL_PREPARED_BYTES: u64 = 4 * 1024 * 1024;
