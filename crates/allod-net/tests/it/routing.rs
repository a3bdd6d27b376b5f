//! Names lead to services, requests to ready replicas, and the counters tell.

use std::collections::BTreeMap;

use allod_net::limits::IngressLimits;
use allod_net::{Backend, LogTail, Route, Routes};
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{HOST, Replica, Stage, body, key, nobody, route, status, until};

#[tokio::test]
async fn a_name_leads_to_its_service() {
    let replica = Replica::saying("hello").await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    for host in [
        HOST,
        "WEB.Shop.localhost",
        "web.shop.localhost.",
        "web.shop.localhost:7480",
    ] {
        let answer = stage.get(host, "").await;
        assert_eq!((status(&answer), body(&answer)), (200, "hello"), "{host}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_so_and_learns_nothing_else() {
    let stage = Stage::serving(vec![]);
    let answer = stage
        .get("nothing.localhost", "User-Agent: curl/8\r\n")
        .await;
    assert_eq!(status(&answer), 404);
    assert!(body(&answer).contains("nothing.localhost"), "{answer}");
    assert!(!answer.contains("shop"), "{answer}");
    let hostile = stage.get("<script>", "").await;
    assert_eq!(status(&hostile), 400);
    assert!(!hostile.contains("<script>"));
}

#[tokio::test]
async fn one_host_must_be_named() {
    let stage = Stage::serving(vec![Replica::saying("x").await.ready("web-0")]);
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: web.shop.localhost\r\nHost: web.shop.localhost\r\n\r\n",
        "GET http://a@web.shop.localhost/ HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
    ] {
        assert_eq!(status(&stage.say(head.as_bytes()).await), 400, "{head}");
    }
    let connect = "CONNECT web.shop.localhost:80 HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n";
    assert_eq!(status(&stage.say(connect.as_bytes()).await), 405);
}

#[tokio::test]
async fn the_target_of_a_proxy_request_wins_over_its_host_header() {
    let mirror = Replica::mirror().await;
    let stage = Stage::serving(vec![mirror.ready("web-0")]);
    let head =
        "GET http://web.shop.localhost/p HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    let answer = stage.say(head.as_bytes()).await;
    assert!(body(&answer).starts_with("GET /p\n"), "{answer}");
    assert!(
        body(&answer).contains("host: web.shop.localhost\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn ready_replicas_share_the_requests_and_others_get_none() {
    let (one, two) = (Replica::saying("one").await, Replica::saying("two").await);
    let idle = Replica::saying("unready").await;
    let unready = Backend::not_ready(idle.address, "web-2");
    let stage = Stage::serving(vec![one.ready("web-0"), unready, two.ready("web-1")]);
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..10 {
        let answer = stage.get(HOST, "").await;
        *answers.entry(body(&answer).to_owned()).or_default() += 1;
    }
    assert_eq!(
        answers,
        BTreeMap::from([("one".into(), 5), ("two".into(), 5)])
    );
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_is_passed_over_once() {
    let alive = Replica::saying("alive").await;
    let stage = Stage::serving(vec![
        Backend::ready(nobody(), "web-0"),
        alive.ready("web-1"),
    ]);
    for _ in 0..4 {
        let answer = stage.get(HOST, "").await;
        assert_eq!((status(&answer), body(&answer)), (200, "alive"));
    }
    assert!(stage.ingress.counts()[&key()].retried > 0);
    let both_gone = vec![
        Backend::ready(nobody(), "web-0"),
        Backend::ready(nobody(), "web-1"),
    ];
    let log_tail = LogTail::new(|| vec!["segmentation fault".into()]);
    stage.route(Route {
        log_tail,
        ..route(both_gone)
    });
    let answer = stage.get(HOST, "User-Agent: curl/8\r\n").await;
    assert_eq!(status(&answer), 502);
    assert!(
        body(&answer).contains("did not accept a connection: connection refused"),
        "{answer}"
    );
    assert!(body(&answer).contains("segmentation fault"), "{answer}");
    assert!(
        !body(&answer).contains("127.0.0.1"),
        "no address inside is told: {answer}"
    );
}

#[tokio::test]
async fn a_request_that_reached_a_replica_is_not_sent_again() {
    let rude = Replica::raw(|mut stream| async move {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
    })
    .await;
    let stage = Stage::serving(vec![rude.ready("web-0"), rude.ready("web-1")]);
    let post = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\
                User-Agent: curl/8\r\nContent-Length: 2\r\n\r\nhi";
    let answer = stage.say(post.as_bytes()).await;
    assert_eq!(status(&answer), 502);
    assert!(
        body(&answer).contains("closed the connection before its answer"),
        "{answer}"
    );
    assert_eq!(stage.ingress.counts()[&key()].retried, 0);
}

#[tokio::test]
async fn a_kept_connection_that_the_replica_closed_loses_no_request() {
    // Answers one request per connection, promises to keep it, and closes it.
    let forgetful = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        if stream.read(&mut head).await.is_ok() {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let stage = Stage::serving(vec![forgetful.ready("web-0")]);
    for _ in 0..50 {
        assert_eq!(status(&stage.get(HOST, "").await), 200);
    }
}

#[tokio::test]
async fn only_what_is_safe_is_sent_again_when_a_kept_connection_breaks() {
    // Answers the first request of a connection, and closes it upon the second.
    let moody = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let _ = stream.read(&mut head).await;
    })
    .await;
    let stage = Stage::serving(vec![moody.ready("web-0")]);
    for _ in 0..5 {
        assert_eq!(status(&stage.get(HOST, "").await), 200);
    }
    let post = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\
                Content-Length: 0\r\n\r\n";
    let mut broken = 0;
    for _ in 0..10 {
        broken += usize::from(status(&stage.say(post.as_bytes()).await) == 502);
    }
    assert!(
        broken > 0,
        "a POST that may have been acted on is not sent again"
    );
}

#[tokio::test]
async fn connections_to_a_replica_are_used_again() {
    let opened = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&opened);
    let replica = Replica::raw(move |stream| {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::from("x")))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        }
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    for _ in 0..20 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nx") {
            client.read_buf(&mut answer).await.unwrap();
        }
    }
    let count = opened.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        count <= 3,
        "{count} connections for 20 requests one after the other"
    );
}

