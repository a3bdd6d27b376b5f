//! The program from outside, without a node.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod inventory;
mod mutants;
mod offline;
mod reference;
mod shell;
mod supply;
mod tidy;
