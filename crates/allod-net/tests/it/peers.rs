//! Peers: real endpoints on loopback, and real relays where it says so.

use std::time::Duration;

use allod_net::peer::{AskError, Member, PeerKey, PeersConfig, Protocol, Relay, Sent};
use bytes::Bytes;
use tokio::time::timeout;

use crate::machines::{
    LONG, acquainted, config, machine, relay, relayed, roster, until, until_home,
};

#[tokio::test]
async fn frames_arrive_in_order_with_their_senders_key() {
    let [one, mut two] = acquainted([1, 2]).await;
    let large = Bytes::from(vec![9; 5_000_000]);
    assert_eq!(one.send(&two, Protocol::Agreement, b"first"), Sent::Queued);
    assert_eq!(
        one.peers
            .send(two.key(), Protocol::Agreement, large.clone()),
        Sent::Queued
    );
    assert_eq!(one.send(&two, Protocol::Agreement, b""), Sent::Queued);
    assert_eq!(
        two.next(Protocol::Agreement).await,
        (one.key(), Bytes::from_static(b"first"))
    );
    assert_eq!(two.next(Protocol::Agreement).await, (one.key(), large));
    assert_eq!(
        two.next(Protocol::Agreement).await,
        (one.key(), Bytes::new())
    );
    let paths = one.peers.paths();
    let way = paths[0].way.as_ref().unwrap();
    assert!(way.is_direct, "{way:?}");
}

#[tokio::test]
async fn a_stranger_is_turned_away_and_told_so() {
    let [mut one, _two] = acquainted([3, 4]).await;
    let stranger = machine(config(5)).await;
    stranger.peers.admit(roster(&[&one, &stranger])).await;
    stranger.send(&one, Protocol::Sync, b"let me in");
    let told = || {
        stranger.peers.paths()[0]
            .last_error
            .clone()
            .unwrap_or_default()
    };
    until(|| told().contains("not on the roster here")).await;
    assert!(one.peers.counts().strangers >= 1);
    assert_eq!(one.peers.counts().frames_received, 0);
    assert!(
        one.inboxes
            .get_mut(&Protocol::Sync)
            .unwrap()
            .try_recv()
            .is_err()
    );
    assert_eq!(one.send(&stranger, Protocol::Sync, b"no"), Sent::NotAMember);
}

#[tokio::test]
async fn whoever_is_taken_off_the_roster_is_cut_off() {
    let [one, mut two] = acquainted([6, 7]).await;
    one.send(&two, Protocol::Sync, b"hello");
    two.next(Protocol::Sync).await;
    two.peers.admit(roster(&[&two])).await;
    let told = || one.peers.paths()[0].last_error.clone().unwrap_or_default();
    until(|| {
        one.send(&two, Protocol::Sync, b"still there?");
        told().contains("not on the roster here")
    })
    .await;
    assert!(
        two.inboxes
            .get_mut(&Protocol::Sync)
            .unwrap()
            .try_recv()
            .is_err()
    );
}

#[tokio::test]
async fn another_network_is_told_apart() {
    let one = machine(config(8)).await;
    let elsewhere = machine(PeersConfig {
        network: [8; 32],
        ..config(9)
    })
    .await;
    let all = roster(&[&one, &elsewhere]);
    one.peers.admit(all.clone()).await;
    elsewhere.peers.admit(all).await;
    elsewhere.send(&one, Protocol::Sync, b"hello");
    let told = || {
        elsewhere.peers.paths()[0]
            .last_error
            .clone()
            .unwrap_or_default()
    };
    until(|| told().contains("another network")).await;
    assert_eq!(one.peers.counts().frames_received, 0);
}