#[tokio::test]
async fn counters_tell_requests_bytes_statuses_and_refusals() {
    let replica = Replica::saying("12345").await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let post = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\
                Content-Length: 3\r\n\r\nabc";
    stage.say(post.as_bytes()).await;
    stage.get(HOST, "").await;
    stage.route(route(vec![]));
    stage.get(HOST, "").await;
    until("the last answer is counted", || {
        stage.ingress.counts()[&key()].requests == 3
    })
    .await;
    let counts = stage.ingress.counts()[&key()];
    assert_eq!((counts.bytes_in, counts.bytes_out), (3, 10));
    assert_eq!(counts.statuses, [0, 2, 0, 0, 1]);
    assert_eq!(counts.refused, 1);
    assert!(counts.latency_us > 0);
}

#[tokio::test]
async fn a_backend_has_a_limit_and_the_next_is_told() {
    let (release, held) = tokio::sync::watch::channel(false);
    let replica = Replica::new(move |_| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|is_released| *is_released).await;
            Response::new(Full::from("late"))
        }
    })
    .await;
    let stage = Stage::new(IngressLimits {
        requests_per_backend_max: 1,
        ..Default::default()
    });
    let backend = replica.ready("web-0");
    stage.route(route(vec![backend.clone()]));
    let first = stage.get(HOST, "");
    let second = async {
        until("the first is open", || {
            stage.ingress.open_requests(&backend.id) == 1
        })
        .await;
        let refused = stage.get(HOST, "").await;
        release.send_replace(true);
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((status(&first), status(&second)), (200, 503));
    assert!(
        second.contains("allod-error: replicas_busy\r\n"),
        "{second}"
    );
}

#[tokio::test]
async fn a_circle_ends() {
    let stage = Stage::new(IngressLimits::default());
    let mut routes = Routes::new();
    routes
        .insert(HOST, route(vec![Backend::ready(stage.address, "itself")]))
        .unwrap();
    stage.routes.send_replace(std::sync::Arc::new(routes));
    assert_eq!(status(&stage.get(HOST, "").await), 508);
}
