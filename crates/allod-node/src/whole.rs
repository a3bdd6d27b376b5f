//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::{Point, reach};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Writes `bytes` to `path` through a file beside it that takes its name once it is on disk. The path may be relative
/// to a directory that this process could not walk to, so nothing here ever makes it absolute.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let turn = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}-{turn}", std::process::id()));
    let filled = fill(&beside, bytes);
    reach(Point::FileFilled);
    let written = filled.and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What was begun is of no use to anybody; the first failure is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Removes what writers that died have left in a directory. Only while nobody writes there.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        if is_begun(&name.to_string_lossy()) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Whether a file is one that [`write`] has begun: `.<name>.<process>-<turn>`.
fn is_begun(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.starts_with('.')
        && name
            .rsplit_once('.')
            .and_then(|(_, end)| end.split_once('-'))
            .is_some_and(|(process, turn)| is_number(process) && is_number(turn))
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_writer_has_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            ".file.12-0",
            ".a.b.3-44",
            "file",
            ".hidden",
            ".env.1-a",
            "file.1-2",
        ] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        clear(dir.path()).unwrap();
        let files = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".env.1-a", ".hidden", "file", "file.1-2"]);
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(write(&dir.path().join("absent/file"), b"").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
