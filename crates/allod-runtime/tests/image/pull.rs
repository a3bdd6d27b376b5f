//! Against Debian's own registry: push with skopeo, pull with ours, unpack, look.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::sync::{Arc, Mutex};

use allod_runtime::image::{
    Credentials, Digest, Limits, Progress, PullError, Reference, StoreError, UnpackError, unpack,
};

use crate::fixture::{Layer, Registry, Stores, block_on, busybox_archive, limits, write_layout};
use crate::tar::{Header, Tar};

fn layers() -> Vec<Layer> {
    let mut setuid = Header::new("bin/su", b'0', 2);
    setuid.mode(0o4755).owner(0, 42).mtime(1_234_567);
    let middle = Tar::default()
        .dir("etc")
        .file("etc/gone", b"x")
        .dir("var")
        .dir("var/old")
        .file("var/old/a", b"a")
        .entry(&setuid, b"su")
        .end();
    let top = Tar::default()
        .dir("etc")
        .file("etc/.wh.gone", b"")
        .file("etc/new", b"new")
        .dir("var/old")
        .file("var/old/.wh..wh..opq", b"")
        .end();
    vec![
        Layer::gzip(busybox_archive()),
        Layer::zstd(middle),
        Layer::plain(top),
    ]
}

fn pushed(registry: &Registry, layers: &[Layer]) -> (Reference, Digest) {
    let layout = tempfile::tempdir().unwrap();
    let digest = write_layout(layout.path(), layers);
    registry.push(layout.path(), "test/busybox:v1");
    (
        format!("{}/test/busybox:v1", registry.address)
            .parse()
            .unwrap(),
        digest,
    )
}

