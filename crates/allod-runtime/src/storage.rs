//! How much is stored where: in a tree that a tenant may change meanwhile, and on a disk as a whole.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::limits;
use crate::walk::Directory;

/// What is stored: bytes of whole blocks, and files of all kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Stored {
    pub(crate) const MAX: Self = Self {
        bytes: u64::MAX,
        files: u64::MAX,
    };

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }

    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            files: self.files.min(other.files),
        }
    }

    /// How long nobody can write as much, however fast; within what the guard of the disk may wait between two looks.
    pub(crate) fn soonest(self) -> Duration {
        let bytes_ms = self.bytes / (limits::WRITE_SPEED_MAX / 1_000);
        let files_ms = self.files / (limits::FILE_SPEED_MAX / 1_000);
        let ms = bytes_ms.min(files_ms);
        Duration::from_millis(ms.clamp(limits::GUARD_PAUSE_MS_MIN, limits::GUARD_PAUSE_MS_MAX))
    }

    fn is_beyond(self, limit: Self) -> bool {
        self.bytes > limit.bytes || self.files > limit.files
    }
}

/// A file system as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) used: Stored,
    /// What those who are not root may still write.
    pub(crate) free: Stored,
    total: Stored,
}

/// The file system that holds a directory.
pub(crate) fn disk(directory: &Path) -> io::Result<Disk> {
    let found = rustix::fs::statvfs(directory)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // Some count no files: there is always room for one more.
    let counts_files = found.f_files > 0;
    Ok(Disk {
        used: Stored {
            bytes: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
            files: found.f_files.saturating_sub(found.f_ffree),
        },
        free: Stored {
            bytes: bytes(found.f_bavail),
            files: if counts_files {
                found.f_favail
            } else {
                u64::MAX
            },
        },
        total: Stored {
            bytes: bytes(found.f_blocks),
            files: found.f_files,
        },
    })
}

impl Disk {
    /// What somebody may store who was promised so many bytes: no larger a part of all files than of all bytes, where
    /// the file system has room for so many files only.
    pub(crate) fn share(&self, bytes: u64) -> Stored {
        let part =
            u128::from(bytes) * u128::from(self.total.files) / u128::from(self.total.bytes.max(1));
        let files = match self.total.files {
            0 => u64::MAX,
            _ => u64::try_from(part)
                .unwrap_or(u64::MAX)
                .max(limits::FILES_SHARE_MIN),
        };
        Stored { bytes, files }
    }

    /// Whether what is left is needed for the machine itself.
    pub(crate) fn is_tight(&self) -> bool {
        self.free.bytes < limits::DISK_RESERVE_BYTES || self.free.files < limits::DISK_RESERVE_FILES
    }

    /// How long nobody can fill it, however fast.
    pub(crate) fn pause(&self) -> Duration {
        let reserve = Stored {
            bytes: limits::DISK_RESERVE_BYTES,
            files: limits::DISK_RESERVE_FILES,
        };
        self.free.minus(reserve).soonest()
    }
}

/// Bytes that a directory takes on disk.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    stored(directory, Stored::MAX).bytes
}

/// What is stored in a directory, or something beyond `limit` as soon as that is passed. Symbolic links are counted and
/// not followed, other file systems are not entered, a file with several names counts once, and what vanishes or
/// changes meanwhile is not an error.
pub(crate) fn stored(directory: &Path, limit: Stored) -> Stored {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return Stored::default();
    };
    let Ok(root) = rustix::fs::fstat(&top) else {
        return Stored::default();
    };
    let mut total = one(&root);
    let mut names = BTreeSet::new();
    let mut todo = vec![Directory::top(top)];
    while let Some(next) = todo.pop() {
        let Ok(opened) = next.open() else {
            continue;
        };
        for name in opened.names().unwrap_or_default() {
            let Ok(stat) = opened.stat_entry(&name) else {
                continue;
            };
            if stat.st_dev != root.st_dev {
                continue;
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                todo.push(opened.directory(&name));
            } else if stat.st_nlink > 1
                && names.len() < limits::LINKED_FILES_MAX
                && !names.insert(stat.st_ino)
            {
                continue;
            }
            total = total.plus(one(&stat));
            if total.is_beyond(limit) {
                return total;
            }
        }
    }
    total
}

fn one(stat: &Stat) -> Stored {
    Stored {
        bytes: blocks(stat),
        files: 1,
    }
}

/// The bytes of a file's blocks.
pub(crate) fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(dir.path().join("below/file"), vec![1u8; 100_000]).unwrap();
        std::fs::hard_link(dir.path().join("below/file"), dir.path().join("again")).unwrap();
        // As long as it likes, and nothing in it.
        let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let found = stored(dir.path(), Stored::MAX);
        assert!((100_000..200_000).contains(&found.bytes), "{found:?}");
        assert_eq!(found.files, 4);
        assert_eq!(disk_bytes(&dir.path().join("absent")), 0);
    }

    #[test]
    fn a_walk_stops_where_the_limit_is_passed() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..100 {
            std::fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let limit = Stored {
            bytes: u64::MAX,
            files: 10,
        };
        assert_eq!(stored(dir.path(), limit).files, 11);
    }

    #[test]
    fn a_tree_that_changes_meanwhile_is_not_left() {
        let swapped = crate::walk::tests::Swapped::new();
        let outside = swapped.directory.path().join("outside/inner/large");
        std::fs::write(outside, vec![1u8; 1 << 20]).unwrap();
        swapped.during(2_000, || assert!(disk_bytes(&swapped.tree()) < 1 << 20));
    }

    #[test]
    fn files_are_shared_like_bytes_and_looks_come_faster_as_room_goes() {
        let disk = |free: Stored| Disk {
            used: Stored::default(),
            free,
            total: Stored {
                bytes: 1 << 40,
                files: 1 << 26,
            },
        };
        let room = Stored {
            bytes: 1 << 40,
            files: 1 << 26,
        };
        // One file for 16 KiB.
        assert_eq!(disk(room).share(1 << 34).files, 1 << 20);
        assert_eq!(disk(room).share(1).files, limits::FILES_SHARE_MIN);
        assert!(!disk(room).is_tight());
        assert_eq!(disk(room).pause(), Duration::from_secs(1));
        let nearly = Stored {
            bytes: limits::DISK_RESERVE_BYTES + limits::WRITE_SPEED_MAX / 4,
            ..room
        };
        assert_eq!(disk(nearly).pause(), Duration::from_millis(250));
        let few = Stored { files: 100, ..room };
        assert!(disk(few).is_tight());
        let least = Duration::from_millis(limits::GUARD_PAUSE_MS_MIN);
        assert_eq!(disk(few).pause(), least);
    }
}
