//! Whole networks under seeds: honest runs keep every promise, and every planted bug is caught.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod fences;
mod liars;
mod planted;
mod scenarios;
mod seeds;
