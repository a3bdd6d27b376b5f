//! How long and how hard a run is, in one place. Times are in simulated milliseconds.

/// When the simulated world begins, in milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// How long faults, clients and attackers are at work.
pub(crate) const STORM_MS: u64 = 45_000;
/// Mean time between two wishes of clients.
pub(crate) const WISH_EVERY_MS: u64 = 400;
/// Mean time between two looks of a node's agent at its leases.
pub(crate) const AGENT_EVERY_MS: u64 = 1_500;
/// Mean time between two acts of an attacker.
pub(crate) const ATTACK_EVERY_MS: u64 = 1_500;
/// The least and the most time between two faults: more than twenty in every storm.
pub(crate) const FAULT_EVERY_MS: (u64, u64) = (900, 2_000);
/// A run with fewer faults shows too little.
pub(crate) const FAULTS_MIN: u64 = 20;
/// When a fault is tried again that could not happen.
pub(crate) const FAULT_AGAIN_MS: u64 = 100;
/// How often clients offer again what has no answer yet.
pub(crate) const RETRY_EVERY_MS: u64 = 1_000;
/// The longest that a machine stays down.
pub(crate) const DOWN_MS_MAX: u64 = 5_000;
/// How far a wall clock jumps at most.
pub(crate) const JUMP_MS_MAX: u64 = 600_000;
/// How far the clocks of several validators are off at most.
pub(crate) const DIFFERENCE_MS_MAX: u64 = 2_000;
/// After the faults have stopped, everything must be well within this time.
pub(crate) const CALM_MS_MAX: u64 = 120_000;
/// How long a client's transaction is valid.
pub(crate) const LIFETIME_MS: u64 = 600_000;
/// Transactions of one key that a client sends without waiting.
pub(crate) const UNANSWERED_PER_KEY_MAX: usize = 3;
/// Committed transactions that an attacker remembers.
pub(crate) const REMEMBERED_MAX: usize = 64;
/// Steps of one run at most: a run that needs more goes in circles.
pub(crate) const STEPS_MAX: u64 = 2_000_000;
/// Mean time between two looks of operators at who validates.
pub(crate) const ELECT_EVERY_MS: u64 = 800;
/// The longest time from one change of the validators to the wish for the next one.
pub(crate) const REST_MS_MAX: u64 = 10_000;
/// So many sets at least follow the first one in every run of four or more validators.
pub(crate) const SET_CHANGES_MIN: u64 = 2;
/// Machines that come beside those of the beginning, at most.
pub(crate) const FURTHER_MAX: usize = 4;
/// How many of a hundred machines without a ledger begin from a snapshot; the others learn all blocks.
pub(crate) const BEGIN_BY_SNAPSHOT_PERCENT: u64 = 60;
/// The longest that a newcomer waits before it asks for a snapshot again.
pub(crate) const BEGIN_AGAIN_MS: u64 = 1_000;
/// Honest machines that have every block from the first on, at least: somebody has to teach newcomers.
pub(crate) const HAVE_ALL_MIN: usize = 2;
/// Mean time between two questions for a snapshot by somebody from outside.
pub(crate) const VISIT_EVERY_MS: u64 = 5_000;
/// Mean time between two acts of a false validator.
pub(crate) const LIE_EVERY_MS: u64 = 700;
