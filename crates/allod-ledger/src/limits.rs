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
/// Proposals for the next height kept altogether, one of each peer; each holds a block.
pub const EARLY_PROPOSALS_MAX: usize = 4;
/// Distinct blocks of any size held at one height while it is being decided.
pub const VALUES_PER_HEIGHT_MAX: usize = 32;
/// The most bytes of a block without transactions. As small are those that are held beyond that.
pub const EMPTY_BLOCK_BYTES_MAX: usize = 8 * 1024;
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
pub const WAL_PREPARED_BYTES: u64 = 8 * 1024 * 1024;
/// How far a proposed block's time may run ahead of this node's clock, in milliseconds.
pub const CLOCK_AHEAD_MS_MAX: u64 = 5_000;
/// Executed proposals kept at one height.
pub const EXECUTED_MAX: usize = 8;
/// Transactions waiting in one lane of the mempool.
pub const MEMPOOL_PER_LANE_MAX: usize = 50_000;
/// Bytes of transactions waiting in one lane of the mempool.
pub const MEMPOOL_BYTES_PER_LANE_MAX: usize = 64 * 1024 * 1024;
/// Transactions of one key waiting in the mempool.
pub const MEMPOOL_PER_KEY_MAX: usize = 20_000;
/// Transactions of one account waiting in a lane that is more than half full: half of it, so that no account shuts
/// out the others.
pub const MEMPOOL_PER_ACCOUNT_MAX: usize = MEMPOOL_PER_LANE_MAX / 2;
/// Bytes of them: half as well.
pub const MEMPOOL_BYTES_PER_ACCOUNT_MAX: usize = MEMPOOL_BYTES_PER_LANE_MAX / 2;
/// Room in each lane beside that for accounts that operate machines, whose work must go on.
pub const MEMPOOL_OPERATOR_RESERVE: usize = 1_000;
/// Bytes of that room.
pub const MEMPOOL_OPERATOR_RESERVE_BYTES: usize = 8 * 1024 * 1024;
/// Transactions of a key that may be missing before one that waits.
pub const NONCE_GAP_MAX: u64 = 64;
/// When a refused sender should come again, in milliseconds.
pub const RETRY_AFTER_MS: u64 = 1_000;
/// Memory that the store may use as a cache.
pub const STORE_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of blocks and receipts that wait to be written into the store together.
pub const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Blocks removed by one call of prune: more than a checkpoint's, or a backlog would never shrink.
pub const PRUNED_PER_CALL_MAX: usize = 512;
/// Rows collected into one snapshot chunk, in bytes; the last row may exceed it.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;
/// Chunks in one snapshot.
pub const SNAPSHOT_CHUNKS_MAX: usize = 65_536;
/// Blocks after which the store is synced and the log cut. A checkpoint syncs several files while
/// everyone waits, so fewer than one block in a hundred may meet one.
pub const CHECKPOINT_BLOCKS: u64 = 256;
/// Bytes of log after which the store is synced and the log cut.
pub const CHECKPOINT_LOG_BYTES: u64 = 28 * 1024 * 1024;
/// The number of the first log segment.
pub const WAL_FIRST_SEGMENT: u64 = 1;
/// Disk space kept for the moment when there is none.
pub const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// Below how many files that can still be made a node only reads: a checkpoint needs two.
pub const FILES_LOW: u64 = 16;
/// How often free disk space is asked for, in milliseconds.
pub const SPACE_CHECK_EVERY_MS: u64 = 1_000;
/// The soonest that the law's own next step makes a block, in milliseconds.
pub const WAKE_MS_MIN: u64 = 100;
/// Inputs waiting for the ledger thread.
pub const INBOX_MAX: usize = 4_096;
/// Transactions of this machine itself that wait for the ledger thread; nobody else's come this way.
pub const OWN_OFFERS_MAX: usize = 256;
/// Inputs that the ledger thread takes before it offers the transactions among them.
pub const STEP_INPUTS_MAX: usize = 256;
/// Messages waiting to be carried away.
pub const OUTBOX_MAX: usize = 4_096;
/// Commits that a subscriber may lag behind before it misses some.
pub const COMMITS_BEHIND_MAX: usize = 256;
/// Conflicts of validators that a subscriber may lag behind before it misses some.
pub const CONFLICTS_BEHIND_MAX: usize = 16;
/// Transactions waiting for their signature to be checked.
pub const VERIFY_QUEUE_MAX: usize = 32_768;
/// Signatures checked together: the more, the less each costs, and a key is unpacked once for all of
/// them that are its; more than this and the ledger's thread waits while a batch is checked.
pub const VERIFY_BATCH_MAX: usize = 2_048;
/// Into how many parts a batch with a false signature is split, to find it.
pub const VERIFY_SPLIT: usize = 8;
/// Transactions told to other ledgers in one message, in bytes.
pub const GOSSIP_BYTES_MAX: usize = 256 * 1024;
/// Senders waiting for the fate of one transaction.
pub const ANSWERS_PER_TRANSACTION_MAX: usize = 64;
/// The largest block a node proposes where it is not told otherwise.
pub const BLOCK_BYTES_WANTED: usize = 2 * 1024 * 1024;
/// How long blocks are kept where it is not told otherwise: 100 days.
pub const RETENTION_MS: u64 = 100 * 24 * 3_600_000;
/// Below how much free disk space a node only reads, where it is not told otherwise.
pub const SPACE_LOW_BYTES: u64 = 64 * 1024 * 1024;
/// How long a peer that failed to answer a catch-up request is left alone at first, in milliseconds.
pub const SYNC_BACKOFF_MS: u64 = 2_000;
/// The longest that such a peer is left alone.
pub const SYNC_BACKOFF_MS_MAX: u64 = 300_000;
/// Transactions in one message.
pub const TRANSACTIONS_PER_MESSAGE_MAX: usize = 4_096;
/// Good signatures remembered at one height.
pub const SIGNATURES_REMEMBERED_MAX: usize = 4_096;
/// The most bytes of transactions in a proposal: a header fits beside them in the largest block.
pub const PROPOSED_BYTES_MAX: usize = allod_state::limits::BLOCK_BYTES_MAX - EMPTY_BLOCK_BYTES_MAX;
/// The least: the largest transaction fits however often failed rounds have halved it.
pub const PROPOSED_BYTES_MIN: usize = 8 * allod_state::limits::TRANSACTION_BYTES_MAX;
/// How often it is looked what has waited since the last look and is to be told to the other ledgers again.
pub const RETELL_MS: u64 = 2_000;
