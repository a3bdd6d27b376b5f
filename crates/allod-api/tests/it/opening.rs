//! What cannot be opened when a node starts is opened once it can be: nobody has to start the node again.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use allod_node::Node;
use allod_node::founding::found;
use allod_node::home::Home;
use allod_node::node::Settings;
use allod_state::Transaction;
use allod_state::node::Reach;
use tokio::time::timeout;

use crate::world::{SOON, end, settings};

/// A home with a network of its own.
fn founded(dir: &tempfile::TempDir) -> Home {
    let home = Home::at(dir.path()).unwrap();
    found(&home, None, None).unwrap();
    home
}

/// A port that nobody uses now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Takes a port that a node had which has stopped: the last of its tasks lets go of it soon after.
async fn take<T>(bind: impl Fn() -> io::Result<T>) -> T {
    let taken = async {
        loop {
            match bind() {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    tokio::task::yield_now().await;
                }
                taken => return taken.unwrap(),
            }
        }
    };
    timeout(SOON, taken).await.unwrap()
}

/// Waits until the ledger says of the node's place what is asked for.
async fn is_at(node: &Node, is_it: impl Fn(&Reach) -> bool) -> Reach {
    let mut heights = node.heights();
    let found = async {
        loop {
            let reach = node.state().reach(&node.id());
            if let Some(reach) = reach.filter(&is_it) {
                return reach;
            }
            heights.changed().await.unwrap();
        }
    };
    timeout(SOON, found).await.unwrap()
}

/// Waits until the node's notice holds those words.
async fn notices(node: &Node, words: &str) {
    let told = async {
        let is_told = || node.network().notice.is_some_and(|it| it.contains(words));
        while !is_told() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_and_a_relay_whose_ports_are_taken_open_once_those_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let home = founded(&dir);
    let peers = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start(Settings {
        peers: peers.local_addr().unwrap(),
        relay: Some(relay.local_addr().unwrap()),
        ..settings(&home)
    });
    let node = node.await.unwrap();
    notices(&node, "no other machine is spoken with").await;

    let listen = peers.local_addr().unwrap();
    drop(peers);
    let reach = is_at(&node, |reach| reach.addresses.contains(&listen)).await;
    assert_eq!(reach.relay, None);
    notices(&node, "relays for nobody").await;

    let listen = relay.local_addr().unwrap();
    drop(relay);
    let is_relay = |reach: &Reach| reach.relay.as_ref().is_some_and(|it| it.address == listen);
    is_at(&node, is_relay).await;
    let notice = node.network().notice.unwrap();
    assert!(notice.starts_with("one validator"), "{notice}");
    end(node, &home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledgers_file_has_lost_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let home = founded(&dir);
    let node = Node::start(settings(&home)).await.unwrap();
    let mut heights = node.heights();
    let listed = heights.wait_for(|height| *height > 0);
    timeout(SOON, listed).await.unwrap().unwrap();
    end(node, &home).await;

    // What names its founding transaction: the index, and what the block did.
    let founding = std::fs::read(home.node_dir().join("founding")).unwrap();
    let id = Transaction::from_bytes(&founding).unwrap().body.id();
    let file = home.node_dir().join("ledger/store.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places = bytes.windows(32).enumerate();
    let places = places.filter(|(_, window)| *window == id.as_bytes());
    for at in places.map(|(at, _)| at).collect::<Vec<_>>() {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();

    let node = Node::start(settings(&home)).await.unwrap();
    notices(&node, "the store holds a damaged").await;
    end(node, &home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_open_yet_stays_on_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let home = founded(&dir);
    let listen = free();
    let started = || {
        let relay = Some(listen);
        let settings = settings(&home);
        Node::start(Settings { relay, ..settings })
    };
    let node = started().await.unwrap();
    let before = is_at(&node, |reach| reach.relay.is_some()).await;
    end(node, &home).await;

    // Both its ports are taken now: it says that it is at another one, and no word of its relay.
    let _relay = take(|| TcpListener::bind(listen)).await;
    let mut peers = Vec::new();
    for address in &before.addresses {
        peers.push(take(|| UdpSocket::bind(address)).await);
    }
    let node = started().await.unwrap();
    let addresses = |reach: &Reach| reach.addresses.iter().copied().collect::<BTreeSet<_>>();
    let moved = is_at(&node, |reach| addresses(reach) != addresses(&before)).await;
    assert_eq!(moved.relay, before.relay);
    drop(peers);
    end(node, &home).await;
}
