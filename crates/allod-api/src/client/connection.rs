//! One API, reached with one identity: requests go out signed, answers come back typed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use allod_node::home::Home;
use allod_node::identity::{Identity, Keyfile, Secret};
use allod_node::root::Down;
use allod_state::{AccountId, NetworkId};
use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use url::Url;

use super::Result;
use super::error::{Error, Problem};
use super::limits::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, DOWN_AFTER, DOWN_PERIOD};
use super::payload::{Payload, Summed};
use super::way::{Stream, Way};
use crate::signature::sign_for;

/// One API, reached with one identity.
pub struct Client {
    url: Url,
    way: Way,
    http: HttpClient<Way, Body>,
    pub(super) identity: Identity,
    account: AccountId,
    /// Whom the signatures name; nothing where the API finds the account by the key.
    named: Option<AccountId>,
    expected: Option<NetworkId>,
    /// The home whose node answers, where it does.
    home: Option<Home>,
}

impl Client {
    /// A client of the API at `url`, or of the one that runs in `home`; it acts with the identity in `keyfile`.
    ///
    /// # Errors
    /// Where no API runs there, the address is none, or the identity cannot be used.
    pub fn open(
        home: &Home,
        url: Option<&str>,
        keyfile: &Keyfile,
        passphrase: Option<&Secret<String>>,
    ) -> Result<Self> {
        let (url, expected, own) = match url {
            Some(url) => (url.to_owned(), None, None),
            None => {
                let running = home.running_api()?.ok_or_else(|| Error::NotRunning {
                    place: home.run_dir().display().to_string(),
                })?;
                (running.url, Some(running.network), Some(home.own_door()))
            }
        };
        let identity = home.open_identity(keyfile, passphrase)?;
        let client = Self::by_way(&url, own, identity).map_err(|error| match error {
            Error::NotAnAccount { .. } => Error::NotAnAccount {
                path: keyfile.path().to_owned(),
            },
            other => other,
        })?;
        let home = expected.map(|_| home.clone());
        Ok(Self {
            expected,
            home,
            ..client
        })
    }

    /// A client of the API at `url` that acts with `identity`.
    ///
    /// # Errors
    /// Where the address is none, or the identity is a node's.
    pub fn new(url: &str, identity: Identity) -> Result<Self> {
        Self::by_way(url, None, identity)
    }

    fn by_way(url: &str, own: Option<PathBuf>, identity: Identity) -> Result<Self> {
        let bad = || Error::BadUrl {
            url: url.chars().take(200).collect(),
        };
        let parsed = Url::parse(url).map_err(|_| bad())?;
        if parsed.scheme() != "http" || parsed.host_str().is_none() {
            return Err(bad());
        }
        let account = identity.account().ok_or_else(|| Error::NotAnAccount {
            path: "this identity".into(),
        })?;
        let way = Way {
            own,
            authority: authority(&parsed),
        };
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(way.clone());
        Ok(Self {
            url: parsed,
            way,
            http,
            identity,
            account,
            named: Some(account),
            expected: None,
            home: None,
        })
    }

    /// The same client, which lets the API find the account by the key.
    #[must_use]
    pub fn unnamed(self) -> Self {
        Self {
            named: None,
            ..self
        }
    }

    /// Gives the identity back.
    #[must_use]
    pub fn into_identity(self) -> Identity {
        self.identity
    }

    /// On whose behalf it acts.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// With which key it acts.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where the API is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The network that the home says it belongs to.
    pub(super) const fn expected_network(&self) -> Option<NetworkId> {
        self.expected
    }

