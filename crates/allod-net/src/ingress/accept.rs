//! Client connections: accepted up to a limit, served until they end or the ingress drains.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::ingress::guard::Guarded;
use crate::ingress::proxy::{Client, Proxy};
use crate::limits::{ACCEPT_PAUSE, BUFFER_BYTES};

/// Accepts and serves until `draining` turns true, then returns once the last connection ended.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    places: Arc<Semaphore>,
    mut draining: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, peer, place)) => {
                    let proxy = Arc::clone(&proxy);
                    connections.spawn(converse(stream, peer, proxy, place, draining.clone()));
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = told_to_drain(&mut draining) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for a place first: those beyond the limit stay in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    proxy: Arc<Proxy>,
    place: OwnedSemaphorePermit,
    mut draining: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let limits = Arc::clone(&proxy.limits);
    let is_tunnel = Arc::new(AtomicBool::new(false));
    let head_max = limits.head_bytes_max;
    let guarded = Guarded::new(stream, head_max, limits.write_stall, Arc::clone(&is_tunnel));
    let client = Client {
        address: peer.ip(),
        is_tunnel,
    };
    let service = service_fn(|request| {
        let (proxy, client) = (&proxy, &client);
        async move { Ok::<_, Infallible>(proxy.answer(client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers_max)
        .max_header_size(head_max)
        .max_buf_size(BUFFER_BYTES.max(head_max))
        .serve_connection(TokioIo::new(guarded), service);
    let ended = {
        let mut connection = std::pin::pin!(connection.with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = told_to_drain(&mut draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a client's connection ended with an error");
    }
    drop(place);
}

/// Returns when the ingress is told to drain, or is gone.
async fn told_to_drain(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|is_draining| *is_draining).await;
}
