//! What an image has at the place of a new volume becomes the volume's first contents.
//!
//! As with Docker: owner, permissions and files are taken over once, when a volume is mounted for
//! the first time and is empty. The copy grows beside the volume and takes its place as a whole,
//! so that an interrupted one is started again instead of being mistaken for data.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::limits::{SEED_BYTES_MAX, SEED_ENTRIES_MAX, USER_RANGE};

/// Copies that are not volumes yet; no volume has such a name.
const UNFINISHED_PREFIX: &str = ".seed-";

/// Fills `volume` from the image's directory `source`, if it is new. Owners are seen in the image
/// from `base` on, and are kept in the volume from 0 on.
pub(crate) fn seed(volume: &Path, source: &Path, base: u32) -> io::Result<()> {
    if fs::read_dir(volume)?.next().is_some() {
        return Ok(());
    }
    let parent = volume.parent().unwrap_or(Path::new("/"));
    let unfinished = parent.join(format!("{UNFINISHED_PREFIX}{}", std::process::id()));
    let mut copy = Copy {
        base,
        entries: 0,
        bytes: 0,
    };
    let result = fs::create_dir(&unfinished)
        .and_then(|()| copy.directory(source, &unfinished))
        // The volume's directory is empty, which is what lets it be replaced.
        .and_then(|()| fs::rename(&unfinished, volume));
    if result.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    match result {
        // Another workload was faster, and has put the same there.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

/// Removes what interrupted copies have left among the volumes.
pub(crate) fn sweep(volumes: &Path) -> io::Result<()> {
    for entry in fs::read_dir(volumes)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(UNFINISHED_PREFIX));
        let is_at_work = |pid: &str| Path::new("/proc").join(pid).exists();
        if pid.is_some_and(|pid| !is_at_work(pid)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

struct Copy {
    base: u32,
    entries: u64,
    bytes: u64,
}

impl Copy {
    fn directory(&mut self, source: &Path, target: &Path) -> io::Result<()> {
        let mut todo: Vec<(PathBuf, PathBuf)> = vec![(source.to_owned(), target.to_owned())];
        while let Some((source, target)) = todo.pop() {
            for entry in fs::read_dir(&source)? {
                let entry = entry?;
                let target = target.join(entry.file_name());
                let metadata = entry.metadata()?;
                self.count(&metadata)?;
                if metadata.is_dir() {
                    fs::create_dir(&target)?;
                    todo.push((entry.path(), target));
                } else if metadata.is_symlink() {
                    std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
                    self.own(&target, &metadata)?;
                } else if metadata.is_file() {
                    copy_file(&entry.path(), &target)?;
                    self.own(&target, &metadata)?;
                }
                // Sockets, pipes and devices are not contents.
            }
            self.own(&target, &fs::symlink_metadata(&source)?)?;
        }
        Ok(())
    }

    fn count(&mut self, metadata: &Metadata) -> io::Result<()> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(metadata.len());
        if self.entries > SEED_ENTRIES_MAX || self.bytes > SEED_BYTES_MAX {
            let text = "the image has too much at the place of a new volume";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(())
    }

    fn own(&self, target: &Path, metadata: &Metadata) -> io::Result<()> {
        let inside = |id: u32| id.checked_sub(self.base).filter(|id| *id < USER_RANGE);
        // What belongs to nobody inside belongs to the container's root outside as well.
        let uid = inside(metadata.uid()).unwrap_or(0);
        let gid = inside(metadata.gid()).unwrap_or(0);
        std::os::unix::fs::lchown(target, Some(uid), Some(gid))?;
        if !metadata.is_symlink() {
            fs::set_permissions(target, Permissions::from_mode(metadata.mode() & 0o1777))?;
        }
        Ok(())
    }
}

fn copy_file(source: &Path, target: &Path) -> io::Result<()> {
    let mut reader = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(source)?;
    let mut writer = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)?;
    io::copy(&mut reader, &mut writer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        seed(&volume, &image, 0).unwrap();
        assert_eq!(fs::read_to_string(volume.join("link")).unwrap(), "text");
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o750);
        fs::write(image.join("later"), "not for you").unwrap();
        seed(&volume, &image, 0).unwrap();
        assert!(!volume.join("later").exists());

        fs::create_dir(volumes.join(".seed-999999999")).unwrap();
        sweep(&volumes).unwrap();
        assert_eq!(fs::read_dir(&volumes).unwrap().count(), 1);
    }
}
