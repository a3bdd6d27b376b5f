//! What a replica sees of a request, and a client of an answer, through the whole ingress.

use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::{HOST, PATIENCE, Replica, Stage, body, status};

#[tokio::test]
async fn a_replica_is_told_the_truth_about_its_client() {
    let mirror = Replica::mirror().await;
    let stage = Stage::serving(vec![mirror.ready("web-0")]);
    let lines = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                 Connection: X-Internal\r\nX-Internal: 6.6.6.6\r\nTE: trailers\r\nX-App: kept\r\n";
    let answer = stage.get("Web.Shop.localhost:7480", lines).await;
    let seen = body(&answer);
    assert!(seen.starts_with("GET /x?y=1\n"), "{seen}");
    assert!(!seen.contains("6.6.6.6"), "{seen}");
    for line in [
        "host: Web.Shop.localhost:7480\n",
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-host: Web.Shop.localhost:7480\n",
        "x-forwarded-proto: http\n",
        "forwarded: for=127.0.0.1;host=\"Web.Shop.localhost:7480\";proto=http\n",
        "via: 1.1 allod\n",
        "x-app: kept\n",
    ] {
        assert!(seen.contains(line), "{line:?} is missing in {seen}");
    }
}

#[tokio::test]
async fn a_clients_answer_carries_nothing_of_the_other_hop() {
    let replica = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let answer = "HTTP/1.1 200 OK\r\nConnection: X-Inner, keep-alive\r\nX-Inner: secret\r\n\
                      Keep-Alive: timeout=99\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
                      X-Outer: kept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                      Content-Length: 2\r\n\r\nok";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let answer = stage.get(HOST, "").await.to_lowercase();
    assert_eq!(status(&answer), 200);
    for inner in ["secret", "timeout=99", "proxy-auth", "h2c", "x-inner"] {
        assert!(!answer.contains(inner), "{inner} in {answer}");
    }
    for kept in ["x-outer: kept", "set-cookie: a=1", "set-cookie: b=2"] {
        assert!(answer.contains(kept), "{kept} not in {answer}");
    }
}

#[tokio::test]
async fn heads_without_bodies_stay_so() {
    let replica = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n")
            .await;
        let _ = stream.read(&mut head).await;
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let head = "HEAD / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\r\n";
    let answer = stage.say(head.as_bytes()).await.to_lowercase();
    assert!(
        answer.contains("content-length: 4096\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_gets_it() {
    let replica = Replica::new(|request| async move {
        let is_told = request.headers().contains_key("expect");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::from(format!(
            "{is_told} {}",
            String::from_utf8_lossy(&body)
        )))
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\
                Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    timeout(PATIENCE, client.read_exact(&mut leave))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(body(&answer), "false hello");
}

#[tokio::test]
async fn an_answer_framed_two_ways_ends_in_one_place() {
    let replica = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                      5\r\nwhole\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let answer = stage.get(HOST, "").await.to_lowercase();
    assert!(
        !answer.contains("content-length") && answer.contains("whole"),
        "{answer}"
    );
    assert!(!answer.contains("evil"), "{answer}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_body_that_ends_with_its_connection() {
    let replica = Replica::raw(|mut stream| async move {
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let answer = stage
        .say(b"GET / HTTP/1.0\r\nHost: web.shop.localhost\r\n\r\n")
        .await;
    assert_eq!((status(&answer), body(&answer)), (200, "whole"));
    assert!(
        !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
}
