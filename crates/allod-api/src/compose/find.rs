//! Which file of a folder is the deploy file.

use std::path::{Path, PathBuf};

/// The names that are looked for, the first one wins.
pub const FILE_NAMES: [&str; 5] = [
    "allod.yaml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// The deploy file of a folder; a path to a file is that file. `None` where there is none.
pub fn lookup(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_path_buf());
    }
    let files = FILE_NAMES.iter().map(|name| path.join(name));
    files.into_iter().find(|file| file.is_file())
}
