//! The outside door of a real node, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod access;
mod answers;
mod authorization;
mod export;
mod join;
mod load;
mod opening;
mod reference;
mod refusals;
mod registry;
mod stream;
mod world;
