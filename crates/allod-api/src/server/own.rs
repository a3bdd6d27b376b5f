//! The owner's own door: a socket in the home, beside the one that everybody can knock at.
//!
//! What comes in here has to be signed as everywhere; the door gives no right. It gives a way that no crowd can stand in:
//! the kernel lets only root and the home's owner connect, and its queue, its accepting and its seats are its own.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Gid, Uid};

use crate::limits::OWN_BACKLOG;

/// Binds the owner's own door at `path`, for root and the owner of `identity` alone. Called by the root process, before
/// it gives up any right.
///
/// # Errors
/// Where something else is at that path, or the system refuses.
pub fn bind_own(path: &Path, identity: &Path) -> io::Result<UnixListener> {
    let owner = std::fs::metadata(identity)?;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Nobody else's from the first moment on: the file gets the mode that the socket has.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, OWN_BACKLOG)?;
    // By the open file and not by its path once more: the folder may be the owner's, who could put another in its place.
    let file = rustix::fs::open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket || found.st_nlink != 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    rustix::fs::chownat(&file, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
