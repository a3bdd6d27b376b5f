//! The way into a member's relay: whoever comes is watched until its key is proven.
//!
//! Rules:
//! - Nobody has longer for that than the limits say, and is hung up on then.
//! - So many may be at it at once, and of one address so many; for a further one goes the one that has taken the longest.
//!   So strangers who say nothing push out one another.
//! - Whoever has proven its key is on the roster, and takes no such place any more.
//!
//! The relay's own time limit ends with the change from HTTP to its protocol, before the client has said who it is, in a
//! task that nobody else can end. So a second handle to the socket is kept until then. That the relay is done with
//! letting somebody in, or with turning it away, is seen by the request: it drops that then.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use iroh_relay::KeyCache;
use iroh_relay::defaults::DEFAULT_KEY_CACHE_CAPACITY;
use iroh_relay::http::RELAY_PROBE_PATH;
use iroh_relay::server::http_server::{BytesBody, RelayServiceWithNotify};
use iroh_relay::server::streams::MaybeTlsStream;
use iroh_relay::server::{ClientRateLimit, DynAccessControl, Handlers, RelayService};
use rustix::net::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::limits::{ACCEPT_PAUSE, RELAY_BYTES_PER_SECOND, RelayLimits};
use crate::places::{Place, Places};

/// What everybody who comes is served with.
#[derive(Clone)]
pub(super) struct Door {
    service: RelayService,
    tls: TlsAcceptor,
    places: Arc<Places>,
    proof_time_max: Duration,
}

/// A relay for those whom `access` lets in.
pub(super) fn service(access: Arc<dyn DynAccessControl>) -> RelayService {
    let mut handlers = Handlers::default();
    // Machines measure by this how far away the relay is.
    let here = |_, response: response::Builder| {
        let body: BytesBody = Box::<Full<Bytes>>::default();
        Ok(response.body(body)?)
    };
    handlers.insert((Method::GET, RELAY_PROBE_PATH), Box::new(here));
    let rate = NonZeroU32::new(RELAY_BYTES_PER_SECOND).map(ClientRateLimit::new);
    let keys = KeyCache::new(DEFAULT_KEY_CACHE_CAPACITY);
    RelayService::new(
        handlers,
        HeaderMap::new(),
        rate,
        keys,
        access,
        Arc::default(),
    )
}

impl Door {
    pub(super) fn new(
        service: RelayService,
        tls: rustls::ServerConfig,
        limits: &RelayLimits,
    ) -> Self {
        Self {
            service,
            tls: TlsAcceptor::from(Arc::new(tls)),
            places: Places::new(limits.places()),
            proof_time_max: limits.proof_time_max,
        }
    }

    /// Takes connections until it is dropped.
    pub(super) async fn open(self, listener: TcpListener) {
        let mut coming = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => if let Ok(place) = self.places.enter(from.ip()) {
                        coming.spawn(self.clone().watch(stream, place));
                    },
                    Err(error) => {
                        warn!(%error, "the relay could not accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = coming.join_next() => {}
            }
        }
    }

    async fn watch(self, stream: TcpStream, place: Arc<Place>) {
        let socket = match stream.as_fd().try_clone_to_owned() {
            Ok(socket) => socket,
            Err(error) => return warn!(%error, "the relay could not take a connection"),
        };
        tokio::select! {
            () = self.let_in(stream) => return,
            () = place.told_to_leave() => {}
            () = tokio::time::sleep(self.proof_time_max) => {}
        }
        debug!("the relay hangs up on somebody who does not say who it is");
        // An error says that the other side has gone already.
        let _ = shutdown(socket, Shutdown::Both);
    }

    /// Serves a connection until the relay has let its client in or turned it away, or the client is gone.
    async fn let_in(&self, stream: TcpStream) {
        let stream = match self.tls.accept(stream).await {
            Ok(stream) => MaybeTlsStream::Tls(stream),
            Err(error) => return debug!(%error, "somebody does not speak TLS with the relay"),
        };
        let (asking, mut asked) = mpsc::channel::<Infallible>(1);
        let relay = RelayServiceWithNotify::new(self.service.clone(), Arc::default());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(asking.clone());
            ready(relay.call(request).into_inner().map_err(io::Error::other))
        });
        let serving = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = serving.await {
            debug!(%error, "a connection to the relay ended with an error");
        }
        asked.recv().await;
    }
}
