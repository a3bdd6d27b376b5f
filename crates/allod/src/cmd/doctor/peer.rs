//! `allod doctor NODE`: how another machine is reached, why not better, and what to change.

use allod_api::client::{Client, Error, Result};
use allod_node::view::Peer;
use serde::Serialize;

use crate::context::Context;
use crate::render::table::pairs;

/// What is said of a machine.
#[derive(Debug, Serialize)]
struct Advice {
    peer: Peer,
    way: String,
    why: String,
    next: String,
}

pub(crate) async fn run(context: &Context, client: &Client, named: &str) -> Result<bool> {
    let peers = client.peers().await?;
    let is_meant = |peer: &&Peer| {
        peer.name.as_deref() == Some(named)
            || peer.node.to_string() == named
            || peer.node.short() == named
    };
    let mut meant = peers.iter().filter(is_meant);
    let peer = meant.next().ok_or_else(|| Error::NotFound {
        kind: "node",
        name: named.to_owned(),
    })?;
    if meant.next().is_some() {
        return Err(crate::context::usage(
            format!("several machines are called {named}"),
            "name one by its id: allod network peers",
        ));
    }
    let advice = advice(peer, &peers);
    context.show(&advice, told);
    Ok(peer.by.is_some())
}

fn advice(peer: &Peer, peers: &[Peer]) -> Advice {
    let round_trip = format!(
        "{:.1} ms there and back",
        f64::from(u32::try_from(peer.round_trip_us).unwrap_or(u32::MAX)) / 1_000.0
    );
    let (way, why, next) = match (&peer.by, peer.is_direct) {
        (Some(by), true) => (
            format!("directly, at {by}, {round_trip}"),
            "this machine and that one reach one another".to_owned(),
            "nothing has to be changed".to_owned(),
        ),
        (Some(_), false) => (
            format!("through the relay of {}, {round_trip}", relay_of(peer, peers)),
            "no direct way was found, as where both machines are behind routers that let nobody in and one of the routers \
             gives each connection another port"
                .to_owned(),
            "forward a UDP port of either router to its machine, and start that one with --peers 0.0.0.0:PORT; it is found \
             by itself"
                .to_owned(),
        ),
        (None, _) if peer.addresses.is_empty() && peer.relayed_by.is_empty() => (
            "not".to_owned(),
            "it has told the ledger neither an address nor a relay".to_owned(),
            "let its operator see that it runs, and that some member relays (allod up --relay)".to_owned(),
        ),
        (None, _) => (
            "not".to_owned(),
            peer.problem.clone().unwrap_or_else(|| "it was not called yet".to_owned()),
            "let its operator see that it runs: allod network status; where it does, see that UDP may leave here".to_owned(),
        ),
    };
    Advice {
        peer: peer.clone(),
        way,
        why,
        next,
    }
}

fn relay_of(peer: &Peer, peers: &[Peer]) -> String {
    let Some(relay) = peer.relay else {
        return "a member".to_owned();
    };
    let known = peers.iter().find(|other| other.node == relay);
    let name = known.and_then(|other| other.name.clone());
    name.map_or_else(
        || relay.short(),
        |name| format!("{name} ({})", relay.short()),
    )
}

fn told(advice: &Advice) -> String {
    let peer = &advice.peer;
    let or_none = |all: Vec<String>| match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    };
    pairs(&[
        (
            "machine",
            format!("{} ({})", peer.name.clone().unwrap_or_default(), peer.node),
        ),
        ("reached", advice.way.clone()),
        ("why", advice.why.clone()),
        (
            "says it is at",
            or_none(peer.addresses.iter().map(ToString::to_string).collect()),
        ),
        (
            "listens on the relay of",
            or_none(peer.relayed_by.iter().map(ToString::to_string).collect()),
        ),
        ("next", advice.next.clone()),
    ])
}
