//! WebSockets pass: the handshake, both directions, and the end.

use std::time::Duration;

use allod_net::limits::IngressLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::{
    HOST, PATIENCE, Replica, Stage, connect_from, heard, key, route, status, until,
};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Accepts the upgrade, then sends back what it gets.
async fn echo() -> Replica {
    Replica::raw(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(
            head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n")
        );
        let accept = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";
        stream.write_all(accept.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let _ = tokio::io::copy(&mut reading, &mut writing).await;
        let _ = writing.shutdown().await;
    })
    .await
}

async fn upgraded(stage: &Stage) -> TcpStream {
    upgraded_from("127.0.0.1", stage).await
}

async fn upgraded_from(source: &str, stage: &Stage) -> TcpStream {
    let mut client = connect_from(source, stage.address).await;
    client.write_all(ASK.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        client.read_buf(&mut head).await.unwrap();
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert_eq!(status(&head), 101, "{head}");
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("sec-websocket-accept: y"));
    client
}

#[tokio::test]
async fn a_websocket_carries_any_bytes_both_ways() {
    let replica = echo().await;
    let backend = replica.ready("web-0");
    let stage = Stage::serving(vec![backend.clone()]);
    let mut client = upgraded(&stage).await;
    let frames: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (mut reading, mut writing) = client.split();
    let mut back = vec![0; frames.len()];
    let both = async { tokio::join!(writing.write_all(&frames), reading.read_exact(&mut back)) };
    let (sent, received) = timeout(PATIENCE, both).await.unwrap();
    sent.unwrap();
    received.unwrap();
    assert_eq!(back, frames, "bare line feeds and all");
    assert_eq!(
        stage.ingress.open_requests(&backend.id),
        1,
        "an open tunnel counts"
    );
    writing.shutdown().await.unwrap();
    assert_eq!(
        reading.read(&mut back).await.unwrap(),
        0,
        "the end comes through"
    );
    assert!(stage.ingress.drained(&backend.id, PATIENCE).await);
    until("its bytes are counted", || {
        let counts = stage.ingress.counts()[&key()];
        (counts.bytes_in, counts.bytes_out) == (300_000, 300_000)
    })
    .await;
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let replica = echo().await;
    let stage = Stage::new(IngressLimits {
        tunnel_idle: Duration::from_millis(100),
        ..Default::default()
    });
    stage.route(route(vec![replica.ready("web-0")]));
    let mut client = upgraded(&stage).await;
    let mut byte = [0; 1];
    let read = timeout(PATIENCE, client.read(&mut byte))
        .await
        .expect("it is closed");
    assert_eq!(read.unwrap_or(0), 0);
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place_until_it_ends() {
    let replica = echo().await;
    let backend = replica.ready("web-0");
    let stage = Stage::new(IngressLimits {
        connections_per_source_max: 2,
        ..Default::default()
    });
    stage.route(route(vec![backend.clone()]));
    let (one, other) = ("127.0.0.2", "127.0.0.3");
    let mut held = [
        upgraded_from(one, &stage).await,
        upgraded_from(one, &stage).await,
    ];
    let refused = heard(connect_from(one, stage.address).await, ASK.as_bytes()).await;
    assert_eq!(status(&refused), 429, "{refused}");
    let served = upgraded_from(other, &stage).await;
    // Nobody had to make room for anybody.
    for tunnel in &mut held {
        let mut back = [0; 4];
        tunnel.write_all(b"ping").await.unwrap();
        let read = timeout(PATIENCE, tunnel.read_exact(&mut back)).await;
        read.expect("it still carries").unwrap();
    }
    let [ended, _kept] = held;
    drop(ended);
    let open = || stage.ingress.open_requests(&backend.id) == 2;
    until("one of the three has ended", open).await;
    drop((upgraded_from(one, &stage).await, served));
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_refused() {
    let pushy = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let accept =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let _ = stream.write_all(accept.as_bytes()).await;
    })
    .await;
    let stage = Stage::serving(vec![pushy.ready("web-0")]);
    assert_eq!(status(&stage.get(HOST, "").await), 502);
}

#[tokio::test]
async fn http2_by_upgrade_is_ignored_and_answered_plainly() {
    let mirror = Replica::mirror().await;
    let stage = Stage::serving(vec![mirror.ready("web-0")]);
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n";
    let answer = stage.get(HOST, lines).await;
    assert_eq!(status(&answer), 200);
    assert!(!answer.contains("h2c"), "{answer}");
}
