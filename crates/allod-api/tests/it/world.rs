//! A node of its own with the API on a free port, and raw HTTP to it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use allod_api::client::Client;
use allod_api::signature::sign;
use allod_api::{Server, bind_own, serve};
use allod_node::Node;
use allod_node::founding::found;
use allod_node::home::Home;
use allod_node::identity::Identity;
use allod_node::limits::IMAGES_BYTES_MAX;
use allod_node::node::{Places, Settings};
use allod_state::AccountId;
use allod_state::account::AddKey;
use allod_state::account::grant::Grant;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How long anything in these tests may take.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A node with its API.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) server: Server,
    pub(crate) owner: Identity,
    // The last one: it goes once nobody holds a file of it.
    ground: Ground,
}

/// A directory that outlives the node in it: the ledger's thread, which notices last that nobody needs it, ends the
/// process where its directory is gone.
pub(crate) struct Ground(Option<TempDir>);

impl Ground {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let dir = self.0.take().unwrap();
        let deadline = Instant::now() + SOON / 6;
        while is_held(dir.path()) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        if is_held(dir.path()) {
            // Whoever holds it still ends with this process.
            let _ = dir.keep();
        }
    }
}

/// Whether this process has a file in that directory open.
fn is_held(dir: &Path) -> bool {
    let held = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut held = held.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    held.any(|path| path.starts_with(dir))
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The code of a refusal, whose form is checked on the way.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let json = self.json();
        for name in ["type", "title", "detail", "code", "next_step"] {
            let text = json[name].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{json} lacks `{name}`");
        }
        assert_eq!(json["status"], self.status.as_u16());
        assert!(self.headers.contains_key("allod-height"));
        json["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a node of that home is started with.
pub(crate) fn settings(home: &Home) -> Settings {
    Settings {
        places: Places {
            node: home.node_dir(),
            run: home.run_dir().to_owned(),
            runtime: home.root_dir(),
        },
        ingress: vec![TcpListener::bind("127.0.0.1:0").unwrap()],
        resolv_conf: PathBuf::new(),
        images_bytes_max: IMAGES_BYTES_MAX,
        peers: SocketAddr::from(([127, 0, 0, 1], 0)),
        relay: None,
        looks_on_lan: false,
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let ground = Ground::new();
        let home = Home::at(ground.path()).unwrap();
        found(&home, None, None).unwrap();
        let owner = home.account_keyfile().load(None).unwrap();
        let node = Node::start(settings(&home)).await.unwrap();
        let own = bind_own(&home.own_door(), home.account_keyfile().path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = serve(node.clone(), listener, Some(own)).unwrap();
        let world = Self {
            node,
            server,
            owner,
            ground,
        };
        world.is_listed().await;
        world
    }

    /// Waits until the founding transaction has listed this machine, and the archive knows.
    async fn is_listed(&self) {
        let mut heights = self.node.heights();
        let listed = async {
            while self.node.nodes().is_empty() || *heights.borrow_and_update() == 0 {
                heights.changed().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, listed).await.unwrap();
    }

    /// Where the node keeps what it fetches from registries.
    pub(crate) fn images(&self) -> PathBuf {
        self.home().node_dir().join("images")
    }

    pub(crate) fn home(&self) -> Home {
        Home::at(self.ground.path()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub(crate) fn client(&self) -> Client {
        let owner = Client::new(&self.url(), copy_of(&self.owner));
        owner.unwrap()
    }

    /// A new key of the owner's account with that grant.
    pub(crate) async fn key_with(&self, grant: Grant) -> Identity {
        let identity = self.owner.rotated().unwrap();
        let key = identity.public_key();
        let client = self.client();
        client
            .submit(vec![AddKey { key, grant }.into()])
            .await
            .unwrap();
        identity
    }

    /// A request to a path, signed where somebody signs it.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &[u8])>,
        signer: Option<&Identity>,
    ) -> Answer {
        let request = self.request(method, path, body, signer);
        self.send(request).await
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &[u8])>,
        signer: Option<&Identity>,
    ) -> Request<Full<Bytes>> {
        let host = self.server.address().to_string();
        self.request_to(&host, (method, path), body, signer)
    }

    /// The same, by another name than the node's own.
    pub(crate) fn request_to(
        &self,
        host: &str,
        (method, path): (Method, &str),
        body: Option<(&str, &[u8])>,
        signer: Option<&Identity>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{host}{path}"))
            .header("host", host);
        let (kind, bytes) = body.unwrap_or_default();
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        if let Some(signer) = signer {
            let now_s = allod_node::time::now_ms() / 1_000;
            sign(&mut parts, bytes, signer, now_s).unwrap();
        }
        Request::from_parts(parts, Full::new(Bytes::copy_from_slice(bytes)))
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        Self::send_to(self.server.address(), request).await
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send_to(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::send_on(stream, request).await
    }

    /// Sends a request on that connection, as its only one.
    pub(crate) async fn send_on(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Answer {
        tokio::time::timeout(SOON, Self::exchange(stream, request))
            .await
            .unwrap()
    }

    async fn exchange(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        mut request: Request<Full<Bytes>>,
    ) -> Answer {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        // On the wire the target is a path; the authority is in `host`.
        let target = request.uri().path_and_query().cloned().unwrap();
        *request.uri_mut() = target.into();
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}

/// Ends a node, and waits until this process holds none of its files: the next one opens them anew.
pub(crate) async fn end(node: Node, home: &Home) {
    node.stop().await;
    let dir = home.node_dir();
    let released = async {
        while is_held(&dir) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, released).await.unwrap();
}

/// Another handle on the same key, which the client takes for itself.
fn copy_of(identity: &Identity) -> Identity {
    as_account(identity, identity.account().unwrap())
}

/// The same key in the name of an account.
pub(crate) fn as_account(identity: &Identity, account: AccountId) -> Identity {
    Identity::from_phrase(&identity.phrase(), Some(account))
}
