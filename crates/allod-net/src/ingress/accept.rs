//! Client connections: accepted up to a limit, served until they end or the ingress drains.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::ingress::guard::Guarded;
use crate::ingress::proxy::{Client, Proxy};
use crate::limits::{ACCEPT_PAUSE, BUFFER_BYTES, TURNED_AWAY_BYTES};
use crate::places::{Full, Place, Places};

const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 134\r\n\r\n\
    {\"type\":\"urn:allod:problem:ingress_full\",\"status\":503,\"detail\":\"too many requests are being answered\",\
    \"next_step\":\"Try again in 2 s.\"}";
const ADDRESS_TURNED_AWAY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 184\r\n\r\n\
    {\"type\":\"urn:allod:problem:address_full\",\"status\":429,\
    \"detail\":\"too many requests of your address are being answered\",\
    \"next_step\":\"Try again in 2 s, with fewer connections at a time.\"}";

/// Accepts and serves until `draining` turns true, then returns once the last connection ended.
pub(crate) async fn serve(
    listener: TcpListener,
    proxy: Arc<Proxy>,
    places: Arc<Places>,
    mut draining: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match places.enter(peer.ip()) {
                    Ok(place) => {
                        let proxy = Arc::clone(&proxy);
                        connections.spawn(converse(stream, peer, proxy, place, draining.clone()));
                    }
                    Err(full) => turn_away(&stream, full),
                },
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

/// Says why there is no place, as far as that can be said without waiting.
fn turn_away(stream: &TcpStream, full: Full) {
    // What has come already is read, or the kernel would answer it with a reset instead.
    let _ = stream.try_read(&mut [0; TURNED_AWAY_BYTES]);
    let _ = stream.try_write(match full {
        Full::Everywhere => TURNED_AWAY,
        Full::Source => ADDRESS_TURNED_AWAY,
    });
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    proxy: Arc<Proxy>,
    place: Arc<Place>,
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
        place: Arc::clone(&place),
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
            () = place.told_to_leave() => return,
            () = told_to_drain(&mut draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a client's connection ended with an error");
    }
}

/// Returns when the ingress is told to drain, or is gone.
async fn told_to_drain(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|is_draining| *is_draining).await;
}
