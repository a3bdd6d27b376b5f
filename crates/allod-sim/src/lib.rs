//! Runs a network in one process from a seed, with faults, and checks the promises after each block.
//!
//! It never ships.
