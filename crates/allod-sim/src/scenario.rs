//! What has stopped other networks and control planes, played again: an exact schedule each, against the replicas that
//! ship.
//!
//! Nothing is left to chance here, so a scenario says the same thing every time. Where the mistake that was made then
//! can be made here, it is, and the scenario has to notice it.

mod akash_closures;
mod akash_lost_contact;
mod babylon_epoch_edge;
mod clock_ten_minutes;
mod cometbft_height_lie;
mod cometbft_stalled_sync;
mod cosmos_arithmetic;
mod etcd_acked_write;
mod etcd_index;
mod fdb_unknown_result;
mod fly_expired_key;
mod gossipsub_overflow;
mod juno_nondeterminism;
mod long_range;
mod lost_before_deciding;
mod lost_disk_wrong_clock;
mod nats_power_cut;
mod one_of_four;
mod persistence_sign_state;
mod postgres_fsync;
mod prysm_old_votes;
mod solana_nonce;
mod strangelove_full_disk;
mod tendermint_recovery;
mod tigerbeetle_disk_loss;
mod town;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::network::stage::Found;

/// Something that happened elsewhere, or may happen to anybody.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happened then.
    pub happened: &'static str,
    /// What has to hold here.
    pub holds: &'static str,
    /// The mistake that can be made here too, and that the scenario must notice.
    pub planted: Option<&'static str>,
    play: fn(bool) -> Found,
}

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    akash_closures::SCENARIO,
    akash_lost_contact::SCENARIO,
    babylon_epoch_edge::SCENARIO,
    clock_ten_minutes::SCENARIO,
    cometbft_height_lie::SCENARIO,
    cometbft_stalled_sync::SCENARIO,
    cosmos_arithmetic::SCENARIO,
    etcd_acked_write::SCENARIO,
    etcd_index::SCENARIO,
    fdb_unknown_result::SCENARIO,
    fly_expired_key::SCENARIO,
    gossipsub_overflow::SCENARIO,
    juno_nondeterminism::SCENARIO,
    long_range::SCENARIO,
    lost_before_deciding::SCENARIO,
    lost_disk_wrong_clock::SCENARIO,
    nats_power_cut::SCENARIO,
    one_of_four::SCENARIO,
    persistence_sign_state::SCENARIO,
    postgres_fsync::SCENARIO,
    prysm_old_votes::SCENARIO,
    solana_nonce::SCENARIO,
    strangelove_full_disk::SCENARIO,
    tendermint_recovery::SCENARIO,
    tigerbeetle_disk_loss::SCENARIO,
];

impl Scenario {
    /// Plays it, with the mistake or without.
    ///
    /// # Errors
    /// What did not hold; a panic anywhere counts.
    pub fn play(&self, is_planted: bool) -> Found {
        let played = catch_unwind(AssertUnwindSafe(|| (self.play)(is_planted)));
        played.unwrap_or_else(|panic| Err(crate::run::words_of(&*panic)))
    }
}
