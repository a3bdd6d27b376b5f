//! What the tests stand on: a store, an image made on the spot, a registry, and `skopeo`.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use allod_runtime::image::{
    BlobStore, Digest, LayerRecord, LayerStats, LayerStore, Limits, Puller, UnpackError, unpack,
};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Both halves of an image store in a directory of their own.
pub(crate) struct Stores {
    pub(crate) directory: TempDir,
    pub(crate) blobs: BlobStore,
    pub(crate) layers: LayerStore,
}

impl Stores {
    pub(crate) fn new() -> Self {
        Self::on(&std::env::temp_dir())
    }

    /// Both below a directory of `disk`.
    pub(crate) fn on(disk: &Path) -> Self {
        let directory = tempfile::tempdir_in(disk).unwrap();
        let blobs = BlobStore::open(&directory.path().join("image")).unwrap();
        let layers = LayerStore::open(&directory.path().join("root")).unwrap();
        Self {
            directory,
            blobs,
            layers,
        }
    }

    pub(crate) fn puller(&self) -> Puller {
        Puller::new(self.blobs.clone(), limits())
    }

    /// Stores `blob` as a layer whose archive is `archive`, and unpacks it.
    pub(crate) fn unpack_blob(
        &self,
        blob: &[u8],
        archive: &[u8],
        media_type: &str,
        limits: &Limits,
    ) -> Result<(Digest, LayerStats), UnpackError> {
        let digest = self.blobs.put(blob).unwrap();
        let layer = LayerRecord {
            digest,
            diff_id: Digest::of(archive),
            media_type: media_type.to_owned(),
            size: blob.len() as u64,
        };
        let blob = self.blobs.open_blob(digest).unwrap();
        unpack::layer(blob, &layer, &self.layers, limits).map(|stats| (layer.diff_id, stats))
    }

    pub(crate) fn unpack(&self, archive: &[u8]) -> Result<(PathBuf, LayerStats), UnpackError> {
        let unpacked = self.unpack_blob(archive, archive, PLAIN, &Limits::default());
        unpacked.map(|(diff_id, stats)| (self.layers.tree(diff_id), stats))
    }

    /// Names in root's half of the store, without its lock.
    pub(crate) fn layer_names(&self) -> Vec<String> {
        let directory = self.directory.path().join("root/layers");
        let names = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.into_string().unwrap())
            .filter(|name| name != "lock")
            .collect()
    }
}

/// Limits under which a test that waits does not wait long.
pub(crate) fn limits() -> Limits {
    Limits {
        attempts: 3,
        backoff: Duration::from_millis(10),
        backoff_max: Duration::from_secs(3),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        pull_timeout: Duration::from_secs(60),
        ..Limits::default()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// One layer of an image to be made.
pub(crate) struct Layer {
    pub(crate) archive: Vec<u8>,
    pub(crate) blob: Vec<u8>,
    pub(crate) media_type: &'static str,
}

impl Layer {
    pub(crate) fn gzip(archive: Vec<u8>) -> Self {
        Self {
            blob: gzip(&archive),
            archive,
            media_type: GZIP,
        }
    }

    pub(crate) fn zstd(archive: Vec<u8>) -> Self {
        Self {
            blob: zstd(&archive),
            archive,
            media_type: ZSTD,
        }
    }

    pub(crate) fn plain(archive: Vec<u8>) -> Self {
        Self {
            blob: archive.clone(),
            archive,
            media_type: PLAIN,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }

    pub(crate) fn diff_id(&self) -> Digest {
        Digest::of(&self.archive)
    }
}

pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The documents of an image: configuration and manifest.
pub(crate) fn documents(layers: &[Layer], architecture: &str) -> (Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| layer.diff_id().to_string())
        .collect();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {
            "Entrypoint": ["/bin/busybox"], "Cmd": ["true"], "Env": ["PATH=/bin", "A=b"],
            "User": "1000:1000", "WorkingDir": "/home", "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT", "Labels": {"maker": "test"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| blob(layer.media_type, &layer.blob))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers,
    });
    (config, serde_json::to_vec(&manifest).unwrap())
}

/// Writes an image as an OCI layout directory; gives the digest of its manifest.
pub(crate) fn write_layout(directory: &Path, layers: &[Layer]) -> Digest {
    let (config, manifest) = documents(layers, host_architecture());
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let write = |bytes: &[u8]| fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
    write(&config);
    write(&manifest);
    layers.iter().for_each(|layer| write(&layer.blob));
    fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": Digest::of(&manifest), "size": manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }]});
    fs::write(
        directory.join("index.json"),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
    Digest::of(&manifest)
}

/// The static busybox of this machine, as the archive of a layer.
pub(crate) fn busybox_archive() -> Vec<u8> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"];
    let busybox = busybox
        .iter()
        .find_map(|path| fs::read(path).ok())
        .expect("busybox-static");
    let mut header = crate::tar::Header::new("bin/busybox", b'0', busybox.len() as u64);
    header.mode(0o755);
    let tar = crate::tar::Tar::default()
        .dir("bin")
        .entry(&header, &busybox);
    tar.hard_link("bin/sh", "bin/busybox").dir("home").end()
}

pub(crate) fn skopeo(arguments: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy"])
        .args(arguments)
        .output()
        .expect("skopeo is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `allod` with the password `correct horse`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "allod:$2y$05$KiHnCR/3jVi74vkMCJnqieVNKP05U3tHMS97Hk0EUGZGYqeD8niM2\n";

/// Where `tests/setup.sh` unpacks the registry, unless it is installed.
fn registry_program() -> PathBuf {
    let fixtures = std::env::var_os("ALLOD_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"),
        PathBuf::from,
    );
    let unpacked = fixtures.join("tools/usr/bin/docker-registry");
    if unpacked.is_file() {
        unpacked
    } else {
        "docker-registry".into()
    }
}

/// Debian's registry on a free port, with its files in a directory of its own.
pub(crate) struct Registry {
    process: Child,
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// A registry that only serves `allod` with the password `correct horse`.
    pub(crate) fn start_with_password() -> Self {
        Self::start_with("auth:\n  htpasswd:\n    realm: test\n    path: @/htpasswd\n")
    }

    fn start_with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        // The port could be taken between the two binds; then another one is tried.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    \
                 rootdirectory: {root}/data\n  delete:\n    enabled: true\n\
                 http:\n  addr: {address}\n{}",
                more.replace('@', root)
            );
            let path = directory.path().join("config.yml");
            fs::write(&path, config).unwrap();
            let log = File::create(directory.path().join("log")).unwrap();
            let mut process = Command::new(registry_program())
                .arg("serve")
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("docker-registry is installed");
            if answers(address, &mut process) {
                return Self {
                    process,
                    directory,
                    address,
                };
            }
            let _ = process.kill();
            process.wait().unwrap();
        }
        panic!("the registry does not start: see its log in {root}");
    }

    /// Pushes an OCI layout directory as `name`.
    pub(crate) fn push(&self, layout: &Path, name: &str) {
        self.push_with(layout, name, &[]);
    }

    pub(crate) fn push_with(&self, layout: &Path, name: &str, more: &[&str]) {
        let from = format!("oci:{}:latest", layout.display());
        let to = format!("docker://{}/{name}", self.address);
        let fixed = ["copy", "--preserve-digests", "--dest-tls-verify=false"];
        skopeo(&[&fixed, more, &[&from, &to]].concat());
    }

    /// Where the registry keeps a blob.
    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self
            .directory
            .path()
            .join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn answers(address: SocketAddr, process: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
        if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Runs async code to its end, as the network process would.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}
