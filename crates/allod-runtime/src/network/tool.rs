//! Running the programs that write packet filters: by absolute path, without a shell, with an
//! empty environment, and never for longer than a limit.
//!
//! Rules are written by `nft` and not over netlink: its language is what an operator reads in
//! `nft list ruleset`, and the libraries that would spare it need C.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;

use super::allocation::Lock;
use super::error::NetworkError;
use super::limits::{TOOL_OUTPUT_BYTES_MAX, TOOL_TIMEOUT};

const DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/sbin",
    "/usr/bin",
    "/usr/local/sbin",
    "/bin",
    "/run/current-system/sw/bin",
];

/// A program of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// The front end of nf_tables.
    Nft,
    /// The front end of the older ip_tables, where a host still uses it.
    IptablesLegacy,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::IptablesLegacy => "iptables-legacy",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Nft => "nftables",
            Self::IptablesLegacy => "iptables",
        }
    }

    /// Where the program is.
    pub(super) fn find(self) -> Result<PathBuf, NetworkError> {
        DIRECTORIES
            .iter()
            .map(|directory| Path::new(directory).join(self.name()))
            .find(|path| path.exists())
            .ok_or(NetworkError::ToolMissing {
                tool: self.name(),
                package: self.package(),
            })
    }

    /// Runs the program in the current network namespace; the result is what it printed. It holds
    /// the lock too: if this process is killed meanwhile, nobody else begins before it has ended.
    pub(super) fn run(
        self,
        lock: &Lock,
        attempted: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, NetworkError> {
        let path = self.find()?;
        let context = || format!("{attempted} with `{}`", self.name());
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        bequeath(&mut command, lock);
        let mut child = command.spawn().map_err(NetworkError::kernel(context()))?;
        let output = converse(&mut child, input);
        if output.is_err() {
            // It did not end in time or cannot be read: nothing it would still say matters.
            let _ = child.kill();
        }
        let status = child.wait().map_err(NetworkError::kernel(context()))?;
        let (stdout, stderr) = output.map_err(NetworkError::kernel(context()))?;
        if status.success() {
            return Ok(stdout);
        }
        let stderr = stderr.trim().chars().take(2_000).collect();
        Err(NetworkError::Tool {
            tool: self.name(),
            attempted: attempted.to_owned(),
            stderr,
        })
    }
}

/// Makes a program hold the lock as long as it runs.
#[expect(
    unsafe_code,
    reason = "only code between fork and exec can pass one descriptor to one program"
)]
fn bequeath(command: &mut Command, lock: &Lock) {
    let descriptor = lock.as_fd().as_raw_fd();
    let keep_open = move || {
        // SAFETY: the descriptor is open in the child, which is a copy of a process that holds it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: the closure makes one system call and neither allocates nor takes a lock.
    unsafe { command.pre_exec(keep_open) };
}

/// Writes the input, then reads both outputs to their end.
fn converse(child: &mut Child, input: &str) -> io::Result<(String, String)> {
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error);
    }
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe));
    };
    let deadline = Instant::now() + TOOL_TIMEOUT;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut sources = Vec::new();
        if out_open {
            sources.push(PollFd::new(&stdout, PollFlags::IN));
        }
        if err_open {
            sources.push(PollFd::new(&stderr, PollFlags::IN));
        }
        match poll(&mut sources, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = sources.iter().map(|source| !source.revents().is_empty());
        let out_ready = out_open && ready.next().unwrap_or(false);
        let err_ready = err_open && ready.next().unwrap_or(false);
        drop(sources);
        out_open = out_open && (!out_ready || take_some(&mut stdout, &mut out)?);
        err_open = err_open && (!err_ready || take_some(&mut stderr, &mut err)?);
    }
    Ok((
        String::from_utf8_lossy(&out).into_owned(),
        String::from_utf8_lossy(&err).into_owned(),
    ))
}

/// Reads what is there; `false` at the end.
fn take_some(source: &mut impl Read, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    let count = source.read(&mut buffer)?;
    if into.len() + count > TOOL_OUTPUT_BYTES_MAX {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    into.extend_from_slice(&buffer[..count]);
    Ok(count > 0)
}
