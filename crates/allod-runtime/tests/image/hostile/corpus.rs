//! The attacks: what each does, its bytes, and the rule it has to be refused by.

#![expect(clippy::too_many_lines, reason = "these are tables")]

use allod_runtime::image::unpack::Refusal;

use crate::tar::{Header, Tar, record};

pub(super) type Case = (&'static str, Vec<u8>, Refusal);

pub(super) fn tar() -> Tar {
    Tar::default()
}

/// Every attack; `outside` is a directory of the host with a file called `secret`.
pub(super) fn cases(outside: &str) -> Vec<Case> {
    let families = [
        escapes(outside),
        links(outside),
        kinds(),
        ambiguities(),
        headers(),
    ];
    families.into_iter().flatten().collect()
}

/// Those of them that want to change something outside.
pub(super) fn ways_out(outside: &str) -> Vec<Case> {
    let mut cases = escapes(outside);
    cases.extend(links(outside).into_iter().take(3));
    cases
}

/// Paths that want out of the layer.
fn escapes(outside: &str) -> Vec<Case> {
    let absolute = format!("{outside}/pwned");
    vec![
        (
            "climbs",
            tar().file("../pwned", b"x").end(),
            Refusal::ParentPath,
        ),
        (
            "climbs inside",
            tar().file("a/../../pwned", b"x").end(),
            Refusal::ParentPath,
        ),
        (
            "climbs as a directory",
            tar().dir("a/..").end(),
            Refusal::ParentPath,
        ),
        (
            "is absolute",
            tar().file(&absolute, b"x").end(),
            Refusal::AbsolutePath,
        ),
        (
            "is absolute in PAX",
            tar()
                .pax(&[("path", absolute.as_bytes())])
                .file("good", b"x")
                .end(),
            Refusal::AbsolutePath,
        ),
        (
            "climbs in PAX",
            tar().pax(&[("path", b"../pwned")]).file("good", b"x").end(),
            Refusal::ParentPath,
        ),
        (
            "climbs in GNU",
            tar().gnu(b'L', "../pwned").file("x", b"x").end(),
            Refusal::ParentPath,
        ),
        (
            "climbs in the ustar prefix",
            tar()
                .entry(Header::new("pwned", b'0', 1).bytes(345, b".."), b"x")
                .end(),
            Refusal::ParentPath,
        ),
        (
            "writes through a link",
            tar().symlink("d", "../../..").file("d/pwned", b"x").end(),
            Refusal::ThroughSymlink,
        ),
        (
            "writes through an absolute link",
            tar().symlink("d", outside).file("d/pwned", b"x").end(),
            Refusal::ThroughSymlink,
        ),
        (
            "writes through a link to a link",
            tar()
                .dir("a")
                .symlink("a/b", "c")
                .symlink("a/c", outside)
                .file("a/b/pwned", b"x")
                .end(),
            Refusal::ThroughSymlink,
        ),
        (
            "makes directories through a link",
            tar().symlink("d", outside).file("d/new/pwned", b"x").end(),
            Refusal::ThroughSymlink,
        ),
        (
            "turns a link into a directory",
            tar()
                .symlink("d", outside)
                .dir("d")
                .file("d/pwned", b"x")
                .end(),
            Refusal::KindChanged,
        ),
        (
            "whites out through a link",
            tar().symlink("d", outside).file("d/.wh.secret", b"").end(),
            Refusal::ThroughSymlink,
        ),
        (
            "marks as opaque through a link",
            tar()
                .symlink("d", outside)
                .file("d/.wh..wh..opq", b"")
                .end(),
            Refusal::ThroughSymlink,
        ),
    ]
}

/// Links that want something from outside in.
fn links(outside: &str) -> Vec<Case> {
    let secret = format!("{outside}/secret");
    vec![
        (
            "links above",
            tar().hard_link("h", "../secret").end(),
            Refusal::LinkOutside,
        ),
        (
            "links to a host file",
            tar().hard_link("h", &secret).end(),
            Refusal::LinkOutside,
        ),
        (
            "links through a link",
            tar().symlink("e", outside).hard_link("h", "e/secret").end(),
            Refusal::ThroughSymlink,
        ),
        (
            "links to nothing",
            tar().hard_link("h", "missing").end(),
            Refusal::LinkMissing,
        ),
        (
            "links into nothing",
            tar().hard_link("h", "no/such").end(),
            Refusal::LinkMissing,
        ),
        (
            "links with no target",
            tar().hard_link("h", "").end(),
            Refusal::LinkMissing,
        ),
        (
            "links to a later file",
            tar().hard_link("h", "f").file("f", b"").end(),
            Refusal::LinkMissing,
        ),
        (
            "links to a directory",
            tar().dir("d").hard_link("h", "d").end(),
            Refusal::LinkKind,
        ),
        (
            "links to the root",
            tar().hard_link("h", ".").end(),
            Refusal::LinkKind,
        ),
        (
            "links to itself",
            tar().file("h", b"").hard_link("h", "h").end(),
            Refusal::LinkKind,
        ),
        (
            "links to a whiteout",
            tar().file(".wh.w", b"").hard_link("h", "w").end(),
            Refusal::LinkKind,
        ),
        (
            "links softly to nowhere",
            tar().symlink("s", "").end(),
            Refusal::BadSymlink,
        ),
    ]
}

/// Things that have no place in an image.
fn kinds() -> Vec<Case> {
    let device = |flag: u8, major: u64| {
        tar()
            .entry(
                Header::new("dev", flag, 0)
                    .octal(329, 8, major)
                    .octal(337, 8, 0),
                b"",
            )
            .end()
    };
    vec![
        (
            "is a character device",
            device(b'3', 1),
            Refusal::DeviceNode,
        ),
        (
            "is a ready-made whiteout",
            device(b'3', 0),
            Refusal::DeviceNode,
        ),
        ("is a block device", device(b'4', 254), Refusal::DeviceNode),
        (
            "is sparse in GNU's way",
            tar().of_type("s", b'S').end(),
            Refusal::Sparse,
        ),
        (
            "is sparse in PAX's way",
            tar()
                .pax(&[("GNU.sparse.major", b"1")])
                .file("s", b"x")
                .end(),
            Refusal::Sparse,
        ),
        (
            "is a volume header",
            tar().of_type("v", b'V').end(),
            Refusal::UnknownType,
        ),
        (
            "is of no kind",
            tar().of_type("v", 200).end(),
            Refusal::UnknownType,
        ),
        (
            "is the root as a file",
            tar().file("./", b"").end(),
            Refusal::EmptyPath,
        ),
        (
            "is a file named as a directory",
            tar().file("a/", b"").end(),
            Refusal::EmptyPath,
        ),
        ("has no name", tar().file("", b"").end(), Refusal::EmptyPath),
        (
            "replaces a directory",
            tar().dir("d").file("d", b"x").end(),
            Refusal::KindChanged,
        ),
        (
            "replaces a file",
            tar().file("d", b"x").dir("d").end(),
            Refusal::KindChanged,
        ),
        (
            "goes through a file",
            tar().file("f", b"x").file("f/g", b"x").end(),
            Refusal::ThroughFile,
        ),
        (
            "hides nothing",
            tar().file("d/.wh.", b"").end(),
            Refusal::BadWhiteout,
        ),
        (
            "hides the parent",
            tar().file("d/.wh...", b"").end(),
            Refusal::BadWhiteout,
        ),
        (
            "hides with contents",
            tar().file(".wh.a", b"x").end(),
            Refusal::BadWhiteout,
        ),
        (
            "hides as a directory",
            tar().dir(".wh.a").end(),
            Refusal::BadWhiteout,
        ),
        (
            "is opaque with contents",
            tar().file("d/.wh..wh..opq", b"x").end(),
            Refusal::BadWhiteout,
        ),
        (
            "lives below a whiteout",
            tar().file(".wh.a/b", b"").end(),
            Refusal::ReservedName,
        ),
    ]
}

/// Archives that two readers would read differently.
fn ambiguities() -> Vec<Case> {
    let inner = tar().file("smuggled", b"x").0;
    let inner_size = inner.len().to_string();
    let body = tar().file("a", b"a");
    vec![
        (
            "smuggles an archive past the header's size",
            tar()
                .pax(&[("size", inner_size.as_bytes())])
                .entry(&Header::new("f", b'0', 0), &inner)
                .end(),
            Refusal::SizeConflict,
        ),
        (
            "smuggles an archive past the PAX size",
            tar()
                .pax(&[("size", b"0")])
                .entry(&Header::new("f", b'0', inner.len() as u64), &inner)
                .end(),
            Refusal::SizeConflict,
        ),
        (
            "has a size in words",
            tar().pax(&[("size", b"ten")]).file("f", b"x").end(),
            Refusal::BadPax,
        ),
        (
            "says a PAX key twice",
            tar()
                .pax(&[("path", b"a"), ("path", b"b")])
                .file("f", b"x")
                .end(),
            Refusal::BadPax,
        ),
        (
            "has two PAX headers",
            tar()
                .pax(&[("path", b"a")])
                .pax(&[("path", b"b")])
                .file("f", b"x")
                .end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "has a PAX header for nothing",
            body.clone().pax(&[("path", b"a")]).end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "has two long names",
            tar().gnu(b'L', "a").gnu(b'L', "b").file("f", b"x").end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "has a long name in two dialects",
            tar()
                .gnu(b'L', "a")
                .pax(&[("path", b"b")])
                .file("f", b"x")
                .end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "renames everything after it",
            tar()
                .pax_of_type(b'g', &[("path", b"b")])
                .file("f", b"x")
                .end(),
            Refusal::GlobalPax,
        ),
        (
            "has a PAX record of the wrong length",
            tar()
                .entry(&Header::new("x", b'x', 9), b"99 a=b\nxx")
                .file("f", b"x")
                .end(),
            Refusal::BadPax,
        ),
        (
            "hides a zero in a PAX name",
            tar().pax(&[("path", b"a\0/../b")]).file("f", b"x").end(),
            Refusal::ZeroInName,
        ),
        (
            "hides a name behind a GNU name",
            tar().gnu(b'L', "good\0../pwned").file("f", b"x").end(),
            Refusal::ZeroInName,
        ),
        (
            "is a directory with contents",
            tar()
                .entry(&Header::new("d", b'5', inner.len() as u64), &inner)
                .end(),
            Refusal::UnexpectedContents,
        ),
        (
            "is a link with contents",
            tar()
                .file("f", b"")
                .entry(Header::new("h", b'1', 512).link("f"), &inner[..512])
                .end(),
            Refusal::UnexpectedContents,
        ),
        (
            "goes on after its end",
            body.clone().raw(&[0; 1024]).file("late", b"x").end(),
            Refusal::TrailingData,
        ),
        (
            "goes on after one zero block",
            body.clone().raw(&[0; 512]).file("late", b"x").end(),
            Refusal::TrailingData,
        ),
        (
            "ends in an entry",
            tar().raw(&body.0[..512]).0,
            Refusal::Truncated,
        ),
        (
            "ends in a header",
            tar().raw(&body.0[..300]).0,
            Refusal::Truncated,
        ),
    ]
}

/// Headers that are not what they seem, and more of something than allowed.
fn headers() -> Vec<Case> {
    let mut flipped = tar().file("a", b"a").end();
    flipped[3] ^= 1;
    let size = |bytes: &[u8]| {
        tar()
            .entry(Header::new("f", b'0', 0).bytes(124, bytes), b"")
            .end()
    };
    let uid = |bytes: &[u8]| {
        tar()
            .entry(Header::new("f", b'0', 0).bytes(108, bytes), b"")
            .end()
    };
    let long = "n".repeat(256);
    let path = format!("{}x", "d/".repeat(2100));
    let deep = format!("{}x", "d/".repeat(300));
    let attributes: Vec<u8> = (0..65)
        .flat_map(|number| record(&format!("SCHILY.xattr.user.{number}"), b"x"))
        .collect();
    let xattr = |name: &str, value: &[u8]| {
        tar()
            .pax(&[(&format!("SCHILY.xattr.{name}"), value)])
            .file("f", b"x")
            .end()
    };
    vec![
        ("has a wrong checksum", flipped, Refusal::BadChecksum),
        (
            "is in no dialect",
            tar()
                .entry(Header::new("a", b'0', 0).bytes(257, b"mystar"), b"")
                .end(),
            Refusal::BadMagic,
        ),
        (
            "has letters for a size",
            size(b"0000000000x\0"),
            Refusal::BadNumber("size"),
        ),
        (
            "has a gap in its size",
            size(b"00000 000010"),
            Refusal::BadNumber("size"),
        ),
        (
            "has a negative size",
            size(&[0xff; 12]),
            Refusal::BadNumber("size"),
        ),
        (
            "has an enormous size",
            size(&[
                0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ]),
            Refusal::BadNumber("size"),
        ),
        (
            "is owned by nobody at all",
            uid(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
            Refusal::BadOwner,
        ),
        (
            "is owned beyond 32 bits",
            uid(&[0x80, 0, 0, 1, 0, 0, 0, 0]),
            Refusal::BadOwner,
        ),
        (
            "has a long name",
            tar()
                .pax(&[("path", long.as_bytes())])
                .file("f", b"x")
                .end(),
            Refusal::NameTooLong,
        ),
        (
            "has a long path",
            tar()
                .pax(&[("path", path.as_bytes())])
                .file("f", b"x")
                .end(),
            Refusal::PathTooLong,
        ),
        (
            "is nested deeply",
            tar()
                .pax(&[("path", deep.as_bytes())])
                .file("f", b"x")
                .end(),
            Refusal::TooDeep,
        ),
        (
            "has a huge PAX header",
            tar()
                .entry(&Header::new("x", b'x', 2 << 20), &vec![b'x'; 2 << 20])
                .end(),
            Refusal::RecordTooLong,
        ),
        (
            "has a huge GNU name",
            tar().gnu(b'L', &"x".repeat(5000)).end(),
            Refusal::RecordTooLong,
        ),
        (
            "has too many attributes",
            tar()
                .entry(
                    &Header::new("x", b'x', attributes.len() as u64),
                    &attributes,
                )
                .end(),
            Refusal::XattrTooLong,
        ),
        (
            "has too long an attribute",
            xattr("user.x", &vec![0; 70_000]),
            Refusal::XattrTooLong,
        ),
        (
            "redirects overlayfs",
            xattr("trusted.overlay.redirect", b"/etc"),
            Refusal::ForgedXattr,
        ),
        (
            "redirects overlayfs as a user",
            xattr("user.overlay.redirect", b"/"),
            Refusal::ForgedXattr,
        ),
        (
            "has a broken capability",
            xattr("security.capability", b"\x02"),
            Refusal::BadCapability,
        ),
    ]
}
