//! What a registry may do wrong, and what the person at the keyboard is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use allod_runtime::image::{
    Credentials, Digest, ImageRecord, Limits, PullError, Puller, RecordError, Reference,
};

use crate::fixture::{Layer, Stores, block_on, documents, host_architecture, limits};
use crate::server::{Answer, Request, Server};
use crate::tar::Tar;

/// An image in memory, and the honest answer to every request for it.
#[derive(Clone)]
pub(crate) struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
}

impl Image {
    pub(crate) fn new() -> Self {
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|number| (number.wrapping_mul(40_503) >> 7) as u8)
            .collect();
        let layer = Layer::plain(Tar::default().file("a", &noise).end());
        let blob = layer.blob.clone();
        let (config, manifest) = documents(&[layer], host_architecture());
        Self {
            manifest,
            config,
            layer: blob,
        }
    }

    pub(crate) fn layer_path(&self) -> String {
        format!("/v2/test/blobs/{}", Digest::of(&self.layer))
    }

    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let blob = |bytes: &[u8]| format!("/v2/test/blobs/{}", Digest::of(bytes));
        let manifest = format!("/v2/test/manifests/{}", Digest::of(&self.manifest));
        match &request.path {
            path if path == "/v2/test/manifests/v1" || *path == manifest => {
                Answer::ok(&self.manifest)
            }
            path if *path == blob(&self.config) => Answer::ok(&self.config),
            path if *path == blob(&self.layer) => Answer::ok(&self.layer),
            _ => Answer::new(404, &[], b""),
        }
    }

    /// A registry that is honest but for the layer.
    fn with_layer(self, answer: impl Fn(&Request) -> Answer + Send + 'static) -> Server {
        let path = self.layer_path();
        Server::start(move |request| {
            if request.path == path {
                answer(request)
            } else {
                self.answer(request)
            }
        })
    }
}

fn pull_with(server: &Server, limits: Limits) -> Result<ImageRecord, PullError> {
    let stores = Stores::new();
    let puller = Puller::new(stores.blobs.clone(), limits);
    block_on(puller.pull(&server.reference(), None, None))
}

fn pull(server: &Server) -> Result<ImageRecord, PullError> {
    pull_with(server, limits())
}

fn always(status: u16, headers: &'static [(&'static str, &'static str)]) -> Server {
    Server::start(move |_| {
        Answer::new(status, headers, b"{\"errors\":[{\"message\":\"because\"}]}")
    })
}

#[test]
fn refusals_are_told_apart() {
    for (status, attempts) in [(401, 1), (403, 1), (404, 1), (400, 1), (500, 3), (503, 3)] {
        let server = always(status, &[]);
        let failed = pull(&server).unwrap_err();
        let is_right = match &failed {
            PullError::Unauthorized {
                had_credentials: false,
                ..
            } => status == 401,
            PullError::Forbidden {
                had_credentials: false,
                ..
            } => status == 403,
            PullError::NotFound { .. } => status == 404,
            PullError::Status {
                status: said,
                message,
                ..
            } => *said == status && message == "because",
            _ => false,
        };
        assert!(is_right, "{status}: {failed}");
        assert_eq!(server.requests().len(), attempts, "{status}");
    }
}

#[test]
fn a_registry_that_stumbles_is_asked_again() {
    let (image, count) = (Image::new(), AtomicUsize::new(0));
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(500, &[], b""),
        1 => Answer::new(429, &[("Retry-After", "1")], b""),
        _ => image.answer(request),
    });
    let began = Instant::now();
    pull(&server).unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "Retry-After is obeyed"
    );
}

#[test]
fn patience_has_an_end() {
    let server = always(429, &[("Retry-After", "3600")]);
    let failed = pull(&server).unwrap_err();
    let PullError::RateLimited { retry_after, .. } = &failed else {
        panic!("{failed}")
    };
    assert_eq!(*retry_after, Some(Duration::from_secs(3600)));
    assert!(failed.to_string().contains("3600 s"), "{failed}");
    assert_eq!(server.requests().len(), 1);
    let failed = pull(&always(429, &[])).unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::RateLimited {
                retry_after: None,
                ..
            }
        ),
        "{failed}"
    );
}

