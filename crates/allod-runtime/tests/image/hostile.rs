//! Layers that attack: each is refused whole, for its own reason, and leaves nothing behind.

use std::fs;
use std::path::Path;

use allod_runtime::image::unpack::Refusal;
use allod_runtime::image::{Digest, LayerRecord, Limits, UnpackError, unpack};

use crate::fixture::{GZIP, PLAIN, Stores, ZSTD, gzip, zstd};
use crate::tar::Header;

mod corpus;

use corpus::{cases, tar};

/// Every file below a directory with its size, links and mode; what an attack would change.
fn everything(directory: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            seen.push(path.display().to_string());
        } else {
            let (size, links, mode) = (metadata.len(), metadata.nlink(), metadata.mode());
            seen.push(format!("{} {size} {links} {mode:o}", path.display()));
        }
    }
    seen.sort();
    seen
}

#[test]
fn hostile_layers_are_refused_whole() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    let name = outside.path().to_str().unwrap();
    let cases = cases(name);
    assert!(cases.len() >= 80, "{}", cases.len());
    for (what, archive, expected) in cases {
        let stores = Stores::new();
        // A good entry first: it has to go again.
        let archive = [tar().file("good", b"good").0, archive].concat();
        stores.blobs.put(&archive).unwrap();
        stores.layers.in_use().unwrap();
        let before = (
            everything(stores.directory.path()),
            everything(outside.path()),
        );
        match stores.unpack(&archive) {
            Err(UnpackError::Refused { refusal, .. }) => assert_eq!(refusal, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        let after = (
            everything(stores.directory.path()),
            everything(outside.path()),
        );
        assert_eq!(before, after, "{what}");
    }
}

#[test]
fn a_refusal_names_the_entry() {
    let archive = tar()
        .file("good", b"x")
        .file("etc/../../\u{1b}[2J", b"x")
        .end();
    let error = Stores::new().unpack(&archive).unwrap_err();
    let UnpackError::Refused {
        number: 2, entry, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(entry, "etc/../../\\x1b[2J");
    assert!(error.to_string().contains("climbs out"), "{error}");
}

#[test]
fn limits_stop_floods_and_bombs() {
    let zeros = vec![0; 300 << 20];
    let mut bomb = tar()
        .entry(&Header::new("f", b'0', zeros.len() as u64), b"")
        .0;
    bomb.extend_from_slice(&zeros);
    let bomb = tar().raw(&bomb).end();
    let many = (0..100)
        .fold(tar(), |tar, number| tar.dir(&number.to_string()))
        .end();
    let few = Limits {
        entries_max: 99,
        ..Limits::default()
    };
    let small = Limits {
        unpacked_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let stingy = Limits {
        layer_bytes_max: 100,
        ..Limits::default()
    };
    for (blob, archive, media_type, limits, expected) in [
        (gzip(&bomb), &bomb, GZIP, Limits::default(), Refusal::Bomb),
        (gzip(&bomb), &bomb, GZIP, small, Refusal::TooManyBytes),
        (many.clone(), &many, PLAIN, few, Refusal::TooManyEntries),
        (many.clone(), &many, PLAIN, stingy, Refusal::TooManyBytes),
    ] {
        let stores = Stores::new();
        match stores.unpack_blob(&blob, archive, media_type, &limits) {
            Err(UnpackError::Refused { refusal, .. }) => assert_eq!(refusal, expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert!(stores.layer_names().is_empty());
    }
}

#[test]
fn damaged_streams_are_told_from_hostile_ones() {
    let archive = tar().file("a", &[3; 50_000]).end();
    let (gz, zst) = (gzip(&archive), zstd(&archive));
    for blob in [
        gz[..gz.len() - 4].to_vec(),
        gz[..gz.len() / 2].to_vec(),
        [&gz[..], b"garbage"].concat(),
        zst[..zst.len() - 1].to_vec(),
        [&zst[..], b"garbage"].concat(),
        b"\x50\x2a\x4d\x18\xff\xff\xff\x7f".to_vec(),
    ] {
        let stores = Stores::new();
        let failed = stores
            .unpack_blob(&blob, &archive, ZSTD, &Limits::default())
            .unwrap_err();
        assert!(matches!(failed, UnpackError::Damaged { .. }), "{failed}");
        assert!(stores.layer_names().is_empty());
    }
}

#[test]
fn both_digests_are_judged() {
    let stores = Stores::new();
    let archive = tar().file("a", b"a").end();
    let blob = gzip(&archive);
    let digest = stores.blobs.put(&blob).unwrap();
    let good = LayerRecord {
        digest,
        diff_id: Digest::of(&archive),
        media_type: GZIP.to_owned(),
        size: blob.len() as u64,
    };
    let open = || stores.blobs.open_blob(digest).unwrap();
    let unpack =
        |layer: &LayerRecord| unpack::layer(open(), layer, &stores.layers, &Limits::default());
    let other = Digest::of(b"other");
    let failed = unpack(&LayerRecord {
        digest: other,
        ..good.clone()
    })
    .unwrap_err();
    assert!(matches!(failed, UnpackError::BadDigest { .. }), "{failed}");
    let failed = unpack(&LayerRecord {
        diff_id: other,
        ..good.clone()
    })
    .unwrap_err();
    assert!(matches!(failed, UnpackError::BadDiffId { .. }), "{failed}");
    let foreign = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".to_owned();
    let failed = unpack(&LayerRecord {
        media_type: foreign,
        ..good.clone()
    })
    .unwrap_err();
    assert!(
        matches!(failed, UnpackError::Unsupported { .. }),
        "{failed}"
    );
    assert!(stores.layer_names().is_empty());
    let stats = unpack(&good).unwrap();
    assert_eq!(unpack(&good).unwrap(), stats);
}
