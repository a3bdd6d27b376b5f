//! The container network, tried in namespaces that play the host, its LAN and the internet.
//!
//! Needs root, `nft`, `iptables`, `iptables-legacy`, `ip` and `unshare`. Nothing outside the
//! namespaces that the tests make is touched.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod firewall;
mod lifecycle;
mod reach;
mod tend;
mod world;
