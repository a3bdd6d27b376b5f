//! Layers that attack: each is refused whole, for its own reason, and leaves nothing behind.

use std::fs;
use std::path::Path;

use allod_runtime::image::unpack::Refusal;
use allod_runtime::image::{Digest, LayerRecord, Limits, UnpackError, unpack};

use crate::fixture::{GZIP, PLAIN, Stores, ZSTD, gzip, zstd};
use crate::tar::Header;

mod corpus;
mod naive;
mod records;

use corpus::{Case, tar};
use naive::Sizes;

/// Every attack there is; `outside` is a directory of the host with a file called `secret`.
fn cases(outside: &str) -> Vec<Case> {
    [corpus::cases(outside), records::cases(outside)].concat()
}

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
    assert!(cases.len() >= 140, "{}", cases.len());
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

/// The control of the corpus: what wants out gets out, where a program believes the archive.
#[test]
fn a_program_that_believes_archives_is_lost_to_them() {
    use std::os::unix::fs::symlink;
    let mut survived = Vec::new();
    let count = corpus::ways_out("").len();
    for number in 0..count {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        let root = directory.path().join("a/b/c/root");
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&root).unwrap();
        fs::write(outside.join("secret"), b"secret").unwrap();
        fs::write(root.parent().unwrap().join("secret"), b"secret").unwrap();
        let (what, archive, _) = corpus::ways_out(outside.to_str().unwrap()).swap_remove(number);
        let beyond = || -> Vec<String> {
            let all = everything(directory.path()).into_iter();
            let inside = root.to_str().unwrap().to_owned();
            all.filter(|line| !line.starts_with(&inside)).collect()
        };
        let before = beyond();
        naive::unpack(&archive, &root);
        if beyond() == before {
            survived.push(what);
        }
    }
    assert!(count >= 18, "{count}");
    // It names a directory that is there anyhow.
    assert_eq!(survived, ["climbs as a directory"]);
    // And that the first look is not all: what a link makes of the tree is seen, too.
    let directory = tempfile::tempdir().unwrap();
    symlink("/nowhere", directory.path().join("link")).unwrap();
    assert_eq!(everything(directory.path()).len(), 2);
}

/// The control of the ambiguities: two honest readers see different entries (CVE-2025-62518).
#[test]
fn two_readers_disagree_where_sizes_do() {
    let conflicts = cases("/nowhere").into_iter();
    let conflicts = conflicts.filter(|(_, _, refusal)| *refusal == Refusal::SizeConflict);
    let mut count = 0;
    for (what, archive, _) in conflicts {
        let by_header = naive::names(&archive, Sizes::Header);
        assert_ne!(by_header, naive::names(&archive, Sizes::Pax), "{what}");
        count += 1;
    }
    assert!(count >= 2, "{count}");
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
    // The same as many members of one stream, and as blocks of one repeated byte.
    let head = &bomb[..512];
    let members = [gzip(head), gzip(&zeros[..1 << 20]).repeat(300)].concat();
    let frames = zstd_bomb(head, 2_400);
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
        (members, &bomb, GZIP, Limits::default(), Refusal::Bomb),
        (frames, &bomb, ZSTD, Limits::default(), Refusal::Bomb),
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

/// A stream of zstd, written byte by byte: `head` as it is, then blocks of 128 KiB zeros, each of
/// which takes four bytes.
fn zstd_bomb(head: &[u8], blocks: usize) -> Vec<u8> {
    let window = 7 << 3;
    let mut stream = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
    let block = |kind: u32, size: u32, is_last: u32| {
        let header = is_last | kind << 1 | size << 3;
        header.to_le_bytes()[..3].to_vec()
    };
    stream.extend(block(0, u32::try_from(head.len()).unwrap(), 0));
    stream.extend_from_slice(head);
    for number in 1..=blocks {
        stream.extend(block(1, 128 * 1024, u32::from(number == blocks)));
        stream.push(0);
    }
    stream
}

/// Rights that a file of an image brings count inside its container: on the host, nobody but root
/// gets as far as the file.
#[test]
fn a_program_that_gives_rights_is_out_of_reach_on_the_host() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let stores = Stores::new();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(stores.directory.path(), open.clone()).unwrap();
    let mut header = Header::new("su", b'0', 1);
    let archive = tar().entry(header.mode(0o4755), b"x").end();
    let (tree, _) = stores.unpack(&archive).unwrap();
    let file = tree.join("su");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o4755);
    let reaches = || {
        let mut command = std::process::Command::new("cat");
        command.arg(&file).uid(64_998).gid(64_998);
        command.output().unwrap().status.success()
    };
    assert!(!reaches());
    // With every directory on the way open, it is there for all.
    for directory in file.ancestors().skip(1) {
        if directory.starts_with(stores.directory.path()) {
            fs::set_permissions(directory, open.clone()).unwrap();
        }
    }
    assert!(reaches());
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
        // A window of two terabytes.
        b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00".to_vec(),
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
