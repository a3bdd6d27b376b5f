//! One HTTP request over one connection to one address that was checked.
//!
//! No pool and no redirects here: a connection belongs to its exchange, and dies with it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::Url;

use super::address::Reach;
use super::error::PullError;
use crate::image::limits::{ADDRESSES_MAX, Limits};

/// What every request of this process shares.
pub(super) struct Wire {
    /// Or why there is no authority to trust; a loopback registry needs none.
    tls: Result<Arc<ClientConfig>, String>,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// Why one hop failed: the target may not be asked, or could not be.
pub(super) enum HopError {
    Refused(&'static str),
    Failed(PullError),
}

/// An answer whose body has not been read yet.
pub(super) struct Exchange {
    pub(super) head: http::response::Parts,
    body: Incoming,
    host: String,
    idle_timeout: Duration,
    // Drives the connection; ends with the exchange.
    _driver: JoinSet<()>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Wire {
    /// Trusts the certificate authorities of this machine, and those in `pem`.
    pub(super) fn new(limits: &Limits, pem: &[u8]) -> Result<Self, PullError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        for given in CertificateDer::pem_slice_iter(pem) {
            let refused = |why: String| PullError::NoAuthorities { why };
            let given = given.map_err(|error| refused(error.to_string()))?;
            roots
                .add(given)
                .map_err(|error| refused(error.to_string()))?;
        }
        let tls = if roots.is_empty() {
            let why = found.errors.first().map(ToString::to_string);
            Err(why.unwrap_or_else(|| "none found".to_owned()))
        } else {
            let provider = Arc::new(ring::default_provider());
            let tls = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring has the default versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Arc::new(tls))
        };
        Ok(Self {
            tls,
            connect_timeout: limits.connect_timeout,
            idle_timeout: limits.idle_timeout,
        })
    }

    /// Sends a GET for `url`, if `reach` allows it, and waits for the head of the answer.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: &http::HeaderMap,
        reach: &Reach,
    ) -> Result<Exchange, HopError> {
        reach.check_url(url).map_err(HopError::Refused)?;
        let stream = self.connect(url, reach).await?;
        let host = shown_host(url);
        let unreachable = |why: hyper::Error| {
            HopError::Failed(PullError::Unreachable {
                host: host.clone(),
                why: chain(&why),
            })
        };
        let handshake = hyper::client::conn::http1::Builder::new()
            .max_headers(128)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(unreachable)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its failure reaches the reader of the body, who reports it.
            let _ = connection.await;
        });
        let request = request(url, headers);
        let answer = timeout(self.idle_timeout, sender.send_request(request)).await;
        let answer = answer
            .map_err(|_| HopError::Failed(late(&host, "answer", self.idle_timeout)))?
            .map_err(unreachable)?;
        let (head, body) = answer.into_parts();
        Ok(Exchange {
            head,
            body,
            host,
            idle_timeout: self.idle_timeout,
            _driver: driver,
        })
    }

    async fn connect(&self, url: &Url, reach: &Reach) -> Result<Box<dyn Stream>, HopError> {
        let host = shown_host(url);
        let mut last = PullError::Unreachable {
            host: host.clone(),
            why: "no address".to_owned(),
        };
        for address in self.addresses(url, reach).await? {
            match timeout(self.connect_timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.secure(url, stream).await.map_err(HopError::Failed),
                Ok(Err(error)) => {
                    let why = format!("{address}: {error}");
                    last = PullError::Unreachable {
                        host: host.clone(),
                        why,
                    };
                }
                Err(_) => last = late(&host, "accept a connection", self.connect_timeout),
            }
        }
        Err(HopError::Failed(last))
    }

    /// The addresses of the host that may be dialled; refused if there are none but bad ones.
    async fn addresses(&self, url: &Url, reach: &Reach) -> Result<Vec<SocketAddr>, HopError> {
        let port = url
            .port_or_known_default()
            .ok_or(HopError::Refused("it has no port"))?;
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name,
            Some(url::Host::Ipv4(ip)) => {
                return checked(url, reach, [SocketAddr::from((ip, port))]);
            }
            Some(url::Host::Ipv6(ip)) => {
                return checked(url, reach, [SocketAddr::from((ip, port))]);
            }
            None => return Err(HopError::Refused("it has no host")),
        };
        let lookup = timeout(self.connect_timeout, tokio::net::lookup_host((host, port))).await;
        let found = lookup
            .map_err(|_| HopError::Failed(late(host, "resolve", self.connect_timeout)))?
            .map_err(|error| {
                let why = format!("its name does not resolve ({error})");
                HopError::Failed(PullError::Unreachable {
                    host: host.to_owned(),
                    why,
                })
            })?;
        checked(url, reach, found)
    }

    async fn secure(&self, url: &Url, stream: TcpStream) -> Result<Box<dyn Stream>, PullError> {
        let host = shown_host(url);
        let unreachable = |why: String| PullError::Unreachable {
            host: host.clone(),
            why,
        };
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(error.to_string()))?;
        if url.scheme() == "http" {
            return Ok(Box::new(stream));
        }
        let no_authorities = |why: &String| PullError::NoAuthorities { why: why.clone() };
        let tls = self.tls.as_ref().map_err(no_authorities)?;
        let name = match url.host() {
            Some(url::Host::Domain(name)) => ServerName::try_from(name.to_owned())
                .map_err(|_| unreachable("its name cannot be in a certificate".to_owned()))?,
            Some(url::Host::Ipv4(ip)) => ServerName::from(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => ServerName::from(IpAddr::V6(ip)),
            None => return Err(unreachable("it has no name".to_owned())),
        };
        let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        match timeout(self.connect_timeout, handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(unreachable(format!("no secure connection ({error})"))),
            Err(_) => Err(late(
                &host,
                "finish the TLS handshake",
                self.connect_timeout,
            )),
        }
    }
}

