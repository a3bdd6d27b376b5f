//! What the scenes stand on: an ingress with a table to change, replicas, and a plain client.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use allod_net::limits::IngressLimits;
use allod_net::{Backend, Dialer, Ingress, LogTail, Outage, Route, RouteKey, Routes};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) const HOST: &str = "web.shop.localhost";

/// Nothing in these scenes takes longer; a scene that hangs fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An ingress on a free port and the sender of its table.
pub(crate) struct Stage {
    pub(crate) ingress: Ingress,
    pub(crate) routes: watch::Sender<Arc<Routes>>,
    pub(crate) address: SocketAddr,
}

impl Stage {
    pub(crate) fn new(limits: IngressLimits) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (routes, receiver) = watch::channel(Arc::new(Routes::new()));
        let ingress = Ingress::start(vec![listener], receiver, Dialer::default(), limits).unwrap();
        let address = ingress.addresses()[0];
        Self {
            ingress,
            routes,
            address,
        }
    }

    /// A stage on which [`HOST`] leads to these backends.
    pub(crate) fn serving(backends: Vec<Backend>) -> Self {
        let stage = Self::new(IngressLimits::default());
        stage.route(route(backends));
        stage
    }

    /// Makes [`HOST`] lead to this route, and nothing else to anything.
    pub(crate) fn route(&self, route: Route) {
        let mut routes = Routes::new();
        routes.insert(HOST, route).unwrap();
        self.routes.send_replace(Arc::new(routes));
    }

    /// Sends these bytes on a connection of their own and reads until it closes.
    pub(crate) async fn say(&self, bytes: &[u8]) -> String {
        say(self.address, bytes).await
    }

    /// A GET with these further header lines.
    pub(crate) async fn get(&self, host: &str, lines: &str) -> String {
        let head =
            format!("GET /x?y=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
        self.say(head.as_bytes()).await
    }
}

pub(crate) async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    heard(TcpStream::connect(address).await.unwrap(), bytes).await
}

/// A connection from this address of the machine's own.
pub(crate) async fn connect_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(source.parse().unwrap(), 0))
        .unwrap();
    socket.connect(address).await.unwrap()
}

/// Sends these bytes and reads until the other side closes.
pub(crate) async fn heard(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A refused request may end in a reset after its answer; what came before it counts.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the ingress hangs");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn key() -> RouteKey {
    RouteKey {
        app: "shop".into(),
        service: "web".into(),
    }
}

pub(crate) fn route(backends: Vec<Backend>) -> Route {
    let outage = Outage::stopped(
        "every replica crashed",
        SystemTime::now(),
        "allod logs shop/web",
    );
    Route {
        key: key(),
        backends,
        outage,
        log_tail: LogTail::none(),
    }
}

/// A replica: an HTTP server that ends when this is dropped.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl Replica {
    /// One that answers with this function.
    pub(crate) async fn new<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::raw(move |stream| {
            let answer = Arc::clone(&answer);
            async move {
                let service = hyper::service::service_fn(|request| {
                    let answered = answer(request);
                    async { Ok::<_, Infallible>(answered.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// One that always says this.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::new(move |_| async move { Response::new(Full::from(text)) }).await
    }

    /// One that answers with the request head it got.
    pub(crate) async fn mirror() -> Self {
        Self::new(|request| async move {
            let mut seen = format!("{} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                seen += &format!("{name}: {}\n", value.to_str().unwrap());
            }
            Response::new(Full::from(seen))
        })
        .await
    }

    /// One that does this with each connection.
    pub(crate) async fn raw<F, C>(converse: F) -> Self
    where
        F: Fn(TcpStream) -> C + Send + Sync + 'static,
        C: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream));
            }
        });
        Self {
            address,
            _server: server,
        }
    }

    pub(crate) fn ready(&self, name: &str) -> Backend {
        Backend::ready(self.address, name)
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Waits until this is true, looking again and again.
pub(crate) async fn until(what: &str, is_true: impl Fn() -> bool) {
    let looking = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, looking)
        .await
        .unwrap_or_else(|_| panic!("never came true: {what}"));
}

pub(crate) fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
