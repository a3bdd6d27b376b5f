//! Signed requests: RFC 9421 HTTP message signatures with Ed25519, for everything that is not a transaction.
//!
//! The profile, tag `allod-v1`. Covered: `@method`, `@authority`, `@path`, `@query`; `content-digest` (RFC 9530,
//! `sha-256`) where there is a body; `idempotency-key` where that header is sent; `content-type` may be. Parameters, all
//! of them: `created`, `expires` (at most 60 s later), `nonce`, `keyid` (the public key, or `key@account`),
//! `alg="ed25519"`, `tag`. Anything else in a signature is refused, so that there is one way to read it.
//!
//! A request passes in this order, and each step is cheap for its position: the door (`Host`, `Origin`), sizes, form,
//! times, known key, signature, nonce, body. The nonce is remembered only for a known key with a right signature, so that
//! strangers cannot fill the memory; the nonces in use outlive the process in a file, and a request from before the node's
//! start is refused all the same, in case that file is lost.
//!
//! A handler must not act on headers that are not covered.

mod base;
mod digest;
mod door;
mod error;
mod journal;
mod limits;
mod profile;
mod replay;
mod sign;
mod verify;

pub use door::{Door, PassedOn, Scheme};
pub use error::SignatureError;
pub use replay::Share;
pub(crate) use sign::sign_for;
pub use sign::{SignError, sign};
pub use verify::{Head, Verified, Verifier};

#[cfg(test)]
mod tests;
