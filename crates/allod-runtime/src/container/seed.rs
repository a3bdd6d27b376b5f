//! What an image has at the place of a new volume becomes the volume's first contents.
//!
//! As with Docker: owner, permissions and files are taken over once, when a volume is mounted for
//! the first time and is empty. The copy grows beside the volume and takes its place as a whole,
//! so that an interrupted one is started again instead of being mistaken for data.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat, XattrFlags};

use crate::limits::{SEED_BYTES_MAX, SEED_ENTRIES_MAX, USER_RANGE};
use crate::walk::{Directory, Opened};

/// Copies that are not volumes yet; no volume has such a name.
const UNFINISHED_PREFIX: &str = ".seed-";
/// Marks a volume that was filled from an archive and that no workload has had yet.
const UNUSED: &str = "trusted.allod.unused";

/// Fills `volume` from the image's directory `source`, if it is new. Owners are seen in the image
/// from `base` on, and are kept in the volume from 0 on. The source may lie in another volume,
/// which other workloads write to meanwhile; the copy is nobody's but ours until it is whole.
pub(crate) fn seed(volume: &Path, source: BorrowedFd<'_>, base: u32) -> io::Result<()> {
    if fs::read_dir(volume)?.next().is_some() {
        return Ok(());
    }
    let unfinished = unfinished(volume.parent().unwrap_or(Path::new("/")));
    let mut copy = Copy {
        base,
        entries: 0,
        bytes: 0,
    };
    let source = Directory::top(source.try_clone_to_owned()?);
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

/// Marks a volume as one that nobody has used, so that it may be filled again.
pub(crate) fn mark_unused(volume: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(
        volume,
        UNUSED,
        b"",
        XattrFlags::empty(),
    )?)
}

/// Whether nobody has used it since it was filled.
pub(crate) fn is_unused(volume: &Path) -> bool {
    rustix::fs::lgetxattr(volume, UNUSED, &mut [0_u8; 1][..]).is_ok()
}

/// From now on its data are its user's.
pub(crate) fn mark_used(volume: &Path) -> io::Result<()> {
    match rustix::fs::lremovexattr(volume, UNUSED) {
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(()),
        removed => Ok(removed?),
    }
}

/// Where what is not a volume yet grows, among the volumes of `parent`: by this process alone.
pub(crate) fn unfinished(parent: &Path) -> PathBuf {
    parent.join(format!("{UNFINISHED_PREFIX}{}", std::process::id()))
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
    fn directory(&mut self, source: Directory, target: &Path) -> io::Result<()> {
        let mut todo: Vec<(Directory, PathBuf)> = vec![(source, target.to_owned())];
        while let Some((source, target)) = todo.pop() {
            let source = source.open()?;
            for name in source.names()? {
                let inner = target.join(OsStr::from_bytes(&name));
                if self.entry(&source, &name, &inner)? {
                    todo.push((source.directory(&name), inner));
                }
            }
            self.own(&target, &source.stat()?)?;
        }
        Ok(())
    }

    /// Takes one entry over; whether it is a directory, whose contents are still missing.
    fn entry(&mut self, source: &Opened, name: &[u8], target: &Path) -> io::Result<bool> {
        let stat = source.stat_entry(name)?;
        self.count()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => fs::create_dir(target).map(|()| true),
            FileType::Symlink => {
                let link = source.read_link(name)?;
                std::os::unix::fs::symlink(OsStr::from_bytes(&link), target)?;
                self.own(target, &stat).map(|()| false)
            }
            FileType::RegularFile => self.file(source.open_file(name)?, target).map(|()| false),
            // Sockets, pipes and devices are not contents.
            _ => Ok(false),
        }
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        if self.entries > SEED_ENTRIES_MAX {
            return Err(too_much());
        }
        Ok(())
    }

    /// Copies what was opened, whatever its name stands for by now.
    fn file(&mut self, source: File, target: &Path) -> io::Result<()> {
        let stat = rustix::fs::fstat(&source)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut writer = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(target)?;
        // It may grow while it is read.
        let left = SEED_BYTES_MAX.saturating_sub(self.bytes);
        self.bytes += io::copy(&mut source.take(left.saturating_add(1)), &mut writer)?;
        if self.bytes > SEED_BYTES_MAX {
            return Err(too_much());
        }
        self.own(target, &stat)
    }

    fn own(&self, target: &Path, stat: &Stat) -> io::Result<()> {
        let inside = |id: u32| id.checked_sub(self.base).filter(|id| *id < USER_RANGE);
        // What belongs to nobody inside belongs to the container's root outside as well.
        let uid = inside(stat.st_uid).unwrap_or(0);
        let gid = inside(stat.st_gid).unwrap_or(0);
        std::os::unix::fs::lchown(target, Some(uid), Some(gid))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            fs::set_permissions(target, Permissions::from_mode(stat.st_mode & 0o1777))?;
        }
        Ok(())
    }
}

fn too_much() -> io::Error {
    let text = "the image has too much at the place of a new volume";
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

#[cfg(test)]
mod tests;
