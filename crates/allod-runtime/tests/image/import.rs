//! Image files by skopeo, and by nobody honest.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use allod_runtime::image::import::{self, Imported};
use allod_runtime::image::unpack::Refusal;
use allod_runtime::image::{Digest, ImportError, Limits, RecordError, unpack};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{
    Layer, Stores, busybox_archive, documents, gzip, host_architecture, skopeo, write_layout, zstd,
};
use crate::tar::Tar;

fn layers() -> Vec<Layer> {
    let top = Tar::default().dir("etc").file("etc/name", b"allod").end();
    vec![Layer::gzip(busybox_archive()), Layer::gzip(top)]
}

/// A layout, and the file skopeo makes of it.
fn exported(format: &str) -> (TempDir, PathBuf, Digest) {
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("layout");
    let digest = write_layout(&layout, &layers());
    let file = work.path().join("image.tar");
    let from = format!("oci:{}:latest", layout.display());
    skopeo(&[
        "copy",
        "-q",
        &from,
        &format!("{format}:{}:test/busybox:v1", file.display()),
    ]);
    (work, file, digest)
}

fn take(stores: &Stores, file: &Path) -> Result<Vec<Imported>, ImportError> {
    import::archive(File::open(file).unwrap(), &stores.blobs, &Limits::default())
}

