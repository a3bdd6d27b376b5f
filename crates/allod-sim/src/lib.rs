//! Runs a network in one process from a seed, with faults, and checks the promises after each block.
//!
//! It never ships. The replicas, the log, the store and the law are those that do; the disk loses what was not
//! synced, the clocks jump, the wire loses, doubles and reorders, and one seed decides all of it.
#![forbid(unsafe_code)]

mod attack;
mod check;
mod client;
mod desk;
pub mod fence;
mod liar;
mod limits;
mod machine;
mod mutation;
mod network;
mod person;
mod random;
mod run;
mod scenario;
mod shadow;
mod snapshot;
mod tamper;
mod trace;
mod wire;

pub use check::Violation;
pub use mutation::Mutation;
pub use run::{Counts, Outcome, Plan, run, run_twice};
pub use scenario::{SCENARIOS, Scenario};
