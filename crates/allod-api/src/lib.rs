//! Offers every operation once, as HTTP route, CLI verb and documentation, and the client for them.
//!
//! It never reaches the ledger, the network or the runtime but through the node's handle.
#![forbid(unsafe_code)]

pub mod client;
pub mod compose;
pub mod limits;
pub mod openapi;
pub mod ops;
mod server;
pub mod shape;
pub mod signature;

pub use server::{Server, bind_own, serve};
