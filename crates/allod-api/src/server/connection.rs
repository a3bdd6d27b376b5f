//! Connections: each has a seat, and is served until it ends, has to make room, or the server stops.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
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
use super::stream::told;
use crate::limits::{ACCEPT_PAUSE, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX};
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
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&seat));
        router.call(request)
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
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the API ended with an error");
    }
}
