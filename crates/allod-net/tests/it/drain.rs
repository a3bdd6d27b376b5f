//! Updates lose no request: replicas come and go under load, and are stopped only when drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use allod_net::{Backend, BackendId};
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::stage::{HOST, PATIENCE, Replica, Stage, body, route, status, until};

const CLIENTS: usize = 8;
const SWAPS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapping_replicas_under_load_loses_no_request() {
    let mut replica = Replica::saying("v0").await;
    let stage = Arc::new(Stage::serving(vec![replica.ready("web-0")]));
    let is_over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (stage, is_over, answered) = (
            Arc::clone(&stage),
            Arc::clone(&is_over),
            Arc::clone(&answered),
        );
        clients.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                // Half of them POST: those may not be sent twice, so they must not need to be.
                let answer = if client % 2 == 0 {
                    stage.get(HOST, "").await
                } else {
                    let post = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\n\
                                Connection: close\r\nContent-Length: 3\r\n\r\nabc";
                    stage.say(post.as_bytes()).await
                };
                assert_eq!(status(&answer), 200, "{answer}");
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for version in 1..=SWAPS {
        let before = answered.load(Ordering::SeqCst);
        until("requests flow", || {
            answered.load(Ordering::SeqCst) > before + CLIENTS
        })
        .await;
        let old: BackendId = replica.ready(&format!("web-{}", version - 1)).id;
        let next = Replica::saying("v").await;
        stage.route(route(vec![next.ready(&format!("web-{version}"))]));
        assert!(stage.ingress.drained(&old, PATIENCE).await);
        // Dropping it closes its listener and its connections at once, as a stop does.
        replica = next;
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(client) = timeout(PATIENCE, clients.join_next()).await.unwrap() {
        client.unwrap();
    }
    assert!(answered.load(Ordering::SeqCst) > SWAPS * CLIENTS);
    drop(replica);
}

#[tokio::test]
async fn a_removed_replica_finishes_what_it_has_and_gets_nothing_new() {
    let (release, held) = tokio::sync::watch::channel(false);
    let slow = Replica::new(move |_| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|is_released| *is_released).await;
            Response::new(Full::from("old"))
        }
    })
    .await;
    let new = Replica::saying("new").await;
    let old: Backend = slow.ready("web-0");
    let stage = Stage::serving(vec![old.clone()]);
    let first = stage.get(HOST, "");
    let rest = async {
        until("it is open", || stage.ingress.open_requests(&old.id) == 1).await;
        stage.route(route(vec![new.ready("web-1")]));
        assert!(
            !stage
                .ingress
                .drained(&old.id, Duration::from_millis(50))
                .await,
            "one is open"
        );
        for _ in 0..4 {
            assert_eq!(body(&stage.get(HOST, "").await), "new");
        }
        release.send_replace(true);
        assert!(stage.ingress.drained(&old.id, PATIENCE).await);
    };
    let (first, ()) = tokio::join!(first, rest);
    assert_eq!(body(&first), "old");
}

#[tokio::test]
async fn stopping_the_ingress_finishes_open_requests_and_frees_its_port() {
    let (release, held) = tokio::sync::watch::channel(false);
    let slow = Replica::new(move |_| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|is_released| *is_released).await;
            Response::new(Full::from("done"))
        }
    })
    .await;
    let backend = slow.ready("web-0");
    let stage = Stage::serving(vec![backend.clone()]);
    let address = stage.address;
    let mut client = TcpStream::connect(address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n")
        .await
        .unwrap();
    until("it is open", || {
        stage.ingress.open_requests(&backend.id) == 1
    })
    .await;
    let stopping = stage.ingress.stop(PATIENCE);
    let ending = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        release.send_replace(true);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (answer, ()) = timeout(PATIENCE, async { tokio::join!(ending, stopping) })
        .await
        .unwrap();
    assert_eq!(body(&answer), "done");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
}
