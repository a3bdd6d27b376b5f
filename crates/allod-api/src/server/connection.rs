//! Connections: each has a seat, and is served until it ends, has to make room, or the server stops.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use allod_node::PeerCall;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::lobby::Admitted;
use super::seats::{Seat, Seats};
use super::stall::watched;
use super::stream::{is_stream, told};
use crate::limits::{ACCEPT_PAUSE, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, STREAM_END_MAX};
use crate::signature::PassedOn;

/// Serves those whom the lobby lets in until told to stop, then returns once the last connection ended.
pub(super) async fn serve_admitted(
    mut admitted: mpsc::Receiver<Admitted>,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some((stream, seat)) = admitted.recv() => match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    let (router, stopping) = (router.clone(), stopping.clone());
                    connections.spawn(async move {
                        // Its head is there, and has only to be noticed here too.
                        if stream.readable().await.is_ok() {
                            converse(stream, router, seat, stopping).await;
                        }
                    });
                }
                Err(error) => warn!(%error, "could not take over a connection to the API"),
            },
            Some(_) = connections.join_next() => {}
            () = told(&mut stopping) => break,
        }
    }
    drop(admitted);
    while connections.join_next().await.is_some() {}
}

/// The same for the owner's own door, where nobody waits in a lobby: only the owner and root come in at all.
pub(super) async fn serve_own(
    listener: UnixListener,
    router: Router,
    seats: Arc<Seats>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(seat) = seats.enter(Ipv4Addr::LOCALHOST.into()) {
                        connections.spawn(converse(stream, router.clone(), seat, stopping.clone()));
                    }
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection to the API's own door");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = told(&mut stopping) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The same for what other machines pass on.
pub(super) async fn serve_machines(
    mut calls: mpsc::Receiver<PeerCall>,
    router: Router,
    seats: Arc<Seats>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    // Every answer to them goes through here, so that they know of it.
    let router = router.layer(Extension(PassedOn));
    loop {
        tokio::select! {
            Some(call) = calls.recv() => {
                if let Some(seat) = seats.enter(source_of(call.from())) {
                    let (router, stopping) = (router.clone(), stopping.clone());
                    connections.spawn(async move {
                        if let Ok(stream) = call.accept().await {
                            converse(stream, router, seat, stopping).await;
                        }
                    });
                }
            }
            Some(_) = connections.join_next() => {}
            () = told(&mut stopping) => break,
        }
    }
    drop(calls);
    while connections.join_next().await.is_some() {}
}

/// A machine as a source of connections: an address of its own, of the block that is nobody's (RFC 4193).
fn source_of(key: &[u8; 32]) -> IpAddr {
    let hash = blake3::hash(key);
    let mut octets = [0xfd; 16];
    let (_, network) = octets.split_at_mut(1);
    network
        .iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(octet, byte)| *octet = *byte);
    Ipv6Addr::from(octets).into()
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    router: Router,
    seat: Arc<Seat>,
    mut stopping: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let is_streaming = AtomicBool::new(false);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&seat));
        let answer = router.call(request);
        let is_streaming = &is_streaming;
        async move {
            let response = answer.await?;
            is_streaming.store(is_stream(response.headers()), Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX * 2)
        .serve_connection(TokioIo::new(watched(stream)), service);
    let mut connection = std::pin::pin!(connection.with_upgrades());
    // What has come is read, and answered where it can be, before anybody may be told to leave.
    let ended = match poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await {
        Poll::Ready(ended) => ended,
        Poll::Pending => {
            seat.listened();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = seat.told_to_leave() => return,
                () = told(&mut stopping) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = overstays(&is_streaming) => return,
                    }
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the API ended with an error");
    }
}

/// Returns when a stream that was told to end has had the time to: its client may take nothing of it any more. Never for
/// other answers.
async fn overstays(is_streaming: &AtomicBool) {
    tokio::time::sleep(STREAM_END_MAX).await;
    if !is_streaming.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Duration, timeout};

    use super::*;

    /// An answer that never ends, of this kind.
    fn endless(kind: &'static str) -> http::Response<Body> {
        let more = stream::repeat_with(|| Ok::<_, Infallible>("data: more\n\n"));
        let response = http::Response::builder().header(http::header::CONTENT_TYPE, kind);
        response.body(Body::from_stream(more)).unwrap()
    }

    /// Whether the connection of a client that stops reading has ended a second after the server was told to stop.
    async fn ends_within_a_second(kind: &'static str) -> bool {
        let (mut client, ours) = duplex(1024);
        let (stop, stopping) = watch::channel(false);
        let router = Router::new().route("/", get(move || async move { endless(kind) }));
        let seat = Arc::<Seats>::default().enter(Ipv4Addr::LOCALHOST.into());
        let mut served = JoinSet::new();
        served.spawn(converse(ours, router, seat.unwrap(), stopping));
        let request = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.read_exact(&mut [0; 512]).await.unwrap();
        stop.send_replace(true);
        let ended = timeout(Duration::from_secs(1), served.join_next()).await;
        ended.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_reads_holds_up_no_stop_and_an_answer_does() {
        assert!(ends_within_a_second("text/event-stream").await);
        assert!(!ends_within_a_second("application/json").await);
    }
}
