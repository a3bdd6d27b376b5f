//! Clients that dawdle or pile up are closed; others are served meanwhile.

use std::time::{Duration, Instant};

use allod_net::limits::IngressLimits;
use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::{HOST, PATIENCE, Replica, Stage, body, route, status};

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
async fn connections_beyond_the_limit_wait_for_a_place() {
    let stage = Stage::new(IngressLimits {
        connections_max: 1,
        ..Default::default()
    });
    let replica = Replica::saying("x").await;
    stage.route(route(vec![replica.ready("web-0")]));
    let mut first = TcpStream::connect(stage.address).await.unwrap();
    first
        .write_all(b"GET / HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let second = stage.get(HOST, "");
    tokio::pin!(second);
    assert!(
        timeout(Duration::from_millis(100), &mut second)
            .await
            .is_err(),
        "it waits"
    );
    drop(first);
    assert_eq!(status(&second.await), 200);
}
