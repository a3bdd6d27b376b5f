//! Odd layers that real builders write, and that must unpack.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use allod_runtime::image::Limits;

use crate::fixture::{GZIP, Stores, ZSTD, gzip, zstd};
use crate::tar::{Header, Tar};

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn long_names_in_every_dialect() {
    let stores = Stores::new();
    let (pax, gnu) = ("p".repeat(200), "g".repeat(255));
    let deep = ["d".repeat(200), "e".repeat(200)].join("/");
    let target = "t/".repeat(300);
    let mut prefixed = Header::new("name", b'0', 1);
    prefixed.bytes(345, b"pre/fix");
    let archive = Tar::default()
        .pax(&[
            ("path", pax.as_bytes()),
            ("mtime", b"1.5"),
            ("comment", b"x"),
        ])
        .file("short", b"1")
        .gnu(b'L', &gnu)
        .file("short", b"2")
        .pax(&[("path", deep.as_bytes())])
        .file("short", b"3")
        .gnu(b'K', &target)
        .symlink("link", "short")
        .pax(&[("linkpath", target.as_bytes())])
        .symlink("link2", "short")
        .entry(&prefixed, b"4")
        .end();
    let (tree, stats) = stores.unpack(&archive).unwrap();
    assert_eq!(fs::read(tree.join(&pax)).unwrap(), b"1");
    let metadata = fs::metadata(tree.join(&pax)).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1, 500_000_000));
    assert_eq!(fs::read(tree.join(&gnu)).unwrap(), b"2");
    assert_eq!(fs::read(tree.join(&deep)).unwrap(), b"3");
    assert_eq!(
        fs::read_link(tree.join("link")).unwrap().to_str(),
        Some(target.as_str())
    );
    assert_eq!(
        fs::read_link(tree.join("link2")).unwrap().to_str(),
        Some(target.as_str())
    );
    assert_eq!(fs::read(tree.join("pre/fix/name")).unwrap(), b"4");
    assert_eq!((stats.files, stats.symlinks), (4, 2));
}

#[test]
fn owners_modes_times_and_kinds_are_kept() {
    let stores = Stores::new();
    let mut sticky = Header::new("tmp", b'5', 0);
    sticky.mode(0o1777).owner(0, 12).mtime(77);
    let mut setgid = Header::new("tmp/tool", b'0', 1);
    setgid.mode(0o6711).owner(65_000, 7).mtime(78);
    let mut link = Header::new("tmp/link", b'2', 0);
    link.link("/absolute/../elsewhere").owner(5, 6).mtime(79);
    let mut root = Header::new("./", b'5', 0);
    root.mode(0o711).mtime(76);
    let archive = Tar::default()
        .entry(&root, b"")
        .entry(&sticky, b"")
        .entry(&setgid, b"x")
        .entry(&link, b"")
        .of_type("tmp/pipe", b'6')
        .hard_link("tmp/again", "tmp/tool")
        .hard_link("tmp/link-again", "./tmp/link")
        .end();
    let (tree, stats) = stores.unpack(&archive).unwrap();
    let at = |name: &str| fs::symlink_metadata(tree.join(name)).unwrap();
    let of = |name: &str| {
        (
            at(name).mode() & 0o7777,
            at(name).uid(),
            at(name).gid(),
            at(name).mtime(),
        )
    };
    assert_eq!(of(""), (0o711, 0, 0, 76));
    assert_eq!(of("tmp"), (0o1777, 0, 12, 77));
    assert_eq!(of("tmp/tool"), (0o6711, 65_000, 7, 78));
    assert_eq!(
        (
            at("tmp/link").uid(),
            at("tmp/link").gid(),
            at("tmp/link").mtime()
        ),
        (5, 6, 79)
    );
    assert!(at("tmp/pipe").file_type().is_fifo());
    assert_eq!(at("tmp/again").ino(), at("tmp/tool").ino());
    assert_eq!(at("tmp/link-again").ino(), at("tmp/link").ino());
    assert_eq!((stats.hard_links, stats.highest_id), (2, 65_000));
}

