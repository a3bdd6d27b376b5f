//! Clients that dawdle or pile up are closed; others are served meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use allod_net::limits::IngressLimits;
use allod_net::{Route, RouteKey, Routes};
use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::{
    HOST, PATIENCE, Replica, Stage, body, connect_from, heard, route, status, until,
};

#[tokio::test]
async fn a_head_that_trickles_is_closed_and_others_are_served() {
    let limits = IngressLimits {
        head_timeout: Duration::from_millis(400),
        ..Default::default()
    };
    let stage = Stage::new(limits);
    let replica = Replica::saying("x").await;
    stage.route(route(vec![replica.ready("web-0")]));
    let began = Instant::now();
    let trickle = async {
        let mut client = TcpStream::connect(stage.address).await.unwrap();
        let mut sent = 0_usize;
        // Ends with an error once the ingress has closed the connection.
        while client
            .write_all(b"GET / HTTP/1.1\r\nX: y\r\n"[sent % 20..][..1].as_ref())
            .await
            .is_ok()
        {
            sent += 1;
            let mut answer = [0; 1];
            let waited = timeout(Duration::from_millis(30), client.read(&mut answer)).await;
            if matches!(waited, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
    };
    let (closed, answer) = tokio::join!(timeout(PATIENCE, trickle), stage.get(HOST, ""));
    closed.expect("the connection is closed although bytes keep coming");
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(status(&answer), 200);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_and_the_replica_is_told() {
    let limits = IngressLimits {
        body_idle: Duration::from_millis(100),
        ..Default::default()
    };
    let stage = Stage::new(limits);
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let replica = Replica::new(move |request| {
        let tell = tell.clone();
        async move {
            let whole = request.into_body().collect().await.is_ok();
            let _ = tell.send(whole).await;
            Response::new(Full::from("x"))
        }
    })
    .await;
    stage.route(route(vec![replica.ready("web-0")]));
    let post = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nUser-Agent: curl/8\r\n\
                Content-Length: 9\r\n\r\nabc";
    let answer = stage.say(post.as_bytes()).await;
    assert_eq!(status(&answer), 400);
    assert!(body(&answer).contains("broke off, stalled"), "{answer}");
    assert_eq!(timeout(PATIENCE, told.recv()).await.unwrap(), Some(false));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_and_frees_its_replica() {
    let limits = IngressLimits {
        write_stall: Duration::from_millis(200),
        ..Default::default()
    };
    let stage = Stage::new(limits);
    let replica = Replica::new(|_| async { Response::new(Full::from(vec![7; 64 << 20])) }).await;
    let backend = replica.ready("web-0");
    stage.route(route(vec![backend.clone()]));
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n")
        .await
        .unwrap();
    crate::stage::until("it is open", || {
        stage.ingress.open_requests(&backend.id) == 1
    })
    .await;
    assert!(
        stage.ingress.drained(&backend.id, PATIENCE).await,
        "the stalled client is closed"
    );
}

#[tokio::test]
async fn a_replica_that_is_late_is_named() {
    let limits = IngressLimits {
        response_head_timeout: Duration::from_millis(100),
        ..Default::default()
    };
    let stage = Stage::new(limits);
    let silent = Replica::raw(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    stage.route(route(vec![silent.ready("web-7")]));
    let answer = stage.get(HOST, "User-Agent: curl/8\r\n").await;
    assert_eq!(status(&answer), 504);
    assert!(
        body(&answer).contains("Replica web-7 had sent no answer"),
        "{answer}"
    );
}

#[tokio::test]
async fn large_heads_are_refused() {
    let stage = Stage::new(IngressLimits::default());
    let large = format!("X: {}\r\n", "a".repeat(64 * 1024));
    assert_eq!(status(&stage.get(HOST, &large).await), 431);
    let many = "X: a\r\n".repeat(200);
    assert_eq!(status(&stage.get(HOST, &many).await), 431);
}

#[tokio::test]
async fn half_open_clients_push_out_one_another_and_others_are_served() {
    let stage = Stage::new(IngressLimits {
        connections_max: 4,
        ..Default::default()
    });
    let replica = Replica::saying("x").await;
    stage.route(route(vec![replica.ready("web-0")]));
    let mut silent = Vec::new();
    for number in 0..12 {
        let mut client = TcpStream::connect(stage.address).await.unwrap();
        let begun: &[u8] = if number % 2 == 0 { b"GET / HT" } else { b"" };
        client.write_all(begun).await.unwrap();
        silent.push(client);
        assert_eq!(status(&stage.get(HOST, "").await), 200, "after {number}");
    }
    for client in &mut silent[..8] {
        let mut rest = Vec::new();
        // Bytes that were never read end it with a reset.
        let _ = timeout(PATIENCE, client.read_to_end(&mut rest))
            .await
            .expect("it is hung up on");
    }
}

/// A replica that answers once it may, and how to let it.
async fn holding() -> (Replica, tokio::sync::watch::Sender<bool>) {
    let (release, held) = tokio::sync::watch::channel(false);
    let replica = Replica::new(move |_| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|is_released| *is_released).await;
            Response::new(Full::from("late"))
        }
    });
    (replica.await, release)
}

#[tokio::test]
async fn a_flooded_app_leaves_room_for_others_and_what_is_answered_is_never_cut() {
    let stage = Stage::new(IngressLimits {
        connections_max: 4,
        requests_per_service_max: 2,
        ..Default::default()
    });
    let (flooded, release) = holding().await;
    let quiet = Replica::saying("quiet").await;
    let backend = flooded.ready("web-0");
    let mut routes = Routes::new();
    let other = RouteKey {
        app: "quiet".into(),
        service: "web".into(),
    };
    routes.insert(HOST, route(vec![backend.clone()])).unwrap();
    let to_other = Route {
        key: other,
        ..route(vec![quiet.ready("web-1")])
    };
    routes.insert("web.quiet.localhost", to_other).unwrap();
    stage.routes.send_replace(Arc::new(routes));
    let (first, second) = (stage.get(HOST, ""), stage.get(HOST, ""));
    let meanwhile = async {
        until("both are open", || {
            stage.ingress.open_requests(&backend.id) == 2
        })
        .await;
        for _ in 0..6 {
            let refused = stage.get(HOST, "").await;
            assert_eq!(status(&refused), 503);
            assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
            let served = stage.get("web.quiet.localhost", "").await;
            assert_eq!(status(&served), 200);
        }
        release.send_replace(true);
    };
    let (first, second, ()) = tokio::join!(first, second, meanwhile);
    assert_eq!((status(&first), status(&second)), (200, 200));
}

#[tokio::test]
async fn where_every_connection_is_answered_the_next_is_told_when_to_come_again() {
    let stage = Stage::new(IngressLimits {
        connections_max: 1,
        ..Default::default()
    });
    let (replica, release) = holding().await;
    let backend = replica.ready("web-0");
    stage.route(route(vec![backend.clone()]));
    let first = stage.get(HOST, "");
    let second = async {
        until("it is open", || {
            stage.ingress.open_requests(&backend.id) == 1
        })
        .await;
        let refused = stage.get(HOST, "").await;
        release.send_replace(true);
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((status(&first), status(&second)), (200, 503));
    let (head, body) = second.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("retry-after: 2") && head.contains("application/problem+json"));
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{second}"
    );
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_flood_from_one_address_pushes_out_its_own_connections_only() {
    let stage = Stage::new(IngressLimits {
        connections_max: 8,
        connections_per_source_max: 6,
        idle_per_source_max: 6,
        ..Default::default()
    });
    let replica = Replica::saying("x").await;
    stage.route(route(vec![replica.ready("web-0")]));
    // Whoever keeps a connection open from another address has waited longer than all of the flood.
    let mut kept = connect_from("127.0.0.3", stage.address).await;
    let mut flood = Vec::new();
    for number in 0..24 {
        let mut silent = connect_from("127.0.0.2", stage.address).await;
        let begun: &[u8] = if number % 2 == 0 { b"GET / HT" } else { b"" };
        silent.write_all(begun).await.unwrap();
        flood.push(silent);
        let other = connect_from("127.0.0.4", stage.address).await;
        assert_eq!(status(&heard(other, GET).await), 200, "after {number}");
    }
    kept.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, kept.read_to_end(&mut answer)).await;
    read.expect("it is answered").unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&answer)), 200);
}

#[tokio::test]
async fn an_address_whose_share_is_answered_is_told_so_and_others_are_served() {
    let stage = Stage::new(IngressLimits {
        connections_max: 8,
        connections_per_source_max: 2,
        ..Default::default()
    });
    let (slow, release) = holding().await;
    let backend = slow.ready("web-0");
    stage.route(route(vec![backend.clone()]));
    let one = async |source: &str| heard(connect_from(source, stage.address).await, GET).await;
    let (first, second, other) = (one("127.0.0.2"), one("127.0.0.2"), one("127.0.0.3"));
    let meanwhile = async {
        let open = || stage.ingress.open_requests(&backend.id) == 3;
        until("all three are open", open).await;
        let refused = one("127.0.0.2").await;
        release.send_replace(true);
        refused
    };
    let (first, second, other, refused) = tokio::join!(first, second, other, meanwhile);
    assert_eq!(
        [&first, &second, &other].map(|answer| status(answer)),
        [200; 3]
    );
    assert_eq!(status(&refused), 429, "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("retry-after: 2"), "{refused}");
    assert!(
        body.contains("of your address") && body.contains("next_step"),
        "{refused}"
    );
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{refused}"
    );
}
