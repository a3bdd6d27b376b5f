//! Makes mutually distrusting validators agree on the order of transactions, and keeps the result on disk.
//!
//! It never opens a socket: messages go in, messages come out.
#![forbid(unsafe_code)]

pub mod bft;
pub mod chain;
pub mod disk;
mod law;
pub mod limits;
pub mod mempool;
pub mod replica;
pub mod sign_state;
pub mod signer;
pub mod store;
pub mod wal;

pub use chain::Chain;
pub use law::ApplyError;
pub use signer::LocalSigner;
