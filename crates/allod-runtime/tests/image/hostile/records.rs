//! More attacks, by what they abuse: whiteouts, links, and the records that say what a header
//! cannot.

#![expect(clippy::too_many_lines, reason = "these are tables")]

use allod_runtime::image::unpack::Refusal;

use super::corpus::{Case, tar};
use crate::tar::Header;

/// Every attack of this file; `outside` is a directory of the host with a file called `secret`.
pub(super) fn cases(outside: &str) -> Vec<Case> {
    let families = [whiteouts(), links(outside), records(), numbers()];
    families.into_iter().flatten().collect()
}

/// Names that hide what is below, in places where they would do more.
fn whiteouts() -> Vec<Case> {
    vec![
        (
            "hides the directory it is in",
            tar().file("d/.wh..", b"").end(),
            Refusal::BadWhiteout,
        ),
        (
            "hides as a link",
            tar().symlink(".wh.a", "x").end(),
            Refusal::BadWhiteout,
        ),
        (
            "hides as a hard link",
            tar().file("f", b"").hard_link(".wh.a", "f").end(),
            Refusal::BadWhiteout,
        ),
        (
            "hides as a pipe",
            tar().of_type(".wh.a", b'6').end(),
            Refusal::BadWhiteout,
        ),
        (
            "is opaque as a directory",
            tar().dir("d/.wh..wh..opq").end(),
            Refusal::BadWhiteout,
        ),
        (
            "is opaque as a link",
            tar().symlink("d/.wh..wh..opq", "x").end(),
            Refusal::BadWhiteout,
        ),
        (
            "is opaque as a hard link",
            tar().file("f", b"").hard_link("d/.wh..wh..opq", "f").end(),
            Refusal::BadWhiteout,
        ),
        (
            "is opaque below a whiteout",
            tar().file(".wh.a/.wh..wh..opq", b"").end(),
            Refusal::ReservedName,
        ),
        (
            "is opaque through a file",
            tar().file("f", b"x").file("f/.wh..wh..opq", b"").end(),
            Refusal::ThroughFile,
        ),
        (
            "hides through a file",
            tar().file("f", b"x").file("f/.wh.a", b"").end(),
            Refusal::ThroughFile,
        ),
        (
            "hides an ancestor through a link",
            tar()
                .dir("d")
                .symlink("d/up", "..")
                .file("d/up/.wh.d", b"")
                .end(),
            Refusal::ThroughSymlink,
        ),
        (
            "hides too long a name",
            tar()
                .pax(&[("path", format!("d/.wh.{}", "n".repeat(256)).as_bytes())])
                .file("f", b"")
                .end(),
            Refusal::NameTooLong,
        ),
    ]
}

/// Links to links, to what is left out, and to what is no file.
fn links(outside: &str) -> Vec<Case> {
    let secret = format!("{outside}/secret");
    let deep = format!("{}x", "d/".repeat(300));
    vec![
        (
            "links to a note of AUFS",
            tar()
                .file(".wh..wh.plnk/1", b"x")
                .hard_link("h", ".wh..wh.plnk/1")
                .end(),
            Refusal::LinkMissing,
        ),
        (
            "links to a pipe",
            tar().of_type("p", b'6').hard_link("h", "p").end(),
            Refusal::LinkKind,
        ),
        (
            "links in a circle",
            tar().hard_link("a", "b").hard_link("b", "a").end(),
            Refusal::LinkMissing,
        ),
        (
            "writes through a hard link to a link",
            tar()
                .symlink("s", outside)
                .hard_link("h", "s")
                .file("h/pwned", b"x")
                .end(),
            Refusal::ThroughSymlink,
        ),
        (
            "links through a chain of links",
            tar()
                .symlink("a", "b")
                .symlink("b", outside)
                .hard_link("h", "a/secret")
                .end(),
            Refusal::ThroughSymlink,
        ),
        (
            "links through a file",
            tar().file("f", b"x").hard_link("h", "f/g").end(),
            Refusal::LinkMissing,
        ),
        (
            "links outside in PAX",
            tar()
                .pax(&[("linkpath", secret.as_bytes())])
                .hard_link("h", "x")
                .end(),
            Refusal::LinkOutside,
        ),
        (
            "links above in PAX",
            tar()
                .pax(&[("linkpath", b"d/../../secret")])
                .hard_link("h", "x")
                .end(),
            Refusal::LinkOutside,
        ),
        (
            "links above in GNU",
            tar().gnu(b'K', "../secret").hard_link("h", "x").end(),
            Refusal::LinkOutside,
        ),
        (
            "hides a zero in the name it links to",
            tar()
                .pax(&[("linkpath", b"a\0b")])
                .hard_link("h", "x")
                .end(),
            Refusal::ZeroInName,
        ),
        (
            "links to something nested deeply",
            tar()
                .pax(&[("linkpath", deep.as_bytes())])
                .hard_link("h", "x")
                .end(),
            Refusal::TooDeep,
        ),
        (
            "links softly to a very long name",
            tar()
                .pax(&[("linkpath", "x".repeat(5000).as_bytes())])
                .symlink("s", "x")
                .end(),
            Refusal::BadSymlink,
        ),
        (
            "replaces a directory by a link",
            tar().dir("d").symlink("d", outside).end(),
            Refusal::KindChanged,
        ),
        (
            "replaces a directory by a hard link",
            tar().file("f", b"x").dir("d").hard_link("d", "f").end(),
            Refusal::KindChanged,
        ),
        (
            "replaces its root by a link",
            tar().symlink("./", outside).end(),
            Refusal::EmptyPath,
        ),
        (
            "is the host's root",
            tar().dir("/").end(),
            Refusal::AbsolutePath,
        ),
    ]
}

