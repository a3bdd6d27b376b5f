//! Registries that are not this machine: over TLS, in a network namespace of the test's own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use allod_runtime::image::{Credentials, ImageRecord, Limits, PullError, Puller, Reference};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::faults::Image;
use crate::fixture::{Stores, block_on, limits};
use crate::server::{Answer, Server};

const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";

/// Runs the named test again inside a new network namespace; true when already there.
fn is_inside(test: &str) -> bool {
    const INSIDE: &str = "ALLOD_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        for command in [
            "link set lo up",
            "addr add 10.77.0.1/32 dev lo",
            "addr add 10.77.0.2/32 dev lo",
        ] {
            let done = Command::new("ip").args(command.split(' ')).status();
            assert!(done.unwrap().success(), "ip {command}");
        }
        return true;
    }
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
    false
}

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A certificate authority that exists for one test.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key";
        openssl(
            directory.path(),
            &format!("req -x509 {key} -out ca.pem -subj /CN=ca -days 2"),
        );
        Self(directory)
    }

    fn pem(&self) -> Vec<u8> {
        std::fs::read(self.0.path().join("ca.pem")).unwrap()
    }

    /// The TLS configuration of a server at this address.
    fn certify(&self, ip: &str) -> Arc<ServerConfig> {
        let directory = self.0.path();
        let key =
            format!("-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {ip}.key");
        openssl(
            directory,
            &format!("req {key} -out {ip}.csr -subj /CN=registry"),
        );
        std::fs::write(directory.join("names"), format!("subjectAltName=IP:{ip}")).unwrap();
        openssl(
            directory,
            &format!(
                "x509 -req -in {ip}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out {ip}.pem"
            ),
        );
        let certificate =
            CertificateDer::from_pem_file(directory.join(format!("{ip}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.join(format!("{ip}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Arc::new(config)
    }
}

struct Client {
    pem: Vec<u8>,
    limits: Limits,
}

impl Client {
    fn new(authority: &Authority) -> Self {
        let limits = Limits {
            private_registries: true,
            attempts: 1,
            ..limits()
        };
        Self {
            pem: authority.pem(),
            limits,
        }
    }

    fn pull(&self, reference: &Reference) -> Result<ImageRecord, PullError> {
        let stores = Stores::new();
        let puller =
            Puller::with_authorities(stores.blobs.clone(), self.limits.clone(), &self.pem).unwrap();
        let credentials = Credentials::new("allod", "pass");
        block_on(puller.pull(reference, Some(&credentials), None))
    }
}

#[test]
fn certificates_are_checked() {
    if !is_inside("tls::certificates_are_checked") {
        return;
    }
    let (authority, stranger, image) = (Authority::new(), Authority::new(), Image::new());
    let honest = image.clone();
    let server = Server::start_at(NEAR, Some(authority.certify(NEAR)), move |request| {
        honest.answer(request)
    });
    let client = Client::new(&authority);
    client.pull(&server.reference()).unwrap();

    let untrusting = Client {
        pem: stranger.pem(),
        ..Client::new(&authority)
    };
    let failed = untrusting.pull(&server.reference()).unwrap_err();
    assert!(failed.to_string().contains("certificate"), "{failed}");
    assert!(matches!(failed, PullError::Unreachable { .. }), "{failed}");

    let misplaced = Server::start_at(FAR, Some(authority.certify(NEAR)), move |request| {
        image.answer(request)
    });
    let failed = client.pull(&misplaced.reference()).unwrap_err();
    assert!(failed.to_string().contains("certificate"), "{failed}");

    let mut closed = Client::new(&authority);
    closed.limits.private_registries = false;
    let failed = closed.pull(&server.reference()).unwrap_err();
    assert!(
        matches!(failed, PullError::AddressRefused { .. }),
        "{failed}"
    );

    let plain = Server::start_at(NEAR, None, |_| Answer::ok(b""));
    let failed = client.pull(&plain.reference()).unwrap_err();
    assert!(matches!(failed, PullError::Unreachable { .. }), "{failed}");
    assert!(plain.requests().is_empty(), "nothing is said in the clear");
}

#[test]
fn another_host_never_sees_the_password() {
    if !is_inside("tls::another_host_never_sees_the_password") {
        return;
    }
    let (authority, image) = (Authority::new(), Image::new());
    let layer = image.layer.clone();
    let far = Server::start_at(FAR, Some(authority.certify(FAR)), move |_| {
        Answer::ok(&layer)
    });
    let target = format!("https://{}/signed?key=1", far.address);
    let near = Server::start_at(
        NEAR,
        Some(authority.certify(NEAR)),
        move |request| match request.header("authorization") {
            None => Answer::new(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
            Some(_) if request.path == image.layer_path() => Answer::redirect(&target),
            Some(_) => image.answer(request),
        },
    );
    Client::new(&authority).pull(&near.reference()).unwrap();
    let shown = near
        .requests()
        .into_iter()
        .filter_map(|request| request.header("authorization").map(str::to_owned));
    // allod:pass
    assert!(
        shown.clone().count() > 2 && shown.clone().all(|value| value == "Basic YWxsb2Q6cGFzcw==")
    );
    let requests = far.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
}

#[test]
fn a_remote_registry_cannot_redirect_home_or_into_the_clear() {
    if !is_inside("tls::a_remote_registry_cannot_redirect_home_or_into_the_clear") {
        return;
    }
    let (authority, image) = (Authority::new(), Image::new());
    let home = Server::start(|_| Answer::ok(b"secret"));
    let clear = Server::start_at(FAR, None, |_| Answer::ok(b"secret"));
    let tls = authority.certify(NEAR);
    for target in [
        format!("http://{}/x", home.address),
        format!("https://{}/x", home.address),
        format!("http://{}/x", clear.address),
        "https://169.254.169.254/x".to_owned(),
    ] {
        let (to, image) = (target.clone(), image.clone());
        let near = Server::start_at(NEAR, Some(Arc::clone(&tls)), move |request| {
            if request.path == image.layer_path() {
                Answer::redirect(&to)
            } else {
                image.answer(request)
            }
        });
        let failed = Client::new(&authority).pull(&near.reference()).unwrap_err();
        assert!(
            matches!(failed, PullError::RedirectRefused { .. }),
            "{target}: {failed}"
        );
    }
    assert!(home.requests().is_empty() && clear.requests().is_empty());
}