#[test]
fn an_image_comes_from_a_registry_onto_the_disk() {
    let (registry, stores, layers) = (Registry::start(), Stores::new(), layers());
    let (reference, digest) = pushed(&registry, &layers);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let puller = stores.puller();
    let record = block_on(async {
        assert_eq!(puller.resolve(&reference, None).await.unwrap(), digest);
        let listen = Arc::new(move |progress| listener.lock().unwrap().push(progress));
        puller.pull(&reference, None, Some(listen)).await.unwrap()
    });

    assert_eq!(record.manifest_digest, digest);
    assert_eq!(record.config.entrypoint, ["/bin/busybox"]);
    assert_eq!(record.config.cmd, ["true"]);
    assert_eq!(record.config.env, ["PATH=/bin", "A=b"]);
    assert_eq!(record.config.user, "1000:1000");
    assert_eq!(record.config.stop_signal, "SIGQUIT");
    assert!(record.config.volumes.contains("/data"));
    assert_eq!(record.layers.len(), 3);
    let heard = heard.lock().unwrap();
    assert_eq!(heard[0], Progress::Resolved { manifest: digest });
    let missing: u64 = layers.iter().map(|layer| layer.blob.len() as u64).sum();
    assert_eq!(
        heard[1],
        Progress::Planned {
            layers: 3,
            missing_bytes: missing
        }
    );
    for layer in &layers {
        let total_bytes = layer.blob.len() as u64;
        let done = Progress::Layer {
            digest: layer.digest(),
            received_bytes: total_bytes,
            total_bytes,
        };
        assert!(heard.contains(&done), "{done:?}");
    }

    // Root's half, from the manifest digest alone.
    let verified = stores.blobs.verified_record(digest).unwrap();
    assert_eq!(verified, record);
    let unpacked = unpack::image(digest, &stores.blobs, &stores.layers, &Limits::default());
    assert_eq!(unpacked.unwrap(), record);
    assert!(
        record
            .layers
            .iter()
            .all(|layer| stores.layers.has(layer.diff_id))
    );
    let tree = |number: usize| stores.layers.tree(record.layers[number].diff_id);
    let ran = std::process::Command::new(tree(0).join("bin/busybox"))
        .arg("true")
        .status();
    assert!(ran.unwrap().success());
    assert_eq!(fs::metadata(tree(0).join("bin/sh")).unwrap().nlink(), 2);
    let su = fs::metadata(tree(1).join("bin/su")).unwrap();
    assert_eq!(
        (su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()),
        (0o4755, 0, 42, 1_234_567)
    );
    let gone = fs::symlink_metadata(tree(2).join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    let mut mark = [0; 8];
    let old = tree(2).join("var/old");
    let length = rustix::fs::getxattr(&old, "trusted.overlay.opaque", &mut mark).unwrap();
    assert_eq!(&mark[..length], b"y");
    let kept = fs::metadata(stores.directory.path().join("root/layers")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_here_is_not_fetched_again() {
    let (registry, stores, layers) = (Registry::start(), Stores::new(), layers());
    let (reference, digest) = pushed(&registry, &layers);
    let puller = stores.puller();
    block_on(async {
        let record = puller.pull(&reference, None, None).await.unwrap();
        // With its layers gone from the registry, a second pull can only use what is here.
        for layer in &layers {
            fs::remove_file(registry.blob_path(layer.digest())).unwrap();
        }
        assert_eq!(puller.pull(&reference, None, None).await.unwrap(), record);
        drop(registry);
        // A pinned reference needs no registry at all.
        let pinned = reference.pinned(digest);
        assert_eq!(puller.pull(&pinned, None, None).await.unwrap(), record);
        // A tag does.
        let failed = puller.pull(&reference, None, None).await.unwrap_err();
        assert!(matches!(failed, PullError::Unreachable { .. }), "{failed}");
    });
}

#[test]
fn a_broken_download_is_resumed() {
    let (registry, stores) = (Registry::start(), Stores::new());
    let layers = vec![Layer::gzip(busybox_archive())];
    let (reference, _) = pushed(&registry, &layers);
    let partial = stores
        .directory
        .path()
        .join("image/partial")
        .join(layers[0].digest().hex());
    let half = layers[0].blob.len() / 2;
    for begun in [
        &layers[0].blob[..half],
        b"something else entirely",
        &layers[0].blob,
    ] {
        fs::write(&partial, begun).unwrap();
        let record = block_on(stores.puller().pull(&reference, None, None)).unwrap();
        assert!(!partial.exists());
        let blob = stores.blobs.blob_path(record.layers[0].digest);
        assert_eq!(fs::read(&blob).unwrap(), layers[0].blob);
        stores.blobs.discard(record.layers[0].digest).unwrap();
    }
}

#[test]
fn two_pulls_of_one_image_share_the_work() {
    let (registry, stores) = (Registry::start(), Stores::new());
    let (reference, digest) = pushed(&registry, &layers());
    let puller = stores.puller();
    block_on(async {
        let (first, second) = tokio::join!(
            puller.pull(&reference, None, None),
            puller.pull(&reference, None, None)
        );
        assert_eq!(first.unwrap().manifest_digest, digest);
        assert_eq!(second.unwrap().manifest_digest, digest);
    });
    let partial = stores.directory.path().join("image/partial");
    assert_eq!(fs::read_dir(partial).unwrap().count(), 0);
}

#[test]
fn a_flipped_byte_on_the_registrys_disk_is_refused() {
    let (registry, stores) = (Registry::start(), Stores::new());
    let layers = layers();
    let (reference, _) = pushed(&registry, &layers);
    let path = registry.blob_path(layers[1].digest());
    let mut blob = fs::read(&path).unwrap();
    let middle = blob.len() / 2;
    blob[middle] ^= 1;
    fs::write(&path, &blob).unwrap();
    let failed = block_on(stores.puller().pull(&reference, None, None)).unwrap_err();
    let PullError::BadDigest {
        what: "layer",
        expected,
        actual,
        ..
    } = &failed
    else {
        panic!("{failed}")
    };
    assert_eq!(
        (*expected, *actual),
        (layers[1].digest(), Digest::of(&blob))
    );
    assert!(!stores.blobs.has_blob(layers[1].digest()));
    assert!(!stores.blobs.has_blob(Digest::of(&blob)));
}

#[test]
fn root_does_not_trust_what_lies_in_the_store() {
    let (registry, stores, layers) = (Registry::start(), Stores::new(), layers());
    let (reference, digest) = pushed(&registry, &layers);
    let record = block_on(stores.puller().pull(&reference, None, None)).unwrap();
    let layer = &record.layers[0];
    let path = stores.blobs.blob_path(layer.digest);
    let unpack = || {
        unpack::layer(
            stores.blobs.open_blob(layer.digest)?,
            layer,
            &stores.layers,
            &limits(),
        )
    };

    // Another archive under the layer's name.
    fs::write(&path, &layers[1].blob).unwrap();
    let failed = unpack().unwrap_err();
    assert!(matches!(failed, UnpackError::BadDigest { .. }), "{failed}");
    // A symbolic link to something only root can read, and a pipe that would hang it.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &path).unwrap();
    assert!(matches!(
        unpack(),
        Err(UnpackError::Store(StoreError::Io { .. }))
    ));
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(
        unpack(),
        Err(UnpackError::Store(StoreError::Io { .. }))
    ));
    // A manifest whose bytes are not what its digest says.
    let manifest = stores.blobs.blob_path(digest);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text} ")).unwrap();
    let failed = stores.blobs.verified_record(digest).unwrap_err();
    assert!(matches!(failed, StoreError::BadDigest { .. }), "{failed}");
    assert!(stores.layer_names().is_empty());
}

#[test]
fn a_password_opens_a_closed_registry() {
    let (registry, stores) = (Registry::start_with_password(), Stores::new());
    let layout = tempfile::tempdir().unwrap();
    let digest = write_layout(layout.path(), &layers());
    registry.push_with(
        layout.path(),
        "closed:v1",
        &["--dest-creds", "allod:correct horse"],
    );
    let reference: Reference = format!("{}/closed:v1", registry.address).parse().unwrap();
    let puller = stores.puller();
    block_on(async {
        let right = Credentials::new("allod", "correct horse");
        let wrong = Credentials::new("allod", "battery staple");
        let failed = puller.resolve(&reference, None).await.unwrap_err();
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
        assert!(
            failed
                .to_string()
                .contains("allod registry login 127.0.0.1"),
            "{failed}"
        );
        let failed = puller.resolve(&reference, Some(&wrong)).await.unwrap_err();
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
        assert!(!failed.to_string().contains("staple"));
        assert_eq!(
            puller.resolve(&reference, Some(&right)).await.unwrap(),
            digest
        );
        puller.pull(&reference, Some(&right), None).await.unwrap();
    });
}

#[test]
fn what_a_registry_does_not_have_is_said_so() {
    let (registry, stores) = (Registry::start(), Stores::new());
    pushed(&registry, &layers());
    for name in ["test/busybox:v2", "nothing"] {
        let reference: Reference = format!("{}/{name}", registry.address).parse().unwrap();
        let failed = block_on(stores.puller().resolve(&reference, None)).unwrap_err();
        assert!(matches!(failed, PullError::NotFound { .. }), "{failed}");
        assert!(
            failed.to_string().contains(&reference.to_string()),
            "{failed}"
        );
    }
}
