//! Network namespaces: making one that outlives its maker, and visiting one.
//!
//! A namespace belongs to a thread, so a visit moves only the calling thread, and always back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// `NSFS_MAGIC`: the file system of namespace handles.
const NSFS_MAGIC: i128 = 0x6e73_6673;
const OWN: &str = "/proc/thread-self/ns/net";

/// An open handle of a network namespace; holding it keeps the namespace alive.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    /// The one the calling thread is in.
    pub(super) fn own() -> io::Result<Self> {
        File::open(OWN).map(Self)
    }

    /// The one a process is in.
    pub(super) fn of_process(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(Self)
    }

    /// The one pinned at a path; `None` when nothing is pinned there.
    pub(super) fn pinned(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_handle = i128::from(rustix::fs::fstatfs(&file)?.f_type) == NSFS_MAGIC;
        Ok(is_handle.then_some(Self(file)))
    }

    /// Makes a namespace and pins it at a path, where it stays when this process is gone.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path)?;
        let home = Return(File::open(OWN)?);
        unshare_network()?;
        let made = Self::own()?;
        rustix::mount::mount_bind(OWN, path)?;
        drop(home);
        Ok(made)
    }

    /// Removes the pin and its file; what is not pinned is no error.
    pub(super) fn unpin(path: &Path) -> io::Result<()> {
        while Self::pinned(path)?.is_some() {
            rustix::mount::unmount(path, UnmountFlags::DETACH)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether both are the same namespace.
    pub(super) fn is(&self, other: &Self) -> io::Result<bool> {
        Ok(self.identity()? == other.identity()?)
    }

    /// What tells it from all others that exist at the same time.
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.0.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Runs `visit` with the calling thread inside this namespace.
    pub(super) fn visit<T>(&self, visit: impl FnOnce() -> T) -> io::Result<T> {
        let home = Return(File::open(OWN)?);
        enter(&self.0)?;
        let seen = visit();
        drop(home);
        Ok(seen)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes the thread home when dropped, also when a visit panics.
struct Return(File);

impl Drop for Return {
    fn drop(&mut self) {
        // Going on in a tenant's or the router's namespace would make every later step act on
        // the wrong network. The handle is open and we had the right to leave, so this holds.
        enter(&self.0).expect("a thread may return to the namespace it came from");
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "rustix marks unshare unsafe for the sake of CLONE_FILES"
)]
fn unshare_network() -> io::Result<()> {
    // SAFETY: the danger named by rustix is a descriptor table that is no longer shared; only
    // the network namespace is left here.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}
