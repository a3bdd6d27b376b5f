//! Makes mutually distrusting validators agree on the order of transactions, and keeps the result on disk.
//!
//! It never opens a socket: messages go in, messages come out.
#![forbid(unsafe_code)]

pub mod bft;
pub mod disk;
pub mod limits;
pub mod sign_state;
pub mod wal;
