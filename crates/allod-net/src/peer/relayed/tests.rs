//! Which relays a packet takes.

use super::*;
use crate::limits::RELAY_DEAD_AFTER;
use crate::peer::{Member, Relay, pin, resolver, trust};

const HOME: SocketAddr = relay_at(1);
const ONE: SocketAddr = relay_at(2);
const OTHER: SocketAddr = relay_at(3);
const PEER: PeerKey = PeerKey([7; 32]);

const fn relay_at(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// A peer that is found by two relays, and a machine that has another one for its home; all are alive.
fn relays() -> Arc<Relays> {
    let tls = trust(&pin::Pins::default()).client_config(iroh_relay::tls::default_provider());
    let secret = SecretKey::from_bytes(&[1; 32]);
    let (relays, _transport) = Relays::new(secret, tls.unwrap(), resolver());
    let relay = Relay {
        pin: [0; 32],
        discovery_port: 1,
    };
    let member = Member {
        addresses: Vec::new(),
        relays: vec![ONE, OTHER],
    };
    let known = [HOME, ONE, OTHER].map(|at| (at, [relay.clone()].into()));
    relays.admit(Arc::new(Roster {
        members: [(PEER, member)].into(),
        relays: known.into(),
        ..Roster::default()
    }));
    let wires = [HOME, ONE, OTHER].map(|relay| (relay, Wire::to_nobody()));
    lock(&relays.wires).extend(wires);
    lock(&relays.homes).insert(HOME);
    relays
}

fn hear(relays: &Relays, from: PeerKey, by: SocketAddr) {
    let nothing = Datagrams {
        ecn: None,
        segment_size: None,
        contents: Bytes::new(),
    };
    relays.receive(from, by, nothing);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_heard_by_a_relay_is_answered_by_it_and_after_a_while_by_all() {
    let relays = relays();
    assert_eq!(relays.ways_to(&PEER), [ONE, OTHER], "it was never heard");
    hear(&relays, PEER, OTHER);
    assert_eq!(relays.ways_to(&PEER), [OTHER]);
    tokio::time::advance(RELAYED_FRESH + Duration::from_millis(1)).await;
    for wire in lock(&relays.wires).values() {
        wire.pulse.hear();
    }
    assert_eq!(relays.ways_to(&PEER), [OTHER, ONE], "it may have lost one");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_a_peer_does_not_name_takes_it_from_no_other() {
    let relays = relays();
    hear(&relays, PEER, HOME);
    assert_eq!(relays.ways_to(&PEER), [HOME, ONE, OTHER], "it may lie");
    let guest = PeerKey([9; 32]);
    let mut roster = relays.roster.lock().unwrap().as_ref().clone();
    roster.guests.insert(guest);
    relays.admit(Arc::new(roster));
    hear(&relays, guest, ONE);
    assert_eq!(relays.ways_to(&guest), [ONE], "a guest names none");
}

#[tokio::test(start_paused = true)]
async fn no_packet_goes_by_a_dead_relay_while_another_one_lives() {
    let relays = relays();
    let lose = |relay| lock(&relays.wires)[&relay].pulse.lose();
    hear(&relays, PEER, OTHER);
    lose(OTHER);
    assert_eq!(relays.ways_to(&PEER), [ONE]);
    lose(ONE);
    assert_eq!(relays.ways_to(&PEER), [HOME], "the ledger may be late");
    lose(HOME);
    assert_eq!(relays.ways_to(&PEER), [ONE, OTHER, HOME], "all are tried");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_not_remembered() {
    let relays = relays();
    let stranger = PeerKey([8; 32]);
    hear(&relays, stranger, ONE);
    assert_eq!(
        relays.ways_to(&stranger),
        [HOME],
        "for guests there are the homes"
    );
    assert!(lock(&relays.heard).is_empty());
}

#[tokio::test(start_paused = true)]
async fn relays_that_have_been_dead_for_a_while_make_room_for_the_next() {
    let relays = relays();
    let mut roster = relays.roster.lock().unwrap().as_ref().clone();
    let relay = roster.relays[&HOME].first().unwrap().clone();
    for port in 10..20 {
        roster.add_relay(relay_at(port), relay.clone());
    }
    relays.admit(Arc::new(roster));
    lock(&relays.wires).clear();
    lock(&relays.homes).clear();
    let called = || lock(&relays.wires).keys().copied().collect::<BTreeSet<_>>();
    relays.tidy(Instant::now());
    let first = called();
    assert_eq!(first.len(), HOMES_TRIED_MAX);
    relays.tidy(Instant::now());
    assert_eq!(called(), first, "they have a moment");

    tokio::time::advance(RELAY_DEAD_AFTER + Duration::from_secs(1)).await;
    relays.tidy(Instant::now());
    assert_eq!(called().len(), HOMES_TRIED_MAX * 2, "{:?}", called());
    relays.tasks.stop();
}
