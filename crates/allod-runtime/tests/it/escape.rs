//! The escape suite: every way out of a container that the last ten years have taught is tried
//! inside real containers, and has to be shut.
//!
//! A probe that could not succeed anywhere would prove nothing. So each is also run in a place
//! that was weakened on purpose ([`hole`]), where the same program has to find its way open.

mod hole;
pub(crate) mod image;
mod inside;
mod layer;
mod links;
mod list;
mod page;
