//! Mount points are found inside the root, whatever somebody does to it meanwhile.

use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;

use super::*;
use crate::walk::tests::Swapped;

#[test]
fn a_mount_point_that_is_swapped_for_a_link_is_inside_or_not_at_all() {
    let swapped = Swapped::new();
    let outside = swapped.directory.path().join("outside");
    let outer = [&outside, &outside.join("inner")].map(|path| path.metadata().unwrap().ino());
    let root = open_place(&swapped.tree()).unwrap();
    // Not root's, in a test without root.
    let owner = rustix::process::geteuid().as_raw();
    let (mut found, mut refused) = (0, 0);
    swapped.during(10_000, || {
        match ensure_inside(root.as_fd(), "/x/inner", Missing::Directory, owner) {
            Ok(place) => {
                assert!(!outer.contains(&rustix::fs::fstat(&place).unwrap().st_ino));
                found += 1;
            }
            Err(_) => refused += 1,
        }
    });
    assert!(found > 0 && refused > 0, "{found} found, {refused} refused");
    let names: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn the_same_by_paths_is_led_out() {
    let swapped = Swapped::new();
    let outer = swapped.directory.path().join("outside/inner");
    let outer = outer.metadata().unwrap().ino();
    let mut left = 0;
    swapped.during(10_000, || {
        let place = open_place(&swapped.tree().join("x/inner"));
        let is_outer = |place| rustix::fs::fstat(&place).unwrap().st_ino == outer;
        left += usize::from(place.is_ok_and(is_outer));
    });
    assert!(left > 0, "the race was never lost: it proves nothing");
}

#[test]
fn a_link_is_no_directory_of_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("real")).unwrap();
    for (name, to) in [
        ("up", "../"),
        ("absolute", "/tmp"),
        ("inner", "real"),
        ("none", "x"),
    ] {
        symlink(to, root.join(name)).unwrap();
    }
    std::fs::write(root.join("file"), "").unwrap();
    let place = open_place(&root).unwrap();
    let owner = rustix::process::geteuid().as_raw();
    let ensure = |name| ensure_directory(place.as_fd(), name, owner);
    ensure("real").unwrap();
    ensure("new").unwrap();
    assert!(root.join("new").is_dir());
    for name in ["up", "absolute", "inner", "none", "file", ".."] {
        assert!(ensure(name).is_err(), "{name}");
    }
}