#[test]
fn repeated_entries_follow_the_format() {
    let stores = Stores::new();
    let mut later = Header::new("dir/", b'5', 0);
    later.mode(0o700).mtime(5);
    let archive = Tar::default()
        .dir("dir")
        .file("dir/file", b"first")
        .hard_link("dir/first", "dir/file")
        .symlink("dir/link", "/etc/passwd")
        .entry(&later, b"")
        .file("dir/file", b"second")
        .file("dir/link", b"a file now")
        .file("./dir//./file2", b"tidy")
        .end();
    let (tree, stats) = stores.unpack(&archive).unwrap();
    assert_eq!(fs::read(tree.join("dir/file")).unwrap(), b"second");
    assert_eq!(fs::read(tree.join("dir/first")).unwrap(), b"first");
    assert_eq!(fs::read(tree.join("dir/link")).unwrap(), b"a file now");
    assert_eq!(fs::read(tree.join("dir/file2")).unwrap(), b"tidy");
    let dir = fs::metadata(tree.join("dir")).unwrap();
    assert_eq!((dir.mode() & 0o7777, dir.mtime()), (0o700, 5));
    assert_eq!(stats.replaced, 3);
}

#[test]
fn parents_without_an_entry_are_plain() {
    let stores = Stores::new();
    let (tree, _) = stores
        .unpack(&Tar::default().file("a/b/c", b"x").end())
        .unwrap();
    for name in ["a", "a/b"] {
        let metadata = fs::metadata(tree.join(name)).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.mtime()),
            (0o755, 0, 0)
        );
    }
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    let stores = Stores::new();
    let archive = Tar::default()
        .dir("d")
        .file("d/.wh.gone", b"")
        .file("d/.wh.before", b"")
        .file("d/before", b"stays")
        .file("d/after", b"stays")
        .file("d/.wh.after", b"")
        .file(".wh.was-file", b"")
        .dir("was-file")
        .dir("was-dir")
        .file(".wh.was-dir", b"")
        .file(".wh.implied", b"")
        .file("implied/x", b"x")
        .file("e/.wh..wh..opq", b"")
        .file("e/new", b"new")
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"aufs")
        .end();
    let (tree, stats) = stores.unpack(&archive).unwrap();
    let gone = fs::symlink_metadata(tree.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for name in ["d/before", "d/after"] {
        assert_eq!(fs::read(tree.join(name)).unwrap(), b"stays");
    }
    for name in ["was-file", "was-dir", "implied", "e"] {
        let mark = xattr(&tree.join(name), "trusted.overlay.opaque");
        assert_eq!(mark.as_deref(), Some(b"y".as_slice()), "{name}");
    }
    assert_eq!(xattr(&tree.join("d"), "trusted.overlay.opaque"), None);
    assert!(!tree.join(".wh..wh.plnk").exists());
    assert_eq!(
        (stats.whiteouts, stats.opaque_directories, stats.left_out),
        (6, 1, 2)
    );
}

#[test]
fn overlayfs_obeys_the_marks() {
    let stores = Stores::new();
    let lower = Tar::default()
        .file("d/gone", b"x")
        .file("d/stays", b"x")
        .file("o/old", b"x")
        .end();
    let upper = Tar::default()
        .file("d/.wh.gone", b"")
        .file("o/.wh..wh..opq", b"")
        .end();
    let (lower, _) = stores.unpack(&lower).unwrap();
    let (upper, _) = stores.unpack(&upper).unwrap();
    // In a mount namespace of its own, which goes with the process.
    let script = "mount -t overlay overlay -o lowerdir=\"$2:$1\" \"$3\" && ls \"$3/d\" \"$3/o\"";
    let mount = stores.directory.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([&lower, &upper, &mount])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(
        seen.contains("stays") && !seen.contains("gone") && !seen.contains("old"),
        "{seen}"
    );
}

