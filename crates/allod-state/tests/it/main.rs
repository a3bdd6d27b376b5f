//! The law through its public door: blocks in, states and receipts out.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod app;
mod credit;
mod envelope;
mod evidence;
mod golden;
mod property;
mod return_of;
mod samples;
mod signature;
mod world;