fn checked(
    url: &Url,
    reach: &Reach,
    found: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, HopError> {
    let mut allowed = Vec::new();
    let mut refused = None;
    for address in found {
        match reach.check_address(url, address.ip()) {
            Ok(()) => allowed.push(address),
            Err(reason) => refused = Some(reason),
        }
    }
    allowed.truncate(ADDRESSES_MAX);
    match refused {
        Some(reason) if allowed.is_empty() => Err(HopError::Refused(reason)),
        _ => Ok(allowed),
    }
}

fn request(url: &Url, headers: &http::HeaderMap) -> http::Request<Empty<Bytes>> {
    let mut request = http::Request::new(Empty::new());
    *request.headers_mut() = headers.clone();
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let host = http::HeaderValue::try_from(host).expect("a parsed URL's host is ASCII");
    request.headers_mut().insert(http::header::HOST, host);
    let agent = http::HeaderValue::from_static(concat!("allod/", env!("CARGO_PKG_VERSION")));
    request
        .headers_mut()
        .insert(http::header::USER_AGENT, agent);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    *request.uri_mut() = target
        .parse()
        .expect("a parsed URL's path is a request target");
    request
}

impl Exchange {
    /// The next piece of the body, or none at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let frame = timeout(self.idle_timeout, self.body.frame())
                .await
                .map_err(|_| late(&self.host, "send more of its answer", self.idle_timeout))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(PullError::CutOff {
                        host: self.host.clone(),
                        why: chain(&error),
                    });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, or none if it is longer than `limit`.
    pub(super) async fn whole(mut self, limit: u64) -> Result<Option<Vec<u8>>, PullError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    /// The value of a header, if it is there once and is text.
    pub(super) fn header(&self, name: http::header::HeaderName) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }
}

/// The host and port of a URL, as an error shows them.
pub(super) fn shown_host(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
}

fn late(host: &str, action: &'static str, after: Duration) -> PullError {
    PullError::Timeout {
        host: host.to_owned(),
        action,
        after,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