#[test]
fn silence_ends_in_a_timeout() {
    let hasty = Limits {
        idle_timeout: Duration::from_millis(150),
        ..limits()
    };
    let image = Image::new();
    let half = image.layer[..1000].to_vec();
    let length = image.layer.len().to_string();
    let silent: [Server; 3] = [
        Server::start(|_| Answer::silence()),
        Server::start(|_| Answer::raw(200, &[("Content-Length", "100")], b"{").then_hang()),
        image.with_layer(move |_| {
            Answer::raw(200, &[("Content-Length", &length)], &half).then_hang()
        }),
    ];
    for server in silent {
        let failed = pull_with(&server, hasty.clone()).unwrap_err();
        assert!(matches!(failed, PullError::Timeout { .. }), "{failed}");
    }
    let whole = Limits {
        pull_timeout: Duration::from_millis(300),
        ..limits()
    };
    let failed = pull_with(&Server::start(|_| Answer::silence()), whole).unwrap_err();
    assert!(matches!(failed, PullError::Timeout { .. }), "{failed}");
}

#[test]
fn nobody_listens() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let reference: Reference = format!("{address}/x").parse().unwrap();
    let failed = block_on(Stores::new().puller().resolve(&reference, None)).unwrap_err();
    let PullError::Unreachable { host, .. } = &failed else {
        panic!("{failed}")
    };
    assert_eq!(*host, address.to_string());
}

#[test]
fn redirects_do_not_lead_into_the_house() {
    let victim = Server::start(|_| Answer::ok(b"secret"));
    let port = victim.address.port();
    for target in [
        "https://10.0.0.1/x".to_owned(),
        "http://10.0.0.1/x".to_owned(),
        "https://192.168.1.1:8443/x".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://[fe80::1]/x".to_owned(),
        "https://[::ffff:10.0.0.1]/x".to_owned(),
        "https://0.0.0.0/x".to_owned(),
        format!("http://127.0.0.1:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        format!("http://localhost:{port}/x"),
        format!("https://localhost:{port}/x"),
        format!("http://0x7f000001:{port}/x"),
        format!("http://[::1]:{port}/x"),
        "file:///etc/passwd".to_owned(),
        "ftp://example.org/x".to_owned(),
        "http://[".to_owned(),
    ] {
        let to = target.clone();
        let server = Server::start(move |_| Answer::redirect(&to));
        let failed = pull(&server).unwrap_err();
        assert!(
            matches!(failed, PullError::RedirectRefused { .. }),
            "{target}: {failed}"
        );
        assert_eq!(server.requests().len(), 1, "{target}");
    }
    assert!(victim.requests().is_empty());
}

#[test]
fn redirects_within_the_registry_are_followed_to_an_end() {
    let image = Image::new();
    let path = image.layer_path();
    let bytes = image.layer.clone();
    let honest = image.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/elsewhere?signature=1" => Answer::ok(&bytes),
        asked if asked == path => Answer::redirect("/elsewhere?signature=1"),
        _ => honest.answer(request),
    });
    pull(&server).unwrap();
    let endless = Server::start(|_| Answer::redirect("/again"));
    let failed = pull(&endless).unwrap_err();
    assert!(
        matches!(failed, PullError::RedirectRefused { .. }),
        "{failed}"
    );
    assert_eq!(endless.requests().len(), 6);
}

