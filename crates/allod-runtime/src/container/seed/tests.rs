//! Volumes are filled once, whole, and from the image alone.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::walk::tests::Swapped;

#[test]
fn a_new_volume_is_filled_once_and_completely() {
    let dir = tempfile::tempdir().unwrap();
    let (volumes, image) = (dir.path().join("volumes"), dir.path().join("image"));
    fs::create_dir_all(volumes.join("v")).unwrap();
    fs::create_dir_all(image.join("sub")).unwrap();
    fs::write(image.join("sub/file"), "text").unwrap();
    std::os::unix::fs::symlink("sub/file", image.join("link")).unwrap();
    fs::set_permissions(&image, Permissions::from_mode(0o750)).unwrap();
    let base = fs::metadata(&image).unwrap().uid();
    if base != 0 {
        // Without root, owners cannot be given.
        return;
    }
    let volume = volumes.join("v");
    seed(&volume, open(&image).as_fd(), 0).unwrap();
    assert_eq!(fs::read_to_string(volume.join("link")).unwrap(), "text");
    assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o750);
    fs::write(image.join("later"), "not for you").unwrap();
    seed(&volume, open(&image).as_fd(), 0).unwrap();
    assert!(!volume.join("later").exists());

    fs::create_dir(volumes.join(".seed-999999999")).unwrap();
    sweep(&volumes).unwrap();
    assert_eq!(fs::read_dir(&volumes).unwrap().count(), 1);
}

fn open(directory: &Path) -> File {
    File::open(directory).unwrap()
}

#[test]
fn a_source_that_changes_meanwhile_brings_nothing_of_the_host_slow() {
    let swapped = Swapped::new();
    let volumes = swapped.directory.path().join("volumes");
    let volume = volumes.join("v");
    let (mut taken, mut refused) = (0, 0);
    swapped.during(1_000, || {
        fs::create_dir_all(&volume).unwrap();
        // One that is not root cannot give owners away, and needs not to: its own are kept.
        let base = fs::metadata(&volume).unwrap().uid();
        match seed(&volume, open(&swapped.tree()).as_fd(), base) {
            Ok(()) => {
                for place in ["x/inner/file", "link/inner/file"] {
                    let file = volume.join(place);
                    let is_real = file
                        .canonicalize()
                        .is_ok_and(|path| path.starts_with(&volume));
                    if is_real {
                        assert_eq!(fs::read_to_string(&file).unwrap(), "of the tree");
                        taken += 1;
                    }
                }
            }
            Err(_) => refused += 1,
        }
        fs::remove_dir_all(&volume).unwrap();
    });
    assert!(taken > 0, "{taken} taken, {refused} refused");
}
