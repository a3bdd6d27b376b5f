//! Mounts made with descriptors instead of paths, so that no path of a tenant is ever walked by
//! the kernel outside the root that it belongs to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::sys::{self, MountFlags};

/// A copy of the mount at `source`, not attached anywhere yet.
pub(crate) fn clone_tree(
    source: &Path,
    flags: MountFlags,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let open = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, source, open)?;
    sys::set_mount_attributes(tree.as_fd(), flags, user_namespace)?;
    Ok(tree)
}

/// A new file system of the given kind, not attached anywhere yet.
pub(crate) fn new_file_system(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let explain = |error: rustix::io::Errno| {
        let mut message = [0u8; 512];
        // The kernel explains itself in lines such as `e overlay: …`.
        let length = rustix::io::read(&context, &mut message).unwrap_or(0);
        let detail = String::from_utf8_lossy(&message[..length])
            .trim()
            .to_owned();
        io::Error::new(io::Error::from(error).kind(), format!("{error} {detail}"))
    };
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", "allod").map_err(explain)?;
    for (name, value) in options {
        let set = if value.is_empty() {
            rustix::mount::fsconfig_set_flag(context.as_fd(), *name)
        } else {
            rustix::mount::fsconfig_set_string(context.as_fd(), *name, *value)
        };
        set.map_err(explain)?;
    }
    rustix::mount::fsconfig_create(context.as_fd()).map_err(explain)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    rustix::mount::fsmount(context.as_fd(), flags, attributes).map_err(explain)
}

/// Attaches a mount on top of what `target` refers to.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", target, "", flags)?)
}

/// Opens a path of our own, as a place and not for reading.
pub(crate) fn open_place(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens `path` inside `root`, as a place; symbolic links lead nowhere but inside `root`.
pub(crate) fn open_inside(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let path = path.trim_matches('/');
    let path = if path.is_empty() { "." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?)
}

/// Opens a directory that lies right in `root`, and makes it if nothing is there. A link in its
/// place is no directory, wherever it leads.
pub(crate) fn ensure_directory(
    root: BorrowedFd<'_>,
    name: &str,
    owner: u32,
) -> io::Result<OwnedFd> {
    match rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => make(root, name, Missing::Directory, owner)?,
        Err(errno) => return Err(errno.into()),
        Ok(_) => {}
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(
        root,
        name,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// What to make where a path ends and nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Directory,
    File,
}

/// Opens `path` inside `root` as a place, making what is missing, for `owner`.
pub(crate) fn ensure_inside(
    root: BorrowedFd<'_>,
    path: &str,
    missing: Missing,
    owner: u32,
) -> io::Result<OwnedFd> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut place = open_inside(root, "/")?;
    for depth in 1..=parts.len() {
        let so_far = parts[..depth].join("/");
        let is_last = depth == parts.len();
        place = match open_inside(root, &so_far) {
            Ok(place) => place,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = if is_last { missing } else { Missing::Directory };
                make(place.as_fd(), parts[depth - 1], what, owner)?;
                open_inside(root, &so_far)?
            }
            Err(error) => return Err(error),
        };
    }
    let is_directory = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode)
        == rustix::fs::FileType::Directory;
    match (missing, is_directory) {
        (Missing::Directory, false) => Err(io::ErrorKind::NotADirectory.into()),
        (Missing::File, true) => Err(io::ErrorKind::IsADirectory.into()),
        _ => Ok(place),
    }
}

fn make(parent: BorrowedFd<'_>, name: &str, what: Missing, owner: u32) -> io::Result<()> {
    match what {
        Missing::Directory => {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        }
        Missing::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
        }
    }
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(
        parent,
        name,
        Some(uid),
        Some(gid),
        flags,
    )?)
}

#[cfg(test)]
mod tests;