#[tokio::test]
async fn a_peer_that_restarts_is_found_again() {
    let [one, mut two] = acquainted([10, 11]).await;
    one.send(&two, Protocol::Transactions, b"before");
    two.next(Protocol::Transactions).await;
    two.peers.clone().close().await;
    drop(two);
    let mut again = machine(config(11)).await;
    let all = roster(&[&one, &again]);
    one.peers.admit(all.clone()).await;
    again.peers.admit(all).await;
    // What was said while it was away may be lost; what is said again arrives.
    let key = again.key();
    let saying = async {
        loop {
            one.peers
                .send(key, Protocol::Transactions, Bytes::from_static(b"after"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = saying => unreachable!("it never ends"),
        (from, bytes) = again.next(Protocol::Transactions) => {
            assert_eq!((from, bytes), (one.key(), Bytes::from_static(b"after")));
        }
    }
}

/// Long past anything that takes its course, and well before a link that is silent is given up.
const SOON: Duration = Duration::from_secs(8);

/// Its life before says nothing more, nor that it is over: as when it was killed, or lost its power.
#[tokio::test]
async fn whoever_is_heard_in_another_life_is_spoken_to_there() {
    let [mut one, mut before] = acquainted([90, 91]).await;
    before.send(&one, Protocol::Sync, b"here");
    one.next(Protocol::Sync).await;
    for protocol in [Protocol::Sync, Protocol::Agreement] {
        one.send(&before, protocol, b"to the first");
        before.next(protocol).await;
    }
    let at = before.peers.listening().first().copied();
    drop(before);
    // Its port is free soon after.
    until(|| std::net::UdpSocket::bind(at.unwrap()).is_ok()).await;
    let mut again = machine(PeersConfig {
        listen: at,
        ..config(91)
    })
    .await;
    again.peers.admit(roster(&[&one, &again])).await;
    again.send(&one, Protocol::Sync, b"here again");
    one.next(Protocol::Sync).await;
    for protocol in [Protocol::Sync, Protocol::Agreement] {
        one.send(&again, protocol, b"to the second");
        let soon = timeout(SOON, again.next(protocol)).await;
        assert_eq!(soon.expect("it speaks to the dead").1, "to the second");
    }
}

#[tokio::test]
async fn whoever_is_heard_is_called_without_a_pause() {
    let mut of_one = config(94);
    of_one.limits.pause_min = LONG * 2;
    of_one.limits.pause_max = LONG * 2;
    let mut one = machine(of_one).await;
    let mut two = machine(config(95)).await;
    let all = roster(&[&one, &two]);
    one.peers.admit(all.clone()).await;
    one.send(&two, Protocol::Sync, b"too early");
    until(|| one.peers.paths()[0].last_error.is_some()).await;
    two.peers.admit(all).await;
    one.send(&two, Protocol::Sync, b"again");
    two.send(&one, Protocol::Sync, b"here");
    one.next(Protocol::Sync).await;
    let soon = timeout(SOON, two.next(Protocol::Sync)).await;
    assert_eq!(soon.expect("it pauses").1, "again");
}

#[tokio::test]
async fn of_signs_of_life_that_wait_the_two_newest_are_left() {
    let [one, mut two] = acquainted([92, 93]).await;
    for beat in [b"1", b"2", b"3", b"4"] {
        one.send(&two, Protocol::Heartbeats, beat);
    }
    for beat in ["3", "4"] {
        assert_eq!(two.next(Protocol::Heartbeats).await.1, beat);
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_holds_up_nobody_and_its_queue_stays_bounded() {
    let [one, mut two] = acquainted([12, 13]).await;
    let frame = Bytes::from(vec![1; 1_000_000]);
    // Nobody takes what comes in on this protocol, so that the queue, the windows and the inbox fill up.
    let mut over = 0;
    for _ in 0..600 {
        if one
            .peers
            .send(two.key(), Protocol::Transactions, frame.clone())
            == Sent::QueuedOverOldest
        {
            over += 1;
        }
        tokio::task::yield_now().await;
    }
    assert!(over > 0, "600 MB were taken in");
    assert!(one.peers.counts().frames_dropped > 0);
    one.send(&two, Protocol::Agreement, b"a vote");
    assert_eq!(two.next(Protocol::Agreement).await.1, "a vote");
}

#[tokio::test]
async fn what_no_protocol_allows_is_not_sent() {
    let [one, two] = acquainted([14, 15]).await;
    let huge = Bytes::from(vec![0; 11 * 1024 * 1024]);
    assert_eq!(
        one.peers.send(two.key(), Protocol::Agreement, huge),
        Sent::TooLarge
    );
    assert_eq!(
        one.peers.send(one.key(), Protocol::Agreement, Bytes::new()),
        Sent::NotAMember
    );
}

#[tokio::test]
async fn a_members_relay_carries_what_has_no_other_way() {
    let (relay, _roster) = relay(20, &[21, 22]).await;
    let [one, mut two] = relayed([21, 22], &[&relay]).await;
    until_home(&two).await;
    one.send(&two, Protocol::Agreement, b"by relay");
    assert_eq!(
        two.next(Protocol::Agreement).await,
        (one.key(), Bytes::from_static(b"by relay"))
    );
    let way = one.peers.paths()[0].way.clone().unwrap();
    assert!(!way.is_direct, "{way:?}");
}

#[tokio::test]
async fn a_relay_with_another_certificate_is_not_believed() {
    let (mut relay, _roster) = relay(23, &[24, 25]).await;
    relay.entry.1.pin = [0; 32];
    let [one, _two] = relayed([24, 25], &[&relay]).await;
    let came = timeout(Duration::from_secs(3), until_home(&one)).await;
    assert!(came.is_err(), "a false certificate was taken");
}

#[tokio::test]
async fn a_relay_serves_members_alone() {
    let (relay, _roster) = relay(26, &[27]).await;
    let [member, stranger] = relayed([27, 28], &[&relay]).await;
    until_home(&member).await;
    let came = timeout(Duration::from_secs(3), until_home(&stranger)).await;
    assert!(came.is_err(), "a stranger was let in");
}

#[tokio::test]
async fn a_relay_keeps_its_certificate_over_a_restart() {
    let (first, _one) = relay(29, &[]).await;
    let pin = first.entry.1.pin;
    drop(first);
    let (second, _two) = relay(29, &[]).await;
    assert_eq!(second.entry.1.pin, pin);
    let (other, _three) = relay(30, &[]).await;
    assert_ne!(other.entry.1.pin, pin);
}

/// What a relay says itself is heeded well within this, and before what was heard by it is old (two seconds).
const TOLD: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn a_relay_that_dies_costs_packets_and_no_connection() {
    let (first, _one) = relay(31, &[33, 34]).await;
    let (second, _two) = relay(32, &[33, 34]).await;
    let [one, mut two] = relayed([33, 34], &[&first, &second]).await;
    until(|| two.peers.homes().len() == 2).await;
    one.send(&two, Protocol::Agreement, b"before");
    two.next(Protocol::Agreement).await;
    let by = one.peers.paths()[0].way.clone().unwrap().by;
    let (dead, alive) = if by.contains(&first.entry.0.to_string()) {
        (first, second)
    } else {
        (second, first)
    };
    dead.stop().await;
    one.send(&two, Protocol::Agreement, b"after");
    let after = timeout(TOLD, two.next(Protocol::Agreement)).await;
    assert_eq!(after.expect("it stays with a dead relay").1, "after");
    let path = one.peers.paths()[0].clone();
    assert_eq!(path.last_error, None, "the connection was lost");
    let by = path.way.unwrap().by;
    assert!(by.contains(&alive.entry.0.to_string()), "{by}");
    assert_eq!(two.peers.homes().len(), 2, "it may come back");
}

/// The relay lives, and so does the sender's connection to it.
#[tokio::test]
async fn a_peer_that_has_lost_a_relay_is_reached_by_its_other_one() {
    let members = [58, 59];
    let (first, of_first) = relay(60, &members).await;
    let (second, of_second) = relay(61, &members).await;
    let [mut one, mut two] = relayed(members, &[&first, &second]).await;
    until(|| two.peers.homes().len() == 2).await;
    one.send(&two, Protocol::Agreement, b"before");
    two.next(Protocol::Agreement).await;
    two.send(&one, Protocol::Agreement, b"here");
    one.next(Protocol::Agreement).await;
    let by_of = |machine: &crate::machines::Machine| {
        let way = machine.peers.paths()[0].way.clone();
        way.map(|way| way.by).unwrap_or_default()
    };
    let by = by_of(&one);
    let is_first = by.contains(&first.entry.0.to_string());
    let strict = if is_first { of_first } else { of_second };
    let mut without_two = strict.borrow().as_ref().clone();
    without_two.members.remove(&two.key());
    strict.send_replace(without_two.into());
    until(|| by_of(&two) != by).await;
    one.send(&two, Protocol::Agreement, b"after");
    let after = timeout(LONG / 10, two.next(Protocol::Agreement)).await;
    assert_eq!(after.expect("it is looked for in vain").1, "after");
    assert_eq!(one.peers.paths()[0].last_error, None);
}

#[tokio::test]
async fn a_dead_home_is_replaced_by_a_relay_that_lives() {
    let members = [53, 54];
    let (first, _one) = relay(55, &members).await;
    let (second, _two) = relay(56, &members).await;
    let (third, _three) = relay(57, &members).await;
    let [one, mut two] = relayed(members, &[&first, &second, &third]).await;
    until(|| two.peers.homes().len() == 2).await;
    let home = two.peers.homes().first().copied().unwrap();
    let mut relays = vec![first, second, third];
    let at = relays.iter().position(|relay| relay.entry.0 == home);
    relays.remove(at.unwrap()).stop().await;
    let lives = |homes: std::collections::BTreeSet<_>| homes.len() == 2 && !homes.contains(&home);
    until(|| lives(two.peers.homes())).await;
    one.send(&two, Protocol::Agreement, b"there");
    two.next(Protocol::Agreement).await;
}

/// As when another member says something of a relay, or a machine that began anew has left its former words behind.
#[tokio::test]
async fn whatever_is_said_of_a_relay_takes_nothing_from_it() {
    let (relay, _roster) = relay(53, &[54, 55]).await;
    let [mut one, mut two] = relayed([54, 55], &[]).await;
    let (address, own) = relay.entry.clone();
    let mut all = one.peers.roster().borrow().as_ref().clone();
    for pin in [[0; 32], own.pin, [255; 32]] {
        let discovery_port = if pin == own.pin {
            own.discovery_port
        } else {
            9
        };
        all.add_relay(
            address,
            Relay {
                pin,
                discovery_port,
            },
        );
    }
    for member in all.members.values_mut() {
        member.relays.push(address);
    }
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    until_home(&one).await;
    until_home(&two).await;
    one.send(&two, Protocol::Agreement, b"there");
    two.next(Protocol::Agreement).await;
    two.send(&one, Protocol::Agreement, b"and back");
    one.next(Protocol::Agreement).await;
}

/// As when a member's machine is gone and the ledger still names its relay: iroh's own relays would stand still for a minute.
#[tokio::test]
async fn a_relay_that_is_not_there_holds_up_nobody() {
    let (relay, _roster) = relay(50, &[51, 52]).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = gone.local_addr().unwrap();
    drop(gone);
    let [one, mut two] = relayed([51, 52], &[&relay]).await;
    until_home(&two).await;
    let mut all = one.peers.roster().borrow().as_ref().clone();
    all.add_relay(nowhere, relay.entry.1.clone());
    for seed in 100..140 {
        let absent = iroh::SecretKey::from_bytes(&[seed; 32]);
        let member = Member {
            addresses: Vec::new(),
            relays: vec![nowhere],
        };
        all.members
            .insert(PeerKey(*absent.public().as_bytes()), member);
    }
    one.peers.admit(all.clone()).await;
    for absent in all.members.keys() {
        for protocol in Protocol::ALL {
            one.peers.send(*absent, protocol, Bytes::from_static(b"?"));
        }
    }
    two.next(Protocol::Agreement).await;
    for count in 0..20 {
        one.send(&two, Protocol::Agreement, b"still");
        let soon = timeout(LONG / 10, two.next(Protocol::Agreement)).await;
        assert!(soon.is_ok(), "it is held up after {count} frames");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_machine_that_nobody_can_call_is_answered_on_the_way_it_came() {
    let mut one = machine(config(35)).await;
    let mut hidden = machine(config(36)).await;
    hidden.peers.admit(roster(&[&one, &hidden])).await;
    let mut nowhere = roster(&[&one, &hidden]);
    nowhere.members.insert(hidden.key(), Member::default());
    one.peers.admit(nowhere).await;
    let answer = one.peers.ask(hidden.key(), "where?".into()).await;
    let is_unreachable = matches!(answer, Err(AskError::Unreachable { .. }));
    assert!(is_unreachable, "{answer:?}");
    // What is said meanwhile waits.
    one.send(&hidden, Protocol::Agreement, b"said before it called");
    hidden.send(&one, Protocol::Sync, b"here I am");
    one.next(Protocol::Sync).await;
    let said = hidden.next(Protocol::Agreement).await.1;
    assert_eq!(said, "said before it called");
    let asking = one.peers.ask(hidden.key(), "where?".into());
    let (answer, ()) = tokio::join!(asking, async {
        hidden.asked().await.answer.send("there".into());
    });
    assert_eq!(answer.unwrap(), "there");
}

#[tokio::test]
async fn a_machine_that_called_by_a_relay_is_answered_by_it() {
    let (relay, _roster) = relay(37, &[38, 39]).await;
    let [mut one, mut hidden] = relayed([38, 39], &[&relay]).await;
    let mut nowhere = roster(&[&one, &hidden]);
    nowhere.add_relay(relay.entry.0, relay.entry.1.clone());
    nowhere.members.insert(hidden.key(), Member::default());
    one.peers.admit(nowhere).await;
    until_home(&one).await;
    until_home(&hidden).await;
    let answer = one.peers.ask(hidden.key(), "where?".into()).await;
    let is_unreachable = matches!(answer, Err(AskError::Unreachable { .. }));
    assert!(is_unreachable, "{answer:?}");
    hidden.send(&one, Protocol::Sync, b"here I am");
    one.next(Protocol::Sync).await;
    one.send(&hidden, Protocol::Agreement, b"I see");
    assert_eq!(hidden.next(Protocol::Agreement).await.1, "I see");
}
