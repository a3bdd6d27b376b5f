//! The few system calls that no safe crate offers, each behind a safe function.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Pid, Signal, set_parent_process_death_signal};

/// Which side of a fork one is on.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old process, with the new one's number.
    Parent(Pid),
}

/// Copies this process. Only for a process with a single thread: the child may then use all of
/// Rust, as no lock can be held by a thread that does not exist in it.
pub(crate) fn fork() -> io::Result<Fork> {
    assert!(is_single_threaded(), "fork needs a single-threaded process");
    fork_again()
}

/// [`fork`] where `/proc` does not show this process any more. Only in a process that has itself
/// come from [`fork`] and has started no thread since.
#[expect(unsafe_code, reason = "fork has no safe wrapper")]
pub(crate) fn fork_again() -> io::Result<Fork> {
    // SAFETY: there is one thread, so the child is a whole copy and may do anything.
    let result = unsafe { libc::fork() };
    match Pid::from_raw(result) {
        _ if result < 0 => Err(io::Error::last_os_error()),
        Some(pid) => Ok(Fork::Parent(pid)),
        None => Ok(Fork::Child),
    }
}

/// Ends this process at once: no destructor and no exit handler runs.
#[expect(unsafe_code, reason = "_exit has no safe wrapper")]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Blocks the signals that [`signal_fd`] reads, or all of them back.
#[expect(unsafe_code, reason = "sigprocmask has no safe wrapper")]
pub(crate) fn mask_signals(signals: &[i32]) -> io::Result<()> {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised and lives through the call; no old set is asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives all signals the effects that they have by themselves: one that this process was started with as ignored would stay
/// so in the program that it becomes, and a shell there could not even ask for it.
#[expect(unsafe_code, reason = "signal has no safe wrapper")]
pub(crate) fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: no handler is set; a signal whose effect nobody may change keeps it.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// A descriptor that becomes readable when one of the (blocked) signals arrives.
#[expect(unsafe_code, reason = "signalfd has no safe wrapper")]
pub(crate) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised; the result is checked before it is owned.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal that waits in a [`signal_fd`].
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut bytes = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(fd, &mut bytes) {
        Ok(read) if read == bytes.len() => {
            // The number is the first field of the structure.
            Ok(Some(i32::from_ne_bytes([
                bytes[0], bytes[1], bytes[2], bytes[3],
            ])))
        }
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "short read of a signal",
        )),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[expect(unsafe_code, reason = "signal sets have no safe wrapper")]
fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a signal set is plain bytes, all-zero included; sigemptyset then initialises it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place to write to.
    unsafe { libc::sigemptyset(&mut set) };
    for signal in signals {
        // SAFETY: `set` was initialised; unknown numbers are refused, not undefined.
        unsafe { libc::sigaddset(&mut set, *signal) };
    }
    set
}

