//! The ingress, the published ports and the resolver, seen through real sockets on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a scene that cannot be set up has failed"
)]

mod asks;
mod drain;
mod hygiene;
mod machines;
mod outage;
mod peers;
mod published;
mod relays;
mod resolver;
mod routing;
mod silence;
mod slow_clients;
mod smuggling;
mod stage;
mod streaming;
mod tunnels;
mod upgrade;