#[test]
fn registries_at_private_addresses_need_permission() {
    let stores = Stores::new();
    let resolve = |reference: &str, limits: Limits| {
        let puller = Puller::new(stores.blobs.clone(), limits);
        block_on(puller.resolve(&reference.parse().unwrap(), None)).unwrap_err()
    };
    for reference in [
        "10.255.255.1/x",
        "169.254.169.254/x",
        "[fd00::1]:5000/x",
        "0.0.0.0:80/x",
    ] {
        let failed = resolve(reference, limits());
        assert!(
            matches!(failed, PullError::AddressRefused { .. }),
            "{reference}: {failed}"
        );
    }
    let server = Server::start(|_| Answer::ok(b""));
    let closed = Limits {
        loopback_registries: false,
        ..limits()
    };
    let failed = resolve(&server.reference().to_string(), closed);
    assert!(
        matches!(failed, PullError::AddressRefused { .. }),
        "{failed}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_token_is_fetched_and_shown() {
    let image = Image::new();
    let server = Server::start(move |request| {
        if request.path.starts_with("/token") {
            return match request.header("authorization") {
                // allod:pass
                Some("Basic YWxsb2Q6cGFzcw==") => Answer::ok(br#"{"token":"good"}"#),
                Some(_) => Answer::new(401, &[], b""),
                None => Answer::ok(br#"{"access_token":"stranger"}"#),
            };
        }
        match request.header("authorization") {
            Some("Bearer good") => image.answer(request),
            _ => {
                let host = request.header("host").unwrap();
                let challenge = format!("Bearer realm=\"http://{host}/token?a=b\",service=\"s p\"");
                Answer::new(401, &[("WWW-Authenticate", &challenge)], b"")
            }
        }
    });
    let stores = Stores::new();
    let pull = |credentials: Option<&Credentials>| {
        block_on(stores.puller().pull(&server.reference(), credentials, None))
    };
    pull(Some(&Credentials::new("allod", "pass"))).unwrap();
    let asked = server
        .requests()
        .into_iter()
        .find(|request| request.path.starts_with("/token"));
    assert_eq!(
        asked.unwrap().path,
        "/token?a=b&service=s+p&scope=repository%3Atest%3Apull"
    );
    let failed = pull(Some(&Credentials::new("allod", "wrong"))).unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::Unauthorized {
                had_credentials: true,
                ..
            }
        ),
        "{failed}"
    );
    let failed = pull(None).unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::Unauthorized {
                had_credentials: false,
                ..
            }
        ),
        "{failed}"
    );
}

#[test]
fn a_token_service_inside_the_house_is_not_asked() {
    let victim = Server::start(|_| Answer::ok(br#"{"token":"x"}"#));
    let port = victim.address.port();
    for realm in [
        "https://169.254.169.254/token".to_owned(),
        format!("http://127.0.0.1:{port}/t"),
    ] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let server =
            Server::start(move |_| Answer::new(401, &[("WWW-Authenticate", &challenge)], b""));
        let reference = server.reference();
        let credentials = Credentials::new("allod", "secret");
        let stores = Stores::new();
        let failed = block_on(stores.puller().resolve(&reference, Some(&credentials))).unwrap_err();
        assert!(
            matches!(failed, PullError::AddressRefused { .. }),
            "{realm}: {failed}"
        );
    }
    assert!(victim.requests().is_empty());
}

#[test]
fn documents_have_a_size_and_a_shape() {
    let huge = Server::start(|_| Answer::ok(&vec![b' '; 5 << 20]));
    let failed = pull(&huge).unwrap_err();
    assert!(matches!(failed, PullError::TooLarge { .. }), "{failed}");
    let page = Server::start(|_| Answer::ok(b"<html>Log in to the hotel's network</html>"));
    let failed = pull(&page).unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::Unusable {
                source: RecordError::Malformed { .. },
                ..
            }
        ),
        "{failed}"
    );
    let image = Image::new();
    let server = Server::start(move |request| image.answer(request));
    let other = Digest::of(b"other");
    let reference = server.reference().pinned(other);
    let image = Image::new();
    let lying = Server::start(move |_| Answer::ok(&image.manifest));
    let pinned: Reference = format!("{}/test@{other}", lying.address).parse().unwrap();
    let stores = Stores::new();
    let failed = block_on(stores.puller().resolve(&pinned, None)).unwrap_err();
    assert!(
        matches!(
            failed,
            PullError::BadDigest {
                what: "manifest",
                ..
            }
        ),
        "{failed}"
    );
    let failed = block_on(stores.puller().resolve(&reference, None)).unwrap_err();
    assert!(matches!(failed, PullError::NotFound { .. }), "{failed}");
}

