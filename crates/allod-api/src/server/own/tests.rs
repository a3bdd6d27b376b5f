//! Only the owner and root may knock, and nothing else is removed for it.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn the_door_is_the_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("api"), folder.path().join("identity"));
    std::fs::write(&identity, "").unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&identity, Some(1_234), Some(1_235)).unwrap();
    }
    for _ in 0..2 {
        // What an earlier process left is replaced.
        drop(bind_own(&path, &identity).unwrap());
        let (made, owner) = (
            path.symlink_metadata().unwrap(),
            identity.metadata().unwrap(),
        );
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
        assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()));
        assert!(!is_root || made.uid() == 1_234);
    }
}

#[test]
fn no_other_file_is_taken_for_an_old_door() {
    let folder = tempfile::tempdir().unwrap();
    let (path, identity) = (folder.path().join("api"), folder.path().join("identity"));
    std::fs::write(&identity, "precious").unwrap();
    std::os::unix::fs::symlink(&identity, &path).unwrap();
    assert!(bind_own(&path, &identity).is_err());
    assert_eq!(std::fs::read(&identity).unwrap(), b"precious");
    assert!(path.symlink_metadata().unwrap().is_symlink());
}
