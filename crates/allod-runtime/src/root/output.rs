//! The pipes through which a workload's outputs reach its log.
//!
//! They have names in the workload's own directory, so that a new shim can open them when the old one has died. The
//! workload has them open for reading, too: while nobody else reads, what it writes waits in the pipe instead of
//! killing it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::record::Place;

/// Both sides of standard output and error, in this order.
pub(super) struct Outputs {
    /// For the workload.
    pub(super) inner: [OwnedFd; 2],
    /// For whoever writes the log.
    pub(super) outer: [OwnedFd; 2],
}

impl Outputs {
    /// Makes the pipes. They belong to the user and group of the first process, as the host numbers them, because
    /// images open `/dev/stdout` by its path.
    pub(super) fn make(place: &Place, (uid, gid): (u32, u32)) -> io::Result<Self> {
        let mode = Mode::RUSR | Mode::WUSR;
        for path in place.outputs() {
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0)?;
            chown(&path, Some(uid), Some(gid))?;
        }
        let outer = open(place)?;
        let [stdout, stderr] = place.outputs();
        let inner = |path| rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        Ok(Self {
            inner: [inner(stdout)?, inner(stderr)?],
            outer,
        })
    }
}

/// Opens the pipes for reading. What was written and not read yet is still in them, as long as somebody has had them
/// open all the time.
pub(super) fn open(place: &Place) -> io::Result<[OwnedFd; 2]> {
    let [stdout, stderr] = place.outputs();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |path| rustix::fs::open(path, flags, Mode::empty());
    Ok([open(stdout)?, open(stderr)?])
}