#[test]
fn attributes_are_kept_or_dropped_by_name() {
    let stores = Stores::new();
    let capability = [&[1, 0, 0, 2, 0, 0x20, 0, 0][..], &[0; 12]].concat();
    let archive = Tar::default()
        .pax(&[
            ("SCHILY.xattr.user.note", b"kept\0too"),
            ("SCHILY.xattr.security.capability", &capability),
            (
                "SCHILY.xattr.security.selinux",
                b"system_u:object_r:bin_t:s0\0",
            ),
        ])
        .file("ping", b"x")
        .pax(&[("SCHILY.xattr.user.note", b"x")])
        .symlink("link", "ping")
        .end();
    let (tree, stats) = stores.unpack(&archive).unwrap();
    assert_eq!(
        xattr(&tree.join("ping"), "user.note").as_deref(),
        Some(b"kept\0too".as_slice())
    );
    assert_eq!(
        xattr(&tree.join("ping"), "security.capability"),
        Some(capability)
    );
    assert_eq!(xattr(&tree.join("ping"), "security.selinux"), None);
    assert_eq!(stats.dropped_xattrs, 2);
}

#[test]
fn every_packing_gives_the_same_tree() {
    let archive = Tar::default()
        .file("a", &[7; 100_000])
        .file("b", b"b")
        .end();
    let (first, second) = archive.split_at(60_000);
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
    let packed = [
        (gzip(&archive), GZIP),
        ([gzip(first), gzip(second)].concat(), GZIP),
        (zstd(&archive), ZSTD),
        (
            [skippable.clone(), zstd(first), skippable, zstd(second)].concat(),
            ZSTD,
        ),
        // The first bytes decide, as they do for every other runtime.
        (archive.clone(), GZIP),
    ];
    for (blob, media_type) in packed {
        let stores = Stores::new();
        let unpacked = stores.unpack_blob(&blob, &archive, media_type, &Limits::default());
        let (diff_id, stats) = unpacked.unwrap();
        let tree = stores.layers.tree(diff_id);
        assert_eq!(fs::read(tree.join("a")).unwrap(), [7; 100_000]);
        assert_eq!(stats.blob_bytes, blob.len() as u64);
        assert_eq!(stats.archive_bytes, archive.len() as u64);
    }
}

#[test]
fn archives_end_in_several_ways() {
    let body = Tar::default().file("a", b"a").0;
    let endings = [
        body.clone(),
        [&body[..], &[0; 512]].concat(),
        [&body[..], &[0; 10_240]].concat(),
    ];
    for archive in endings.into_iter().chain([vec![], vec![0; 1024]]) {
        Stores::new().unpack(&archive).unwrap();
    }
    // `git archive` begins with a comment for everything.
    let global = Tar::default().pax_of_type(b'g', &[("comment", b"0123456789abcdef")]);
    Stores::new().unpack(&global.file("a", b"a").end()).unwrap();
}

#[test]
fn what_gnu_tar_and_python_write_is_read() {
    let stores = Stores::new();
    let work = tempfile::tempdir().unwrap();
    let long = "n".repeat(150);
    fs::create_dir_all(work.path().join("in/dir")).unwrap();
    fs::write(work.path().join("in/dir").join(&long), b"long").unwrap();
    fs::hard_link(
        work.path().join("in/dir").join(&long),
        work.path().join("in/hard"),
    )
    .unwrap();
    let mut file = fs::File::create(work.path().join("in/dir/file")).unwrap();
    file.write_all(&[1; 10_000]).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let out = work.path().join(format!("{format}.tar"));
        let status = std::process::Command::new("tar")
            .args(["--format", format, "--sort=name", "-C"])
            .arg(work.path().join("in"))
            .arg("-cf")
            .arg(&out)
            .arg(".")
            .env("TZ", "UTC")
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        if format == "ustar" {
            // It cannot say a name of 150 bytes; it leaves the file out and says so.
            assert!(!status.success());
        }
        let (tree, stats) = stores.unpack(&fs::read(&out).unwrap()).unwrap();
        assert_eq!(fs::read(tree.join("dir/file")).unwrap(), [1; 10_000]);
        if format != "ustar" {
            assert_eq!(fs::read(tree.join("hard")).unwrap(), b"long");
            assert_eq!(stats.hard_links, 1);
        }
    }
}