/// Ends up with exactly standard input, output, error and `kept` (which becomes descriptor 3):
/// a worker holds nothing of what the root process holds.
#[expect(unsafe_code, reason = "takes over all descriptors of the process")]
pub(crate) fn keep_only(kept: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    // Move all out of the way first, above every place that is written to below.
    let high = 3 + kept.len() as i32;
    let moved: Vec<OwnedFd> = kept
        .into_iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(&fd, high).map_err(io::Error::from))
        .collect::<io::Result<_>>()?;
    let mut owned = Vec::with_capacity(moved.len());
    for (place, fd) in (3..).zip(&moved) {
        // SAFETY: the place may be held by an owner of the parent's; this process forgets those
        // owners (it never returns to them) and owns the places from here on.
        let result = unsafe { libc::dup3(fd.as_raw_fd(), place, libc::O_CLOEXEC) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made here.
        owned.push(unsafe { OwnedFd::from_raw_fd(place) });
    }
    std::mem::forget(moved);
    // SAFETY: as above: whoever owned these is never run again in this process.
    let result = unsafe { libc::close_range(high as libc::c_uint, libc::c_uint::MAX, 0) };
    if result == 0 {
        Ok(owned)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The user at the other end of a socket. The safe wrapper takes a peer in a process namespace that cannot be seen from
/// here, which has the number 0, for an error.
#[expect(
    unsafe_code,
    reason = "the safe wrapper cannot express a peer without a number"
)]
pub(crate) fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: a plain structure of numbers, for which all zeros are a value.
    let mut peer: libc::ucred = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `peer`, which has that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(peer.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes orphaned descendants children of this process.
#[expect(unsafe_code, reason = "prctl has no safe wrapper for it")]
pub(crate) fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Hides this process from those it meets in a container, until it executes something.
#[expect(unsafe_code, reason = "prctl has no safe wrapper for it")]
pub(crate) fn become_undumpable() -> io::Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Overwrites the arguments and variables that this process was started with, where others can read them. Only for one
/// that never looks at them again.
#[expect(unsafe_code, reason = "they lie where the kernel has put them")]
pub(crate) fn erase_arguments() -> io::Result<()> {
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/self/stat");
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything, so count from the last one.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(unreadable)?;
    let places = rest.split_ascii_whitespace().skip(45).take(4);
    let places: Vec<usize> = places.filter_map(|place| place.parse().ok()).collect();
    let &[arguments, arguments_end, variables, variables_end] = places.as_slice() else {
        return Err(unreadable());
    };
    for (start, end) in [(arguments, arguments_end), (variables, variables_end)] {
        if start == 0 || end < start {
            return Err(unreadable());
        }
        let length = end - start;
        let start = std::ptr::with_exposed_provenance_mut::<u8>(start);
        // SAFETY: the kernel says that this part of the stack holds them; they are bytes, which nobody looks at again.
        unsafe { std::ptr::write_bytes(start, 0, length) };
    }
    Ok(())
}

/// Has this process killed when its parent ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Takes [`die_with_parent`] back.
pub(crate) fn outlive_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(None)?)
}

/// Sends a signal, real-time ones included, to a process that cannot be mistaken for another.
#[expect(unsafe_code, reason = "the safe wrapper knows no real-time signals")]
pub(crate) fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes a descriptor, a number, and no structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0u32,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The attributes that `mount_setattr` takes.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// How a detached mount behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountFlags {
    pub(crate) read_only: bool,
    pub(crate) no_exec: bool,
}

/// Sets the flags of a detached mount (never devices, never set-user-id), and shows its owners
/// through a user namespace if one is given.
#[expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    flags: MountFlags,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut set = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID;
    if flags.read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    if flags.no_exec {
        set |= libc::MOUNT_ATTR_NOEXEC;
    }
    let mut attributes = MountAttributes {
        set,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    if let Some(namespace) = user_namespace {
        attributes.set |= libc::MOUNT_ATTR_IDMAP;
        attributes.user_namespace = namespace.as_raw_fd() as u64;
    }
    // SAFETY: the path is a NUL-terminated constant, and the structure has the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How a process has ended that somebody has reaped, as `wait` would give it. Nothing where it has not been reaped, or where
/// the kernel forgets it then (before Linux 6.15).
#[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
pub(crate) fn end_of_reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: a plain structure of numbers, for which all zeros are a value.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = u64::from(libc::PIDFD_INFO_EXIT);
    // SAFETY: the kernel writes at most as many bytes as the request names, which are the structure's.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) };
    let is_known = result == 0 && info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
    is_known.then_some(info.exit_code)
}

/// Makes a terminal the controlling one of this session.
#[expect(unsafe_code, reason = "the ioctl has no safe wrapper")]
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a descriptor and a number.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves namespaces for new ones.
#[expect(
    unsafe_code,
    reason = "unsharing the descriptor table would be unsound; refused here"
)]
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    assert!(
        !flags.contains(rustix::thread::UnshareFlags::FILES),
        "never the descriptor table"
    );
    // SAFETY: the descriptor table stays shared, which is all that the contract is about.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}