    /// The whole address of a path given as segments, each escaped.
    pub(super) fn address(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends a request and returns the answer's head and its body, unread. A refusal is an error. Where the node was
    /// started anew while the request waited at its door, nothing was done, and it is signed and sent once more.
    pub(super) async fn send(&self, call: Call) -> Result<Response<Incoming>> {
        match self.send_once(call.clone()).await {
            Err(Error::Problem(problem)) if problem.code == SIGNED_BEFORE_START => {
                self.send_once(call).await
            }
            sent => sent,
        }
    }

    async fn send_once(&self, call: Call) -> Result<Response<Incoming>> {
        let attempted = format!("{} {}", call.method, call.url.path());
        let within = call.timeout;
        let request = self.request(call).await?;
        let answer = tokio::time::timeout(within, self.http.request(request));
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            down = self.is_down() => return Err(Error::Down(Box::new(down))),
        };
        let response = match answer {
            Err(_) => return Err(timed_out(attempted, within)),
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.read(response, &attempted).await.unwrap_or_default();
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            detail: format!("{attempted} was answered with status {status}"),
            ..Problem::default()
        });
        Err(Error::Problem(Box::new(Problem { status, ..problem })))
    }

    /// Waits until the root process of this home says that its node cannot start: it holds the door, and nobody answers.
    async fn is_down(&self) -> Down {
        let Some(home) = &self.home else {
            return std::future::pending().await;
        };
        tokio::time::sleep(DOWN_AFTER).await;
        loop {
            if let Some(down) = Down::read(home.run_dir()) {
                return down;
            }
            tokio::time::sleep(DOWN_PERIOD).await;
        }
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let attempted = format!("{} {}", call.method, call.url.path());
        let response = self.send(call).await?;
        let body = self.read(response, &attempted).await?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| Error::Nonsense {
            attempted,
            cause: error.to_string(),
        })
    }

    /// Reads a resource.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T> {
        self.call(Call::new(Method::GET, self.address(segments, query)))
            .await
    }

    /// The signed headers of a request without a body, for a protocol that is not plain HTTP.
    pub(super) fn signed_head(&self, mut request: Request<()>) -> Result<Request<()>> {
        let host = self.host();
        request.headers_mut().insert(HOST, host);
        let (mut parts, ()) = request.into_parts();
        sign_for(&mut parts, None, &self.identity, self.named, now_s())?;
        Ok(Request::from_parts(parts, ()))
    }

    /// A connection of its own, for a protocol that is not plain HTTP.
    pub(super) async fn connect(&self) -> Result<Stream> {
        let connected = self.way.connect().await;
        connected.map_err(|error| self.unreachable(&error))
    }

    pub(super) fn unreachable(&self, error: &dyn std::error::Error) -> Error {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            cause = format!("{cause}: {inner}");
            source = inner.source();
        }
        Error::Unreachable {
            url: self.url.to_string(),
            cause,
        }
    }

    fn host(&self) -> http::HeaderValue {
        let host = self.url.host_str().unwrap_or_default();
        let text = match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        http::HeaderValue::from_str(&text).expect("a parsed URL's host is ASCII")
    }

    async fn request(&self, call: Call) -> Result<Request<Body>> {
        let builder = Request::builder()
            .method(call.method)
            .uri(call.url.as_str())
            .header(HOST, self.host())
            .header(ACCEPT, call.accept);
        let builder = match call.content_type {
            Some(content_type) => builder.header(CONTENT_TYPE, content_type),
            None => builder,
        };
        let request = builder.body(()).map_err(|_| Error::BadUrl {
            url: call.url.to_string(),
        })?;
        let (mut parts, ()) = request.into_parts();
        let sha256 = call.payload.sha256();
        sign_for(&mut parts, sha256, &self.identity, self.named, now_s())?;
        Ok(Request::from_parts(parts, call.payload.body().await?))
    }

    async fn read(&self, response: Response<Incoming>, attempted: &str) -> Result<Bytes> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        match tokio::time::timeout(ANSWER_TIMEOUT, body).await {
            Err(_) => Err(timed_out(attempted.to_owned(), ANSWER_TIMEOUT)),
            Ok(Err(error)) => Err(self.unreachable(error.as_ref())),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }
}

/// The host and port to connect to.
fn authority(url: &Url) -> (String, u16) {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    (host.trim_matches(['[', ']']).to_owned(), port)
}

/// The name of the refusal of a signature that is older than the node's process.
const SIGNED_BEFORE_START: &str = "signature_before_start";

/// One request.
#[derive(Clone)]
pub(super) struct Call {
    method: Method,
    url: Url,
    content_type: Option<&'static str>,
    accept: &'static str,
    payload: Payload,
    timeout: Duration,
}

impl Call {
    pub(super) const fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            content_type: None,
            accept: "application/json",
            payload: Payload::Bytes(Bytes::new()),
            timeout: ANSWER_TIMEOUT,
        }
    }

    pub(super) fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.payload = Payload::Bytes(body.into());
        self.content_type = Some("application/octet-stream");
        self
    }

    pub(super) fn json(mut self, body: &serde_json::Value) -> Self {
        self.payload = Payload::Bytes(body.to_string().into());
        self.content_type = Some("application/json");
        self
    }

    pub(super) fn file(mut self, file: Summed) -> Self {
        self.payload = Payload::File(file);
        self.content_type = Some("application/octet-stream");
        self
    }

    pub(super) const fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = Some(content_type);
        self
    }

    pub(super) const fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    pub(super) const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

pub(super) fn timed_out(attempted: String, within: Duration) -> Error {
    Error::Timeout {
        attempted,
        seconds: within.as_secs(),
    }
}

/// This machine's clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn now_s() -> u64 {
    now_ms() / 1000
}
