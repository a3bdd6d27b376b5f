//! Every bound of the law, in one place: what an outsider can make it hold, read or do.

/// Largest encoded transaction, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 64 * 1024;
/// Largest number of actions in one transaction.
pub const ACTIONS_MAX: usize = 64;
/// Largest encoded block, in bytes.
pub const BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest number of transactions in one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 20_000;
/// Most work units one transaction may ask for.
pub const WORK_PER_TRANSACTION_MAX: u64 = 100_000;
/// Most effort of all transactions of one block together, and of one alone. A unit is about a quarter of a microsecond
/// on one core of 2026, so that a block's transactions take about a second at most.
pub const EFFORT_MAX: u64 = 4_000_000;
/// Effort that stands for one work unit: what a transaction's size alone says is counted before it runs.
pub const EFFORT_PER_WORK: u64 = 4;
/// Effort of one node, or of the terms of many, examined for a demand without lists; see `Demand::effort_per_node`.
pub const EFFORT_PER_NODE: u64 = 3;
/// Nodes and groups of nodes that a search passes by for one unit of effort.
pub const GLANCES_PER_EFFORT: u64 = 8;
/// Glances after which a search asks all terms, so that it can pass by groups of nodes.
pub const GLANCES_BEFORE_TERMS: u64 = 64;
/// Effort of listing the rules by which one node refuses: the receipt keeps them.
pub const EFFORT_PER_REFUSAL: u64 = 64;
/// Nodes whose rules a refusal lists.
pub const NODES_LISTED_MAX: usize = 16;
/// Effort of one replica that is looked at and stays.
pub const EFFORT_PER_SLOT: u64 = 2;
/// Effort of placing or ending a lease.
pub const EFFORT_PER_LEASE: u64 = 80;
/// Effort of removing a row.
pub const EFFORT_PER_ROW: u64 = 32;
/// Effort of checking one signature inside an action.
pub const EFFORT_PER_SIGNATURE: u64 = 200;
/// Keys whose points a checker of signatures remembers, at 200 bytes each.
pub const KNOWN_KEYS_MAX: usize = 16_384;
/// Longest time, in milliseconds, between a transaction's signing and its expiry.
pub const TRANSACTION_LIFETIME_MS_MAX: u64 = 3_600_000;
/// Keys that one account may hold.
pub const KEYS_PER_ACCOUNT_MAX: u64 = 64;
/// Apps that one account may own at a time.
pub const APPS_PER_ACCOUNT_MAX: u64 = 1_000;
/// Nodes that one account may operate at a time.
pub const NODES_PER_ACCOUNT_MAX: u64 = 1_000;
/// Services in one app.
pub const SERVICES_PER_APP_MAX: usize = 64;
/// Replicas of one service.
pub const REPLICAS_PER_SERVICE_MAX: u32 = 500;
/// Ports of one service.
pub const PORTS_PER_SERVICE_MAX: usize = 32;
/// Volumes of one service.
pub const VOLUMES_PER_SERVICE_MAX: usize = 16;
/// Entries in any list of a constraint (regions, operators, tags).
pub const CONSTRAINT_ENTRIES_MAX: usize = 64;
/// Holders to whom one manifest key may be wrapped.
pub const WRAPS_PER_MANIFEST_MAX: usize = 16;
/// Largest wrapped key, in bytes.
pub const WRAP_BYTES_MAX: usize = 1_024;
/// Machines that stand by for each service of an app.
pub const STANDBYS: usize = 2;
/// Machines that are asked whether they could, besides those that can read the app.
pub const STANDBY_SEARCH_MAX: usize = 100;
/// Largest sealed manifest, in bytes; it is kept beside the ledger, under its hash.
pub const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;
/// Revisions of an app kept for rollback.
pub const REVISIONS_KEPT: usize = 10;
/// Largest memo on a transfer, in bytes.
pub const MEMO_BYTES_MAX: usize = 256;
/// Evidence items in one action.
pub const EVIDENCE_ITEMS_MAX: usize = 500;
/// Largest price or amount that a transaction may name, in micro-credits (10^15 credits). With
/// [`EVIDENCE_SPAN_MS_MAX`]-bounded spans summed over a lease's life, price times time stays below 2^127.
pub const CREDITS_MAX: i128 = 1_000_000_000_000_000_000_000;
/// Longest span one evidence item may cover, in milliseconds.
pub const EVIDENCE_SPAN_MS_MAX: u64 = 3_600_000;
/// How far evidence may run ahead of block time, in milliseconds.
pub const EVIDENCE_AHEAD_MS_MAX: u64 = 2_000;
/// Witnesses of one lease: of three, two have to agree.
pub const WITNESSES_MAX: usize = 3;
/// Further ones, where those that there are do not agree.
pub const WITNESSES_MORE: usize = 2;
/// How long those that there are have to agree, in block time.
pub const DOUBT_MS: u64 = 10_000;
/// Leases that are looked at where a machine comes, is given up, or is back, to see who may watch them now.
pub const REVIEWED_PER_CHANGE_MAX: usize = 1_000;
/// Leases that get further witnesses in one block.
pub const WIDENED_PER_BLOCK_MAX: usize = 100;
/// Machines that are looked at to find them.
pub const WITNESS_SEARCH_MAX: usize = 32;
/// How long after it was sent a sign of life that most witnesses have acknowledged lets an exclusive replica run.
pub const RIGHT_RUNS_MS: u64 = 3_000;
/// How long until it may do nothing any more, be it that freezing it took so long.
pub const RIGHT_MS: u64 = 4_000;
/// How long a witness is silent itself before it may give a lease up: since what it last acknowledged.
pub const SILENCE_MS: u64 = 5_000;
/// The same where it has not heard the lease's machine yet: as long as two calls may take.
pub const FIRST_SIGN_MS: u64 = 12_000;
/// How long a machine is silent, whatever it holds, before those that watch it say that it is gone.
pub const ABSENCE_MS: u64 = 12_000;
/// How long it counts, in block time, that one of them has said so.
pub const ABSENCE_STANDS_MS: u64 = 600_000;
/// How long a ledger stands still, in block time, from when on nobody counts as there or as gone meanwhile.
pub const STANDSTILL_MS: u64 = 60_000;
/// By how much more a witness waits each time that the ledger did not take it, at most.
pub const SILENCE_MORE_MAX_MS: u64 = 12 * SILENCE_MS;
/// How late a look may be before it is taken that the machine stood still itself.
pub const LATE_MS: u64 = 2_000;
/// Signs of life of which it is remembered when they were sent: more than can be of use.
pub const BEATS_KEPT: usize = 8;
/// Leases that one sign of life names.
pub const BEAT_LEASES_MAX: usize = 1_024;
/// Bytes of a sign of life, or of its acknowledgement, with its signature.
pub const WORD_BYTES_MAX: usize = BEAT_LEASES_MAX * 40 + 128;
/// Leases that one transaction gives up, or machines.
pub const DEATHS_PER_REPORT_MAX: usize = 200;
/// Days for which a machine's uptime is kept.
pub const UPTIME_DAYS: u64 = 30;
/// Replica slots that the placement step looks at in one block.
pub const PLACEMENTS_PER_BLOCK_MAX: usize = 2_000;
/// Effort of the placement step in one block, after which it leaves the rest for the next.
pub const PLACEMENT_EFFORT_MAX: u64 = 1_000_000;
/// Feasible nodes that are scored for one placement.
pub const CANDIDATES_SCORED_MAX: usize = 16;
/// Ended leases that one block forgets at most.
pub const RETIRED_PER_BLOCK_MAX: usize = 500;
/// How long an ended lease stays in the state for its bill, in milliseconds (100 days).
pub const LEASE_RETENTION_MS: u64 = 100 * 24 * 3_600_000;
/// First wait before a failed replica is placed again, in milliseconds; it doubles with every failure in a row.
pub const BACKOFF_FIRST_MS: u64 = 1_000;
/// Longest wait before a failed replica is placed again, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 300_000;
/// How soon a replica that found no node is looked at again, in milliseconds; it doubles every time that it finds none.
pub const PLACE_RETRY_MS: u64 = 5_000;
/// Longest wait before a replica that found no node is looked at again, in milliseconds.
pub const PLACE_RETRY_MAX_MS: u64 = 40_000;
/// For how long a payer's credits must bear everything that strangers run for it, in milliseconds, before a replica is
/// opened again on a stranger's node: about ten times as long as it takes until a node has told what it is owed.
pub const CREDIT_AHEAD_MS: u64 = 300_000;
/// Failures in a row after which a new revision stops replacing a serving one.
pub const ROLLOUT_FAILURES_MAX: u32 = 3;
/// A lease that was ready this long, in milliseconds, forgets the failures before it.
pub const FAILURES_FORGIVEN_AFTER_MS: u64 = 60_000;
/// Validators from which on those that are elected validate: as many as can lose one and go on.
pub const VALIDATORS_MIN: u64 = 4;
/// Validators at most.
pub const VALIDATORS_MAX: u64 = 100;
/// Addresses that a machine states.
pub const REACH_ADDRESSES_MAX: usize = 8;
/// Relays that a machine listens on.
pub const REACH_RELAYS_MAX: usize = 4;
/// Signatures in one certificate.
pub const CERTIFICATE_SIGNATURES_MAX: usize = 1_000;
/// Leaves of one proof's path.
pub const PROOF_DEPTH_MAX: usize = 256;
