//! Bodies of any size pass both ways while only buffers are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use allod_net::limits::IngressLimits;
use http::Response;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::stage::{PATIENCE, Replica, Stage, body, route, status};

/// A hundred megabytes, or more where the kernel's buffers alone could swallow that.
fn large() -> usize {
    (held_max() * 2).max(100 << 20).next_multiple_of(64 * 1024)
}

/// The kernel's buffers of two connections, and a little for our own.
fn held_max() -> usize {
    let most = |kind: &str| -> usize {
        let setting = std::fs::read_to_string(format!("/proc/sys/net/ipv4/tcp_{kind}mem"));
        setting
            .unwrap()
            .split_whitespace()
            .nth(2)
            .unwrap()
            .parse()
            .unwrap()
    };
    2 * (most("r") + most("w")) + (1 << 20)
}

/// Waits until a counter has stood still for a while, and gives its value.
async fn settled(counter: &AtomicUsize) -> usize {
    let mut last = counter.load(Ordering::SeqCst);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = counter.load(Ordering::SeqCst);
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

#[tokio::test]
async fn a_large_answer_waits_for_its_reader() {
    let large = large();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let replica = Replica::raw(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {large}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = [b'x'; 64 * 1024];
            for _ in 0..large / piece.len() {
                stream.write_all(&piece).await.unwrap();
                counter.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let held = timeout(PATIENCE, settled(&written)).await.unwrap();
    assert!(
        held < held_max(),
        "{held} bytes were taken while the client read none"
    );
    let mut received = 0;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = timeout(PATIENCE, client.read(&mut piece))
            .await
            .unwrap()
            .unwrap();
        if length == 0 {
            break;
        }
        received += length;
    }
    assert!(received > large && received < large + 1024, "{received}");
}

#[tokio::test]
async fn a_large_request_waits_for_the_replica() {
    let large = large();
    let (release, held) = watch::channel(false);
    let replica = Replica::new(move |request| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|is_released| *is_released).await;
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().data_ref().map_or(0, |data| data.len());
            }
            Response::new(Full::from(length.to_string()))
        }
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let client = TcpStream::connect(stage.address).await.unwrap();
    let (mut reading, mut writing) = client.into_split();
    let sent = AtomicUsize::new(0);
    let send = async {
        let head = "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: close\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        writing.write_all(head.as_bytes()).await.unwrap();
        let piece = [b'x'; 64 * 1024];
        for _ in 0..large / piece.len() {
            writing.write_all(b"10000\r\n").await.unwrap();
            writing.write_all(&piece).await.unwrap();
            writing.write_all(b"\r\n").await.unwrap();
            sent.fetch_add(piece.len(), Ordering::SeqCst);
        }
        writing.write_all(b"0\r\n\r\n").await.unwrap();
    };
    let watch = async {
        let held = timeout(PATIENCE, settled(&sent)).await.unwrap();
        assert!(
            held < held_max(),
            "{held} bytes were taken while the replica read none"
        );
        release.send_replace(true);
        let mut answer = String::new();
        timeout(PATIENCE, reading.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status(&answer), 200);
        assert!(answer.ends_with(&large.to_string()), "{answer}");
    };
    tokio::join!(send, watch);
}

/// Answers every request at once, and reads on only when it may; then it tells how much more came.
async fn hasty() -> (Replica, watch::Sender<bool>, mpsc::Receiver<usize>) {
    let (release, held) = watch::channel(false);
    let (tell, told) = mpsc::channel(1);
    let replica = Replica::raw(move |mut stream| {
        let (mut held, tell) = (held.clone(), tell.clone());
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = held.wait_for(|is_released| *is_released).await;
            let (mut piece, mut length) = (vec![0; 64 * 1024], 0);
            while let Ok(more @ 1..) = stream.read(&mut piece).await {
                length += more;
            }
            let _ = tell.send(length).await;
        }
    });
    (replica.await, release, told)
}

#[tokio::test]
async fn a_replica_that_answers_and_leaves_the_rest_unread_is_hung_up_on() {
    let (replica, release, mut told) = hasty().await;
    let stage = Stage::new(IngressLimits {
        idle_backend: Duration::from_millis(100),
        ..Default::default()
    });
    stage.route(route(vec![replica.ready("web-0")]));
    let large = large();
    let post = async || {
        let client = TcpStream::connect(stage.address).await.unwrap();
        let (mut reading, mut writing) = client.into_split();
        let send = async {
            let head = format!(
                "POST / HTTP/1.1\r\nHost: web.shop.localhost\r\nContent-Length: {large}\r\n\r\n"
            );
            writing.write_all(head.as_bytes()).await.unwrap();
            // Ends with an error once the ingress has closed the connection.
            while writing.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
        };
        let hear = async {
            let mut answer = Vec::new();
            // It may end in a reset, since not all that was sent is read; what came before counts.
            let _ = reading.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        let both = async { tokio::join!(send, hear) };
        let ((), answer) = timeout(PATIENCE, both).await.expect("it is kept for ever");
        answer
    };
    let answers: [String; 3] = tokio::join!(post(), post(), post()).into();
    for answer in answers {
        assert_eq!((status(&answer), body(&answer)), (413, "too much"));
    }
    release.send_replace(true);
    for _ in 0..3 {
        let came = timeout(PATIENCE, told.recv()).await.expect("it ends");
        let came = came.unwrap();
        assert!(came < large, "{came}: no more than was on its way");
    }
}

#[tokio::test]
async fn an_event_stream_arrives_piece_by_piece() {
    let (next, events) = mpsc::channel::<&'static str>(1);
    let events = Arc::new(tokio::sync::Mutex::new(events));
    let replica = Replica::raw(move |mut stream| {
        let events = Arc::clone(&events);
        async move {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Some(event) = events.lock().await.recv().await {
                stream.write_all(event.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let stage = Stage::serving(vec![replica.ready("web-0")]);
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    for event in ["data: one\n\n", "data: two\n\n"] {
        next.send(event).await.unwrap();
        while !String::from_utf8_lossy(&received).contains(event) {
            let read = timeout(PATIENCE, client.read_buf(&mut received))
                .await
                .unwrap()
                .unwrap();
            assert!(read > 0, "the stream goes on");
        }
    }
}
