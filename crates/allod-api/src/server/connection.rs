//! Connections: each has a seat, and is served until it ends, has to make room, or the server stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::pace::Pace;
use super::seats::{Seat, Seats};
use super::stall::watched;
use super::stream::told;
use crate::limits::{ACCEPT_PAUSE, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX};

/// Accepts and serves until told to stop, then returns once the last connection ended.
pub(super) async fn accept_all(
    listener: TcpListener,
    router: Router,
    seats: Arc<Seats>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut pace = Pace::new();
    loop {
        tokio::select! {
            accepted = accept(&listener, &mut pace) => match accepted {
                Ok((stream, from)) => {
                    // Where every stranger is being answered, there is not even room to say no.
                    if let Some(seat) = seats.enter(from.ip()) {
                        connections.spawn(converse(stream, router.clone(), seat, stopping.clone()));
                    }
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection to the API");
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

async fn accept(listener: &TcpListener, pace: &mut Pace) -> io::Result<(TcpStream, SocketAddr)> {
    let accepted = listener.accept().await?;
    pace.turn().await;
    Ok(accepted)
}

async fn converse(
    stream: TcpStream,
    router: Router,
    seat: Arc<Seat>,
    mut stopping: watch::Receiver<bool>,
) {
    seat.listen();
    let _ = stream.set_nodelay(true);
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
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = seat.told_to_leave() => return,
        () = told(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the API ended with an error");
    }
}
