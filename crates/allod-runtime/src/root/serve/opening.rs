//! Taking an installation over: its directories, its lock, its socket, and what was interrupted.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::WaitOptions;

use super::{in_child, step};
use crate::container::cgroup::Hierarchy;
use crate::container::seccomp::Filters;
use crate::layout::{Layout, SHIM_MOUNT_DIR, USER_CLAIMS_DIR};
use crate::root::host::Host;
use crate::root::{Config, RootError, SOCKET_NAME, remove};
use crate::sys::{self, Fork};
use crate::{limits, wire};

/// Takes the lock, and waits a little for it: after a kill -9 of the last root process, the kernel may still be ending
/// a child of its own that holds the lock too.
pub(super) fn is_locked_soon(lock: &File) -> bool {
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let deadline = Instant::now() + Duration::from_millis(limits::LOCK_WAIT_MS);
    loop {
        if rustix::fs::flock(lock, exclusive).is_ok() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes the directories, and finds out what the host can do.
pub(super) fn prepare(config: &Config) -> Result<Host, RootError> {
    if !config.directory.is_absolute() {
        let what = format!("{} is not an absolute path", config.directory.display());
        return Err(RootError::Unsuitable(what));
    }
    let layout = Layout::new(config.installation, &config.directory);
    let make = |path: &std::path::Path, mode: u32| {
        std::fs::create_dir_all(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    let directories = [
        (layout.layers(), 0o700),
        (layout.volumes(), 0o700),
        (layout.workloads(), 0o711),
        (USER_CLAIMS_DIR.into(), 0o755),
        (SHIM_MOUNT_DIR.into(), 0o755),
    ];
    for (path, mode) in directories {
        make(&path, mode).map_err(step("make its directories"))?;
    }
    std::fs::create_dir_all(&config.run_dir).map_err(step("make its run directory"))?;
    let hierarchy =
        Hierarchy::detect().map_err(|error| RootError::Unsuitable(error.to_string()))?;
    let filters = Filters::compile().map_err(step("compile the seccomp filters"))?;
    raise_open_files();
    Ok(Host {
        layout,
        hierarchy,
        filters: Rc::new(filters),
        reader_gid: config.network_gid,
    })
}

/// Metering keeps files open; without room for that it opens them again each time.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

pub(super) fn listen(config: &Config) -> io::Result<UnixListener> {
    let listener = wire::listen(&config.run_dir, SOCKET_NAME)?;
    let path = config.run_dir.join(SOCKET_NAME);
    std::os::unix::fs::chown(&path, Some(0), Some(config.network_gid))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Finishes interrupted work before the first request, in a child: it enters namespaces.
pub(super) fn recover(host: &Host) -> Result<(), RootError> {
    let pid = match sys::fork().map_err(step("fork"))? {
        Fork::Parent(pid) => pid,
        Fork::Child => in_child(host, Vec::new(), |host, _| match remove::recover(host) {
            Ok(()) => 0,
            Err(refusal) => {
                tracing::error!(%refusal, "interrupted work not finished");
                1
            }
        }),
    };
    rustix::process::waitpid(Some(pid), WaitOptions::empty())
        .map_err(|error| step("finish interrupted work")(error.into()))?;
    Ok(())
}
