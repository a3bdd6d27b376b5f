//! Every bound of the node, in one place.

use std::time::Duration;

/// Events that the agent's inbox holds, and that one pass takes in at most.
pub const AGENT_EVENTS_MAX: usize = 1_024;
/// How often evidence is written.
pub const METER_PERIOD: Duration = Duration::from_secs(30);
/// How often the agent looks at everything again, whatever it was told.
pub const SWEEP_PERIOD: Duration = Duration::from_secs(10);
/// How long a replica that is taken away may finish its open requests.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// The pause after a step that failed for reasons of this machine.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Happenings kept at hand; older ones are read from their blocks.
pub const HAPPENINGS_KEPT: usize = 10_000;
/// How often what nobody needs is looked for on the disk.
pub const COLLECT_PERIOD: Duration = Duration::from_secs(10 * 60);
/// How often it is looked for while the disk is short.
pub const COLLECT_PERIOD_SHORT: Duration = Duration::from_secs(60);
/// How many transactions are read again at a time to see whether the ledger's file is whole.
pub(crate) const SCRUB_TRANSACTIONS: usize = 4_096;
/// The pause after so many: a few hundredths of a processor's time at most.
pub(crate) const SCRUB_PAUSE: Duration = Duration::from_secs(1);
/// How long after all were read that is begun again.
pub(crate) const SCRUB_PERIOD: Duration = Duration::from_hours(24);
/// What images may take before those that nobody needs go, the longest unused first.
pub const IMAGES_BYTES_MAX: u64 = 20 * 1024 * 1024 * 1024;
/// How long an image stays that nobody needs.
pub const IMAGES_IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long one stays in any case: it may have been fetched for what comes next.
pub const IMAGES_IDLE_MIN: Duration = Duration::from_secs(10 * 60);
/// A disk of which less than this part is free is short.
pub const DISK_SHORT_PART: u64 = 10;
/// How long a sealed manifest stays that no revision names: its deployment may be on its way.
pub const MANIFEST_IDLE_MIN: Duration = Duration::from_secs(3_600);
/// Opened manifests at hand that no revision names any more.
pub const MANIFESTS_OPENED_MAX: usize = 1_000;
/// Ports kept for services that asked for any free one.
pub const PICKED_PORTS_MAX: usize = 4_096;
/// Lines of a replica's output kept after it is gone.
pub const LAST_LINES: usize = 200;
/// Files of last lines kept.
pub const LAST_LINES_FILES_MAX: usize = 500;
/// Bytes of logs read at a time.
pub const LOG_READ_BYTES: usize = 256 * 1024;
/// How long a transaction of this node may wait for its block.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a transaction of this node is valid.
pub const TRANSACTION_LIFETIME_MS: u64 = 60_000;
/// Largest frame of the archive, in bytes.
pub const ARCHIVE_FRAME_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Keys that were taken away and whose owners are told so; older ones are merely unknown.
pub(crate) const RETIRED_KEYS_KEPT: usize = 65_536;
/// Months of the archive that are kept: the time a bill can be questioned, and the month that runs.
pub const ARCHIVE_MONTHS_KEPT: usize = 5;
/// Largest genesis document, in bytes.
pub const GENESIS_BYTES_MAX: usize = 1024 * 1024;
/// How long decided blocks are kept, in block time: the archive keeps what bills need for longer.
pub const LEDGER_RETENTION_MS: u64 = 30 * 24 * 3_600_000;
/// Below how much free disk the ledger takes nothing new.
pub const SPACE_LOW_BYTES: u64 = 64 * 1024 * 1024;
/// How long the transaction that lists a machine may wait for the node to start.
pub const FOUNDING_LIFETIME_MS: u64 = 10 * 60_000;
/// How often a registry is asked what a tag means, and for a pinned image, while a person waits.
pub(crate) const RESOLVE_ATTEMPTS: u32 = 2;
/// How long a registry may be silent meanwhile, and the longest wait that it may ask for.
pub(crate) const RESOLVE_SILENCE_MAX: Duration = Duration::from_secs(8);
/// How long all of it may take.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(40);
/// Nodes whose verdict on a replica is told.
pub(crate) const VERDICT_NODES_MAX: usize = 100;
/// Longest invite, in characters.
pub const INVITE_BYTES_MAX: usize = 4_096;
/// Members that an invite names.
pub const GREETERS_MAX: usize = 4;
/// How long whoever has no ledger waits for one member before it asks the next as well.
pub(crate) const GREETER_HEAD_START: Duration = Duration::from_secs(1);
/// How long it waits before it asks the same member again: as long as a new invite may take to be known there, and longer.
pub(crate) const JOIN_PAUSES: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(250),
    Duration::from_millis(600),
    Duration::from_secs(1),
];
/// How long a newcomer asks members before it gives up.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(120);
/// How often it is looked whether the ledger says something new about who may speak, and where each is.
pub(crate) const ROSTER_PERIOD: Duration = Duration::from_millis(500);
/// How long until what others reach this machine by is tried again where it does not open.
pub(crate) const OPEN_PAUSE: Duration = Duration::from_secs(2);
/// How long a block has to be under way before it is said of whom no vote for it has come.
pub(crate) const SILENCE_MIN: Duration = Duration::from_secs(5);
/// How long whoever holds an invite may still ask after it was used: its machine is not listed at once.
pub(crate) const GUEST_GRACE: Duration = Duration::from_secs(120);
/// The longest that this machine waits before it says again where it is; the first waits are shorter.
pub(crate) const REACH_PERIOD: Duration = Duration::from_secs(30);
/// How long nothing may move in another machine's tunnel to a workload here: as long as in one at the ingress.
pub(crate) const TUNNEL_IDLE: Duration = Duration::from_secs(3_600);
/// How long a machine that has joined waits at its first start until its own ledger lists it.
pub(crate) const LISTED_WAIT: Duration = Duration::from_secs(30);
/// How often a machine gives a sign of life to those that watch it.
pub(crate) const BEAT_PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked at who is silent.
pub(crate) const WATCH_PERIOD: Duration = Duration::from_millis(250);
/// How long the ledger may take to take that somebody is gone, and how long that may wait for its turn before; later it may
/// not be true any more.
pub(crate) const VOTE_LIFETIME: Duration = Duration::from_secs(5);
/// How long a machine that was given up has company before it says that it is back.
pub(crate) const BACK_AFTER_MS: u64 = 2_000;
/// How long it waits before it says so again, at first and at most.
pub(crate) const BACK_PAUSE_MIN_MS: u64 = 10_000;
/// See [`BACK_PAUSE_MIN_MS`].
pub(crate) const BACK_PAUSE_MAX_MS: u64 = 300_000;
/// Bytes of a witness's promises: leases that were given up and have not ended yet.
pub(crate) const PROMISES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections of other machines that wait for the API here.
pub(crate) const PEER_CALLS_WAITING_MAX: usize = 64;
/// How often it is looked at for whom apps are to be sealed besides.
pub(crate) const READERS_PERIOD: Duration = Duration::from_secs(1);
/// How long each machine that could do it has before the next one does.
pub(crate) const READERS_TURN: Duration = Duration::from_secs(4);
/// How long until it is done again, where it is still to be done.
pub(crate) const READERS_PAUSE: Duration = Duration::from_secs(15);
/// How long a sealed manifest that is not here may take to come before its replica is given up.
pub(crate) const MANIFEST_WAIT: Duration = Duration::from_secs(30);
/// How long until it is asked for again.
pub(crate) const MANIFEST_PAUSE: Duration = Duration::from_secs(2);
/// How long until an image that could not be fetched ahead is tried again.
pub(crate) const PREFETCH_PAUSE: Duration = Duration::from_secs(600);
/// How many members are asked for it, those who can read it first.
pub(crate) const MANIFEST_SOURCES_MAX: usize = 16;
/// Bytes of decided blocks that a peer is given in a second, when it has had what it is given at once.
pub(crate) const SERVED_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Bytes that it is given at once.
pub(crate) const SERVED_BYTES_AT_ONCE_MAX: u64 = 64 * 1024 * 1024;
/// Peers of which that is remembered before those that may be forgotten are.
pub(crate) const SERVED_PEERS_MAX: usize = 1_024;
/// Questions answered at once.
pub(crate) const ANSWERS_MAX: usize = 32;
/// How long whoever submits waits until the archive has the block, too.
pub(crate) const ARCHIVED_MAX: Duration = Duration::from_secs(1);
/// How long ending the links to peers may hold up the end of the node.
pub(crate) const PEERS_CLOSE_MAX: Duration = Duration::from_secs(2);
/// How old a snapshot may be that newcomers are given; they ask for the blocks after it.
pub(crate) const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(600);
/// How soon another one may be taken, whatever is asked for: chunks of the one before are kept for so long at least.
pub(crate) const SNAPSHOT_PAUSE_MIN: Duration = Duration::from_secs(2);
/// How long a newcomer's question for a snapshot is kept until the next one may be taken; where that is longer, it is told
/// that there is none.
pub(crate) const SNAPSHOT_WAIT_MAX: Duration = Duration::from_secs(5);
/// The part of its time that a machine takes snapshots in, at the most.
pub(crate) const SNAPSHOT_SHARE_INVERSE: u32 = 5;
/// Chunks of a snapshot that a newcomer asks for at once.
pub(crate) const SNAPSHOT_ASKS_MAX: usize = 4;
/// Largest list of chunks and handovers that a newcomer reads.
pub(crate) const SNAPSHOT_MANIFEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest snapshot that a newcomer takes.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// How often a newcomer looks how much has come: in so long each chunk that is asked for has come, or has failed.
pub(crate) const SNAPSHOT_PERIOD: Duration = Duration::from_secs(30);
/// What has to come in that time, in bytes, or the snapshot is asked of another member: less than the chunks that are asked for at
/// once.
pub(crate) const SNAPSHOT_BYTES_PER_PERIOD_MIN: usize = 3 * 1024 * 1024;
/// How long a machine whose ledger is gone asks who has a snapshot before it asks for blocks instead.
pub(crate) const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a machine that has joined writes down where it would begin anew.
pub(crate) const ENTRANCE_PERIOD: Duration = Duration::from_secs(600);
/// How long `down` waits for the root process once all workloads have ended: its network process closes its links and its
/// ledger first.
pub(crate) const DOWN_TIME_MAX: Duration = Duration::from_secs(60);