fn take_bytes(bytes: &[u8]) -> Result<Vec<Imported>, ImportError> {
    let stores = Stores::new();
    let file = stores.directory.path().join("image.tar");
    fs::write(&file, bytes).unwrap();
    let taken = take(&stores, &file);
    let left = fs::read_dir(stores.directory.path().join("image/partial"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "nothing unfinished stays");
    taken
}

fn only(mut imported: Vec<Imported>) -> Imported {
    assert_eq!(imported.len(), 1);
    imported.remove(0)
}

fn check_unpacks(stores: &Stores, imported: &Imported) {
    let record = stores
        .blobs
        .verified_record(imported.record.manifest_digest)
        .unwrap();
    assert_eq!(record, imported.record);
    for layer in &record.layers {
        let blob = stores.blobs.open_blob(layer.digest).unwrap();
        unpack::layer(blob, layer, &stores.layers, &Limits::default()).unwrap();
    }
    let top = stores.layers.tree(record.layers[1].diff_id);
    assert_eq!(fs::read(top.join("etc/name")).unwrap(), b"allod");
}

#[test]
fn an_oci_archive_keeps_its_digest() {
    let (_work, file, digest) = exported("oci-archive");
    let stores = Stores::new();
    let imported = only(take(&stores, &file).unwrap());
    assert_eq!(imported.record.manifest_digest, digest);
    assert_eq!(imported.names, ["test/busybox:v1"]);
    assert_eq!(imported.record.config.cmd, ["true"]);
    check_unpacks(&stores, &imported);
}

#[test]
fn a_docker_archive_gets_a_digest_of_its_own() {
    let (_work, file, digest) = exported("docker-archive");
    let stores = Stores::new();
    let imported = only(take(&stores, &file).unwrap());
    assert_ne!(imported.record.manifest_digest, digest);
    assert_eq!(imported.names, ["docker.io/test/busybox:v1"]);
    assert_eq!(imported.record.config.entrypoint, ["/bin/busybox"]);
    check_unpacks(&stores, &imported);
    // The digest is a function of the contents: packed differently, elsewhere, it is the same.
    let bytes = fs::read(&file).unwrap();
    for packed in [gzip(&bytes), zstd(&bytes)] {
        let again = only(take_bytes(&packed).unwrap());
        assert_eq!(again.record, imported.record);
    }
}

/// What the oldest `docker save` wrote: a directory for each layer, repeated layers as links.
#[test]
fn an_archive_with_linked_layers_is_read() {
    let layer = Tar::default().file("a", b"a").end();
    let twice = [Layer::plain(layer.clone()), Layer::plain(layer.clone())];
    let (config, _) = documents(&twice, host_architecture());
    let manifest = json!([{
        "Config": "config.json", "RepoTags": null, "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    let archive = Tar::default()
        .dir("one")
        .file("one/layer.tar", &layer)
        .dir("two")
        .symlink("two/layer.tar", "../one/layer.tar")
        .file("config.json", &config)
        .file("manifest.json", manifest.to_string().as_bytes())
        .end();
    let imported = only(take_bytes(&archive).unwrap());
    assert_eq!(imported.names, Vec::<String>::new());
    assert_eq!(imported.record.layers.len(), 2);
    assert_eq!(imported.record.layers[0], imported.record.layers[1]);
    assert_eq!(imported.record.layers[0].digest, Digest::of(&layer));
    let expected = json!({
        "schemaVersion": 2, "config": {"digest": Digest::of(&config)},
    });
    assert_eq!(
        imported.record.config_digest.to_string(),
        expected["config"]["digest"]
    );
}

#[test]
fn several_images_in_one_file_are_all_taken() {
    let layer = Layer::plain(Tar::default().file("a", b"a").end());
    let blob = layer.blob.clone();
    let (config, _) = documents(&[layer], host_architecture());
    let image = |name: &str| json!({"Config": "c.json", "RepoTags": [name], "Layers": ["l.tar"]});
    let archive = Tar::default()
        .file(
            "manifest.json",
            json!([image("a:1"), image("b:2")]).to_string().as_bytes(),
        )
        .file("c.json", &config)
        .file("l.tar", &blob)
        .end();
    let names: Vec<_> = take_bytes(&archive)
        .unwrap()
        .into_iter()
        .flat_map(|image| image.names)
        .collect();
    assert_eq!(names, ["a:1", "b:2"]);
}

#[test]
fn files_that_are_no_images_are_told_apart() {
    let failed = take_bytes(&Tar::default().file("readme", b"hello").end()).unwrap_err();
    assert!(matches!(failed, ImportError::NotAnImage), "{failed}");
    let failed = take_bytes(b"not a tar file, whatever its name says").unwrap_err();
    assert!(
        matches!(
            failed,
            ImportError::Refused {
                refusal: Refusal::Truncated,
                ..
            }
        ),
        "{failed}"
    );
    let failed = take_bytes(&vec![b'x'; 2048]).unwrap_err();
    assert!(
        matches!(
            failed,
            ImportError::Refused {
                refusal: Refusal::BadChecksum,
                ..
            }
        ),
        "{failed}"
    );
    let manifest = json!([{"Config": "c.json", "RepoTags": [], "Layers": ["l.tar"]}]).to_string();
    let archive = Tar::default()
        .file("manifest.json", manifest.as_bytes())
        .end();
    let failed = take_bytes(&archive).unwrap_err();
    assert!(
        matches!(&failed, ImportError::Missing { what } if what == "c.json"),
        "{failed}"
    );
    let truncated = gzip(&archive);
    let failed = take_bytes(&truncated[..truncated.len() - 9]).unwrap_err();
    assert!(matches!(failed, ImportError::Damaged(_)), "{failed}");
}

#[test]
fn hostile_image_files_are_refused() {
    let manifest = json!([{"Config": "link", "RepoTags": [], "Layers": ["link"]}]).to_string();
    let with = |tar: Tar| tar.file("manifest.json", manifest.as_bytes()).end();
    for (archive, expected) in [
        (
            with(Tar::default().symlink("link", "/etc/shadow")),
            Refusal::BadSymlink,
        ),
        (
            with(Tar::default().symlink("link", "../../etc/shadow")),
            Refusal::BadSymlink,
        ),
        (
            with(Tar::default().hard_link("link", "../etc/shadow")),
            Refusal::LinkOutside,
        ),
        (
            with(Tar::default().file("../link", b"x")),
            Refusal::ParentPath,
        ),
        (
            with(Tar::default().of_type("link", b'6')),
            Refusal::UnknownType,
        ),
        (
            with(Tar::default().file("manifest.json", b"[]")),
            Refusal::ContradictoryRecords,
        ),
        (
            with((0..4100).fold(Tar::default(), |tar, n| tar.dir(&n.to_string()))),
            Refusal::TooManyEntries,
        ),
    ] {
        match take_bytes(&archive) {
            Err(ImportError::Refused { refusal, .. }) => assert_eq!(refusal, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    // Links that lead in a circle end.
    let circle = with(
        Tar::default()
            .symlink("link", "other")
            .symlink("other", "link"),
    );
    assert!(matches!(
        take_bytes(&circle),
        Err(ImportError::Missing { .. })
    ));
}

#[test]
fn an_oci_archive_with_a_damaged_part_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let layers = layers();
    let digest = write_layout(work.path(), &layers);
    let path = |digest: Digest| work.path().join("blobs/sha256").join(digest.hex());
    let pack = || {
        let file = tempfile::NamedTempFile::new().unwrap();
        let status = std::process::Command::new("tar")
            .arg("-C")
            .arg(work.path())
            .arg("-cf")
            .arg(file.path())
            .arg(".")
            .status();
        assert!(status.unwrap().success());
        fs::read(file.path()).unwrap()
    };
    take_bytes(&pack()).unwrap();
    let mut layer = File::options()
        .append(true)
        .open(path(layers[1].digest()))
        .unwrap();
    layer.write_all(b"x").unwrap();
    let failed = take_bytes(&pack()).unwrap_err();
    assert!(matches!(failed, ImportError::Missing { .. }), "{failed}");
    let manifest = fs::read_to_string(path(digest)).unwrap();
    fs::write(path(digest), manifest + " ").unwrap();
    let failed = take_bytes(&pack()).unwrap_err();
    assert!(matches!(failed, ImportError::BadDigest { .. }), "{failed}");
}

#[test]
fn an_archive_for_another_machine_says_so() {
    let layer = Layer::plain(Tar::default().file("a", b"a").end());
    let blob = layer.blob.clone();
    let (config, _) = documents(&[layer], "s390x");
    let manifest = json!([{"Config": "c.json", "RepoTags": [], "Layers": ["l.tar"]}]).to_string();
    let archive = Tar::default()
        .file("manifest.json", manifest.as_bytes())
        .file("c.json", &config)
        .file("l.tar", &blob)
        .end();
    let failed = take_bytes(&archive).unwrap_err();
    let text = format!("{:?}", failed);
    assert!(text.contains("linux/s390x"), "{text}");
    assert!(
        matches!(
            failed,
            ImportError::Unusable(RecordError::NoPlatform { .. })
                | ImportError::Store(allod_runtime::image::StoreError::Record(
                    RecordError::NoPlatform { .. }
                ))
        ),
        "{text}"
    );
}
