//! Carries bytes between identities, whatever lies between them.
//!
//! It never knows what a transaction means: routes and names are handed to it as values.

#![forbid(unsafe_code)]

mod backend;
pub mod ingress;
pub mod limits;
mod location;
pub mod peer;
mod places;
pub mod published;
mod pump;
pub mod resolver;
mod tasks;

pub use backend::{Backend, BackendId, Readiness};
pub use ingress::{Ingress, LogTail, Outage, Route, RouteKey, Routes};
pub use location::{Dialer, Location};
pub use published::{Ports, Protocol, Published};
pub use resolver::{Names, Resolver};
