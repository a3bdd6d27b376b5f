//! Decides, from a state and a block, the next state and the receipts.
//!
//! It never reads a clock, a file, a socket, the environment or a random number; it knows no floats, no hash maps and
//! no async runtime. Everything a caller needs enters as data ([`execute`] takes a parent state and a block's contents)
//! and leaves as data (the next state, its root, the receipts, the writes to keep on disk).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::float_arithmetic,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

pub mod account;
pub mod app;
mod apply;
pub mod bill;
pub mod block;
pub mod certificate;
pub mod codec;
pub mod credit;
pub mod event;
pub mod evidence;
pub mod genesis;
pub mod holdings;
pub mod id;
pub mod key;
pub mod lease;
pub mod limits;
pub mod money;
pub mod node;
pub mod place;
pub mod proof;
pub mod receipt;
pub mod reject;
mod size;
pub mod state;
mod table;
pub mod text;
pub mod transaction;
mod tree;
pub mod validator;
pub mod volume;

pub use apply::{
    Admission, Executed, InvalidBlock, Proposal, Rehearsal, acting_key, build, check, check_signer,
    execute, precheck, rehearse,
};
pub use id::{
    AccountId, AppId, BlockId, Digest, Label, LeaseId, NetworkId, NodeId, PlanId, Root,
    TransactionId,
};
pub use key::{PublicKey, Signature};
pub use money::Credits;
pub use reject::Rejection;
pub use state::State;
pub use transaction::{Action, Transaction};
