//! Tunnels between machines, and requests through them: real endpoints on loopback.

use allod_net::limits::{IngressLimits, PeerLimits};
use allod_net::peer::{Peers, PeersConfig, Roster, Tunnel, TunnelStream};
use allod_net::{Backend, Dialer, Ingress, Location, Routes};
use bytes::Bytes;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::machines::{LONG, Machine, acquainted, config, machine, roster};
use crate::stage::{HOST, Replica, route, say};

async fn next(tunnels: &mut mpsc::Receiver<Tunnel>) -> Tunnel {
    let next = timeout(LONG, tunnels.recv()).await;
    next.expect("no tunnel came").unwrap()
}

/// Sends back whatever comes, on every tunnel.
async fn echo(mut tunnels: mpsc::Receiver<Tunnel>) {
    let mut open = JoinSet::new();
    while let Some(tunnel) = tunnels.recv().await {
        open.spawn(async move {
            let (mut from, mut to) = split(tunnel.accept().await.unwrap());
            let _ = copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        });
    }
}

/// Runs until it is dropped.
fn beside(work: impl Future<Output = ()> + Send + 'static) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    tasks
}

async fn open(from: &Machine, to: &Machine, target: &'static [u8]) -> TunnelStream {
    let opening = from.peers.tunnel(to.key(), Bytes::from_static(target));
    opening.await.unwrap()
}

