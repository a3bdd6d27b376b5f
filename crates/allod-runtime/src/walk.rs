//! Walking through a tree that a tenant may change at the same time.
//!
//! Every directory is opened from a descriptor of one above it, without following links, without
//! entering another mount and without leaving what is below: a directory that is swapped for a
//! link between two looks is not found any more, instead of leading out (CVE-2021-30465 and its
//! kin). No path is ever walked that the kernel would resolve by itself.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat};

/// A path this long is not walked from its start again, but from where it leads.
const PATH_BYTES_MAX: usize = 2_048;

/// A directory of such a tree, by where it was. Cheap to keep: deep trees hold few descriptors.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    from: Rc<OwnedFd>,
    path: Vec<u8>,
}

/// A directory that is open.
#[derive(Debug)]
pub(crate) struct Opened {
    descriptor: Rc<OwnedFd>,
    origin: Directory,
}

impl Directory {
    /// The top of a tree; how it was found is the caller's business.
    pub(crate) fn top(descriptor: OwnedFd) -> Self {
        Self {
            from: Rc::new(descriptor),
            path: Vec::new(),
        }
    }

    /// Opens it where it was; an error if something else is there now.
    pub(crate) fn open(&self) -> io::Result<Opened> {
        let path: &[u8] = if self.path.is_empty() {
            b"."
        } else {
            &self.path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let descriptor = open_below(&self.from, OsStr::from_bytes(path), flags)?;
        Ok(Opened {
            descriptor: Rc::new(descriptor),
            origin: self.clone(),
        })
    }
}

impl Opened {
    /// The names in it. They may be gone, or others, at the next look.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    /// Where a directory is open.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// What it is itself.
    pub(crate) fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.descriptor)?)
    }

    /// What an entry is; a link is a link.
    pub(crate) fn stat_entry(&self, name: &[u8]) -> io::Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let name = OsStr::from_bytes(name);
        Ok(rustix::fs::statat(&self.descriptor, name, flags)?)
    }

    /// Where a link leads.
    pub(crate) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        let name = OsStr::from_bytes(name);
        let target = rustix::fs::readlinkat(&self.descriptor, name, Vec::new())?;
        Ok(target.into_bytes())
    }

    /// Opens a file to read; a link in its place is an error, and a pipe does not block.
    pub(crate) fn open_file(&self, name: &[u8]) -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = open_below(&self.descriptor, OsStr::from_bytes(name), flags)?;
        Ok(file.into())
    }

    /// A directory in it, to be opened later.
    pub(crate) fn directory(&self, name: &[u8]) -> Directory {
        let origin = &self.origin;
        if origin.path.len() + name.len() >= PATH_BYTES_MAX {
            return Directory {
                from: Rc::clone(&self.descriptor),
                path: name.to_vec(),
            };
        }
        let mut path = origin.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Directory {
            from: Rc::clone(&origin.from),
            path,
        }
    }
}

fn open_below(from: impl AsFd, path: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(&from, path, flags, Mode::empty(), resolve) {
            // Something above was renamed meanwhile, and the kernel is not sure.
            Err(rustix::io::Errno::AGAIN) if tries < 16 => tries += 1,
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