/// Extension records that contradict, or reach further than they may.
fn records() -> Vec<Case> {
    let pax = |key: &str, value: &[u8]| tar().pax(&[(key, value)]).file("f", b"x").end();
    let global = |key: &str, value: &[u8]| {
        let tar = tar().pax_of_type(b'g', &[(key, value)]);
        tar.file("f", b"x").end()
    };
    let raw = |record: &[u8]| {
        let header = Header::new("x", b'x', record.len() as u64);
        tar().entry(&header, record).file("f", b"x").end()
    };
    vec![
        (
            "has a long link in two dialects",
            tar()
                .gnu(b'K', "a")
                .pax(&[("linkpath", b"b")])
                .symlink("s", "c")
                .end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "has two long links",
            tar().gnu(b'K', "a").gnu(b'K', "b").symlink("s", "c").end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "has a long name for nothing",
            tar().gnu(b'L', "a").end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "has a long link for nothing",
            tar().gnu(b'K', "a").end(),
            Refusal::ContradictoryRecords,
        ),
        (
            "sizes everything after it",
            global("size", b"0"),
            Refusal::GlobalPax,
        ),
        (
            "links everything after it",
            global("linkpath", b"a"),
            Refusal::GlobalPax,
        ),
        (
            "owns everything after it",
            global("uid", b"0"),
            Refusal::GlobalPax,
        ),
        (
            "gives attributes to everything after it",
            global("SCHILY.xattr.user.a", b"x"),
            Refusal::GlobalPax,
        ),
        (
            "makes everything after it sparse",
            global("GNU.sparse.size", b"1"),
            Refusal::GlobalPax,
        ),
        ("has no name in PAX", pax("path", b""), Refusal::BadPax),
        (
            "has a negative size in PAX",
            pax("size", b"-1"),
            Refusal::BadPax,
        ),
        (
            "has a size with a sign in PAX",
            pax("size", b"+1"),
            Refusal::BadPax,
        ),
        (
            "has a size beyond 64 bits in PAX",
            pax("size", b"18446744073709551616"),
            Refusal::BadPax,
        ),
        (
            "has a negative owner in PAX",
            pax("uid", b"-1"),
            Refusal::BadPax,
        ),
        (
            "is owned beyond 32 bits in PAX",
            pax("gid", b"4294967296"),
            Refusal::BadOwner,
        ),
        (
            "has two points in its time",
            pax("mtime", b"1.2.3"),
            Refusal::BadPax,
        ),
        (
            "is in an odd character set",
            pax("hdrcharset", b"KOI8-R"),
            Refusal::BadPax,
        ),
        (
            "has an attribute without a name",
            pax("SCHILY.xattr.", b"x"),
            Refusal::BadPax,
        ),
        (
            "has an attribute with a long name",
            pax(&format!("SCHILY.xattr.user.{}", "n".repeat(256)), b"x"),
            Refusal::XattrTooLong,
        ),
        (
            "marks itself as opaque",
            pax("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            Refusal::ForgedXattr,
        ),
        (
            "has a sparse map in PAX",
            pax("GNU.sparse.map", b"0,1"),
            Refusal::Sparse,
        ),
        (
            "has a record without a key",
            raw(b"6 =bc\n"),
            Refusal::BadPax,
        ),
        (
            "has a record without an end",
            raw(b"9 path=ab"),
            Refusal::BadPax,
        ),
        (
            "has a record with a leading zero",
            raw(b"010 path=a\n"),
            Refusal::BadPax,
        ),
        (
            "has a record that is shorter than itself",
            raw(b"1 path=a\n"),
            Refusal::BadPax,
        ),
        (
            "has a record of an enormous length",
            raw(b"99999999999999999999 path=a\n"),
            Refusal::BadPax,
        ),
    ]
}

/// Fields of a header that are not the numbers they should be.
fn numbers() -> Vec<Case> {
    let field = |at: usize, bytes: &[u8]| {
        tar()
            .entry(Header::new("f", b'0', 0).bytes(at, bytes), b"")
            .end()
    };
    vec![
        (
            "has letters for its mode",
            field(100, b"rwxr-xr-"),
            Refusal::BadNumber("mode"),
        ),
        (
            "has a negative owner",
            field(108, &[0xff; 8]),
            Refusal::BadNumber("uid"),
        ),
        (
            "has letters for its group",
            field(116, b"wheel\0\0\0"),
            Refusal::BadNumber("gid"),
        ),
        (
            "has letters for its time",
            field(136, b"yesterday\0\0\0"),
            Refusal::BadNumber("mtime"),
        ),
        (
            "has a time beyond 64 bits",
            field(
                136,
                &[
                    0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                ],
            ),
            Refusal::BadNumber("mtime"),
        ),
        (
            "has a size with a digit too large",
            field(124, b"00000000008\0"),
            Refusal::BadNumber("size"),
        ),
        (
            "is of a type of sockets",
            tar().of_type("s", b's').end(),
            Refusal::UnknownType,
        ),
        (
            "is a dump of names",
            tar().of_type("n", b'N').end(),
            Refusal::UnknownType,
        ),
        (
            "goes on over several volumes",
            tar().of_type("m", b'M').end(),
            Refusal::UnknownType,
        ),
        (
            "is sparse with contents",
            tar().entry(&Header::new("s", b'S', 512), &[1; 512]).end(),
            Refusal::Sparse,
        ),
        (
            "claims more than there is",
            tar().entry(&Header::new("f", b'0', 1 << 30), b"x").end(),
            Refusal::Truncated,
        ),
    ]
}