async fn said(stream: &mut TunnelStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    let read = timeout(LONG, stream.read_exact(&mut back)).await;
    read.expect("nothing came back").unwrap();
    back
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_end_by_itself() {
    let [one, two] = acquainted([80, 81]).await;
    let mut tunnels = two.peers.tunnels().unwrap();
    assert!(two.peers.tunnels().is_none(), "taken twice");
    let (near, far) = tokio::join!(open(&one, &two, b"web"), async {
        let tunnel = next(&mut tunnels).await;
        assert_eq!(tunnel.from, one.key());
        assert_eq!(tunnel.target, "web");
        tunnel.accept().await.unwrap()
    });
    let (mut near, mut far) = (near, far);
    near.write_all(b"a question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut heard = String::new();
    far.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "a question");
    let large = vec![5; 3_000_000];
    let (written, mut back) = (large.clone(), Vec::new());
    let writing = async {
        far.write_all(&written).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let ((), read) = tokio::join!(writing, near.read_to_end(&mut back));
    assert_eq!(read.unwrap(), large.len());
    assert!(back == large);
}

#[tokio::test]
async fn a_tunnel_that_leads_nowhere_is_told_at_once() {
    let [one, two] = acquainted([82, 83]).await;
    // Nobody takes tunnels there.
    let refused = one.peers.tunnel(two.key(), "web".into()).await;
    assert!(refused.is_err());
    let mut tunnels = two.peers.tunnels().unwrap();
    let (refused, ()) = tokio::join!(one.peers.tunnel(two.key(), "web".into()), async {
        drop(next(&mut tunnels).await);
    });
    assert!(refused.is_err(), "its owner refused it");
    let own = one.peers.tunnel(one.key(), "web".into()).await;
    assert!(own.unwrap_err().to_string().contains("no other member"));
    // A refusal ends no other tunnel.
    let _echoing = beside(echo(tunnels));
    let mut stream = open(&one, &two, b"web").await;
    assert_eq!(said(&mut stream, b"again").await, b"again");
}

#[tokio::test]
async fn a_guest_opens_none_and_whoever_is_taken_off_the_roster_is_cut_off() {
    let member = machine(config(84)).await;
    let guest = machine(config(85)).await;
    let letting_in = Roster {
        guests: [guest.key()].into(),
        ..roster(&[&member])
    };
    member.peers.admit(letting_in).await;
    guest.peers.admit(roster(&[&member])).await;
    let _echoing = beside(echo(member.peers.tunnels().unwrap()));
    let refused = guest.peers.tunnel(member.key(), "web".into()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("not on the roster"), "{refused}");

    member.peers.admit(roster(&[&member, &guest])).await;
    let mut stream = open(&guest, &member, b"web").await;
    assert_eq!(said(&mut stream, b"in").await, b"in");
    member.peers.admit(roster(&[&member])).await;
    let mut byte = [0; 1];
    let cut = timeout(LONG, stream.read(&mut byte)).await;
    assert!(matches!(cut.unwrap(), Ok(0) | Err(_)), "it goes on");

    member.peers.admit(roster(&[&member, &guest])).await;
    let mut stream = open(&guest, &member, b"web").await;
    guest.peers.admit(roster(&[&guest])).await;
    let cut = timeout(LONG, stream.read(&mut byte)).await;
    assert!(matches!(cut.unwrap(), Ok(0) | Err(_)), "it goes on here");
}

#[tokio::test]
async fn whoever_does_not_read_holds_up_nobody_else() {
    let [one, two] = acquainted([86, 87]).await;
    let mut tunnels = two.peers.tunnels().unwrap();
    let (silent, far) = tokio::join!(open(&one, &two, b"flood"), async {
        next(&mut tunnels).await.accept().await.unwrap()
    });
    // As much as there is room for, and nobody takes it.
    let mut far = far;
    let mut flood = beside(async move {
        let part = vec![1; 64 * 1024];
        while far.write_all(&part).await.is_ok() {}
    });
    let _echoing = beside(echo(tunnels));
    for _ in 0..20 {
        let mut stream = open(&one, &two, b"web").await;
        let part = vec![9; 100_000];
        let back = timeout(LONG, said(&mut stream, &part[..50_000])).await;
        assert!(back.is_ok());
    }
    assert!(flood.try_join_next().is_none(), "it waits for its reader");
    drop(silent);
    let ended = timeout(LONG, flood.join_next()).await;
    ended.unwrap().unwrap().unwrap();
}

/// A machine with so many tunnels to and from each peer, and from all together.
fn bounded(seed: u8, per_peer_max: u32, all_max: usize) -> PeersConfig {
    let mut limits = PeerLimits::default();
    limits.tunnels.per_peer_max = per_peer_max;
    limits.tunnels.all_max = all_max;
    PeersConfig {
        limits,
        ..config(seed)
    }
}

async fn is_busy(from: &Machine, to: &Machine, target: &'static [u8]) -> bool {
    let opening = from.peers.tunnel(to.key(), Bytes::from_static(target));
    opening
        .await
        .is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
}

#[tokio::test]
async fn however_many_lead_to_one_target_there_is_room_for_the_others() {
    let one = machine(bounded(93, 8, 99)).await;
    let two = machine(config(94)).await;
    let all = roster(&[&one, &two]);
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    let _echoing = beside(echo(two.peers.tunnels().unwrap()));
    let mut flood = Vec::new();
    for _ in 0..4 {
        flood.push(open(&one, &two, b"web").await);
    }
    assert!(is_busy(&one, &two, b"web").await, "as many as are free");
    let mut other = open(&one, &two, b"shop").await;
    let _second = open(&one, &two, b"shop").await;
    assert!(is_busy(&one, &two, b"shop").await, "as many as are free");
    let mut api = open(&one, &two, b"api").await;
    assert_eq!(said(&mut other, b"a request").await, b"a request");
    assert_eq!(said(&mut api, b"a call").await, b"a call");
    // Room comes back with those that end.
    drop(flood.drain(1..));
    let mut again = open(&one, &two, b"web").await;
    assert_eq!(said(&mut again, b"again").await, b"again");
}

#[tokio::test]
async fn a_peer_has_so_many_at_once_and_all_together_so_many() {
    let one = machine(bounded(88, 2, 9)).await;
    let two = machine(bounded(89, 9, 3)).await;
    let three = machine(bounded(90, 9, 9)).await;
    let all = roster(&[&one, &two, &three]);
    for machine in [&one, &two, &three] {
        machine.peers.admit(all.clone()).await;
    }
    let _echoing = beside(echo(two.peers.tunnels().unwrap()));
    let first = open(&one, &two, b"web").await;
    let _second = open(&one, &two, b"shop").await;
    assert!(is_busy(&one, &two, b"api").await, "no third to one peer");
    drop(first);
    let mut third = open(&one, &two, b"api").await;
    assert_eq!(said(&mut third, b"third").await, b"third");
    // Two are open there. One more of another peer has room, a second has none.
    let _other = open(&three, &two, b"web").await;
    let refused = three.peers.tunnel(two.key(), "web".into()).await;
    assert!(refused.is_err());
}

/// An ingress whose only replica is on that machine, and where it is told of the peers.
fn gateway_to(runner: &Machine) -> (Ingress, watch::Sender<Option<Peers>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let there = Location::There {
        peer: runner.key(),
        target: "web-0".into(),
    };
    let mut table = Routes::new();
    let replica = Backend::ready(there, "web-0");
    table.insert(HOST, route(vec![replica])).unwrap();
    let (known, peers) = watch::channel(None);
    let (dialer, limits) = (Dialer::new(peers), IngressLimits::default());
    let (_, routes) = watch::channel(Arc::new(table));
    let ingress = Ingress::start(vec![listener], routes, dialer, limits).unwrap();
    (ingress, known)
}

fn asking() -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_request_for_which_no_tunnel_is_left_is_told_to_come_again() {
    let gateway = machine(bounded(95, 2, 99)).await;
    let runner = machine(config(96)).await;
    let all = roster(&[&gateway, &runner]);
    gateway.peers.admit(all.clone()).await;
    runner.peers.admit(all).await;
    let _echoing = beside(echo(runner.peers.tunnels().unwrap()));
    let _only = open(&gateway, &runner, b"web-0").await;
    let (ingress, known) = gateway_to(&runner);
    known.send_replace(Some(gateway.peers.clone()));
    let answer = say(ingress.addresses()[0], asking().as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
}

#[tokio::test]
async fn a_request_reaches_a_replica_on_another_machine() {
    let [gateway, runner] = acquainted([91, 92]).await;
    let replica = Replica::saying("from afar").await;
    let address = replica.address;
    let mut tunnels = runner.peers.tunnels().unwrap();
    let serving = beside(async move {
        let mut open = JoinSet::new();
        while let Some(tunnel) = tunnels.recv().await {
            assert_eq!(tunnel.target, "web-0");
            open.spawn(tunnel.carry(address, LONG));
        }
    });
    let (ingress, known) = gateway_to(&runner);
    let asking = asking();
    let address = ingress.addresses()[0];
    let early = say(address, asking.as_bytes()).await;
    assert!(
        early.starts_with("HTTP/1.1 502"),
        "nobody is known: {early}"
    );
    known.send_replace(Some(gateway.peers.clone()));
    for _ in 0..3 {
        let answer = say(address, asking.as_bytes()).await;
        assert!(answer.ends_with("from afar"), "{answer}");
    }
    // The machine goes: the requests are told, and none hangs.
    drop(serving);
    runner.peers.close().await;
    let answer = say(address, asking.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
}
