//! What the images of the suite hold: the probe, with the libraries that it is linked to.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the probe is, inside and outside.
pub(super) fn program(name: &str) -> PathBuf {
    // This test is `target/<profile>/deps/it-<hash>`.
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    profile.join("examples").join(name)
}

/// Puts the probe at `/probe`. Its libraries are those that this test has itself, at their own
/// places; the loader is found by the path that programs of this machine name.
pub(crate) fn lay_probe(root: &Path) {
    std::fs::create_dir_all(root).unwrap();
    std::fs::copy(program("probe"), root.join("probe")).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut libraries: Vec<&str> = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .collect();
    libraries.sort_unstable();
    libraries.dedup();
    assert!(libraries.len() >= 2, "{libraries:?}");
    for library in libraries {
        let place = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(library, &place).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
        let name = place.file_name().unwrap();
        if name.to_string_lossy().starts_with("ld-linux") {
            for directory in ["lib", "lib64"] {
                let link = root.join(directory).join(name);
                std::fs::create_dir_all(link.parent().unwrap()).unwrap();
                if link.symlink_metadata().is_err() {
                    std::os::unix::fs::symlink(library, link).unwrap();
                }
            }
        }
    }
}
