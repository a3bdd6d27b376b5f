//! Images end to end: a real registry, hostile registries, hostile layers, hostile archives.
//!
//! The layers are unpacked as root, as in life: the tests need root, `docker-registry`,
//! `skopeo`, `openssl`, `unshare` and `busybox-static`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod benign;
mod faults;
mod fixture;
mod hostile;
mod import;
mod pull;
mod room;
mod server;
mod store;
mod tar;
mod tls;