#[test]
fn lies_about_a_layers_length_are_refused() {
    let image = Image::new();
    let longer = [&image.layer[..], b"more"].concat();
    let shorter = image.layer[..image.layer.len() - 1].to_vec();
    let chunked = [
        format!("{:x}\r\n", longer.len()).as_bytes(),
        &longer,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let endless = longer.clone();
    let servers = [
        image.clone().with_layer(move |_| Answer::ok(&longer)),
        image.clone().with_layer(move |_| Answer::ok(&shorter)),
        image
            .clone()
            .with_layer(move |_| Answer::raw(200, &[("Transfer-Encoding", "chunked")], &chunked)),
        image
            .clone()
            .with_layer(move |_| Answer::raw(200, &[], &endless)),
    ];
    for server in servers {
        let failed = pull(&server).unwrap_err();
        assert!(
            matches!(failed, PullError::WrongSize { what: "layer", .. }),
            "{failed}"
        );
    }
    let mut other = image.layer.clone();
    other[700] ^= 1;
    let failed = pull(&image.with_layer(move |_| Answer::ok(&other))).unwrap_err();
    assert!(
        matches!(failed, PullError::BadDigest { what: "layer", .. }),
        "{failed}"
    );
}

#[test]
fn a_layer_that_breaks_off_goes_on_where_it_stopped() {
    let (image, count) = (Image::new(), AtomicUsize::new(0));
    let layer = image.layer.clone();
    let path = image.layer_path();
    let server = image.with_layer(move |request| {
        let whole = layer.len().to_string();
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            return Answer::raw(200, &[("Content-Length", &whole)], &layer[..50_000]);
        }
        let from = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        let from: usize = from
            .and_then(|range| range.strip_suffix('-'))
            .unwrap()
            .parse()
            .unwrap();
        let range = format!("bytes {from}-{}/{whole}", layer.len() - 1);
        Answer::new(206, &[("Content-Range", &range)], &layer[from..])
    });
    pull(&server).unwrap();
    let asked: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.path == path)
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].header("range"), None);
    assert_eq!(asked[1].header("range"), Some("bytes=50000-"));
}

#[test]
fn a_registry_that_cannot_resume_sends_the_layer_again() {
    let (image, count) = (Image::new(), AtomicUsize::new(0));
    let layer = image.layer.clone();
    let path = image.layer_path();
    let server = image.with_layer(move |_| {
        let whole = layer.len().to_string();
        let sent = match count.fetch_add(1, Ordering::SeqCst) {
            0 => &layer[..50_000],
            _ => &layer[..],
        };
        Answer::raw(200, &[("Content-Length", &whole)], sent)
    });
    pull(&server).unwrap();
    let asked = server
        .requests()
        .into_iter()
        .filter(|request| request.path == path);
    assert_eq!(asked.count(), 2);
}

#[test]
fn images_too_large_for_this_machine_are_not_begun() {
    let small = Limits {
        layer_bytes_max: 1000,
        ..limits()
    };
    let tight = Limits {
        image_bytes_max: 1000,
        ..limits()
    };
    for limits in [small, tight] {
        let image = Image::new();
        let server = Server::start(move |request| image.answer(request));
        let failed = pull_with(&server, limits).unwrap_err();
        assert!(matches!(failed, PullError::TooLarge { .. }), "{failed}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn an_index_leads_to_the_image_for_this_machine() {
    let image = Image::new();
    let entry = |digest: Digest, architecture: &str, size: usize| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let digest = Digest::of(&image.manifest);
    let ours = entry(digest, host_architecture(), image.manifest.len());
    let theirs = entry(Digest::of(b"x"), "s390x", 1);
    let index = |entries: &[&serde_json::Value]| {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
        serde_json::to_vec(&index).unwrap()
    };
    let (both, one) = (index(&[&theirs, &ours]), index(&[&theirs]));
    let index_digest = Digest::of(&both);
    let index_path = format!("/v2/test/manifests/{index_digest}");
    let server = Server::start(move |request| match request.path.as_str() {
        "/v2/test/manifests/v1" => Answer::ok(&both),
        path if path == index_path => Answer::ok(&both),
        _ => image.answer(request),
    });
    assert_eq!(pull(&server).unwrap().manifest_digest, digest);

    // Pinned to the index, the image is found again when the registry is gone.
    let pinned: Reference = format!("{}/test:v1@{index_digest}", server.address)
        .parse()
        .unwrap();
    let stores = Stores::new();
    let record = block_on(stores.puller().pull(&pinned, None, None)).unwrap();
    assert_eq!(record.manifest_digest, digest);
    drop(server);
    assert_eq!(
        block_on(stores.puller().pull(&pinned, None, None)).unwrap(),
        record
    );

    let server = Server::start(move |_| Answer::ok(&one));
    let failed = pull(&server).unwrap_err();
    let PullError::Unusable {
        source: RecordError::NoPlatform { offered, .. },
        ..
    } = &failed
    else {
        panic!("{failed}")
    };
    assert_eq!(offered, "linux/s390x");
}
