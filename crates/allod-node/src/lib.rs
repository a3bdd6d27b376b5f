//! Makes this machine match the replicated state, and reports what happened.
//!
//! It never holds a rule of the economy: those are the law's.

pub mod home;
pub mod identity;
pub mod manifest;
pub mod seal;
