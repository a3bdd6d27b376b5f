//! The fuzz targets. Each is one plain function that the law's own tests call too, over the committed corpus
//! (`corpus/<target>/`): see `crates/allod-state/tests/it/total.rs`.
#![allow(dead_code, reason = "the tests' own modules are used as they are")]

#[path = "../../crates/allod-state/tests/it/audit.rs"]
mod audit;
#[path = "../../crates/allod-state/tests/it/city.rs"]
mod city;
#[path = "../../crates/allod-state/tests/it/dice.rs"]
mod dice;
#[path = "../../crates/allod-state/tests/it/samples.rs"]
mod samples;
#[path = "../../crates/allod-state/tests/it/total.rs"]
mod total;
#[path = "../../crates/allod-state/tests/it/world.rs"]
mod world;

/// Bytes as a transaction, and as actions that a member signs.
pub fn transaction(bytes: &[u8]) {
    total::transaction(bytes);
}

/// Bytes as a block, and as dice for a chain of them.
pub fn block(bytes: &[u8]) {
    total::block(bytes);
}

/// Bytes as the services of an app.
pub fn spec(bytes: &[u8]) {
    total::spec(bytes);
}

/// Bytes as changes to a store's rows.
pub fn snapshot(bytes: &[u8]) {
    total::snapshot(bytes);
}

/// Bytes as proofs and certificates.
pub fn proof(bytes: &[u8]) {
    total::proof(bytes);
}
