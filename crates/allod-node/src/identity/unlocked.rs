//! Keys that are held open for a while, so that a passphrase is typed once and not at every command.
//!
//! `allod identity unlock` starts a process that has the opened key in memory and listens on a socket in the home's
//! `run/`. Commands of the same user ask it; when the time is up, when it is told to lock, and when it dies, the key is
//! gone from the machine but for the closed file. Nothing of it is ever written to a disk in clear.
//!
//! - The time is that since boot, so that a laptop that sleeps through the end wakes up locked.
//! - The socket is for its owner alone (0600), and both ends ask the kernel who is on the other one.
//! - The process cannot be traced or dumped, and its memory is kept out of swap where the system's limit allows.
//!
//! *What it does not protect against:* a program of the same user can ask for the key while it is held, as it could read
//! the keyboard when the passphrase is typed. A kernel keyring would know the same bound, but is closed to containers
//! and shared by everything of a user as well.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::MlockAllFlags;
use rustix::process::DumpableBehavior;
use rustix::time::ClockId;

use super::secret::Secret;
use super::{Description, Identity, IdentityError, payload};

/// The longest that a key is held open.
pub const UNLOCKED_MAX: Duration = Duration::from_hours(24);
/// How long either end waits for the other.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the holder looks at the clock while nobody asks.
const TICK: Duration = Duration::from_secs(5);
const REQUEST_BYTES_MAX: u64 = 16;
const ANSWER_BYTES_MAX: u64 = 1024;

const OPEN: &str = "open\n";
const LEFT: &str = "left\n";
const LOCK: &str = "lock\n";

/// A key that is held open.
pub struct Held {
    listener: UnixListener,
    socket: PathBuf,
    payload: Secret<String>,
    end: Duration,
}

impl Held {
    /// Holds `identity` open at `socket` for a time, in place of whoever held it before.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn open(socket: &Path, identity: &Identity, time: Duration) -> Result<Self, IdentityError> {
        lock(socket);
        let listener = listen(socket).map_err(|source| IdentityError::Hold { source })?;
        Ok(Self {
            listener,
            socket: socket.to_owned(),
            payload: payload::write(identity),
            end: since_boot().saturating_add(time.min(UNLOCKED_MAX)),
        })
    }

    /// Answers until the time is up or somebody locks it.
    pub fn serve(self) {
        self.serve_by(since_boot);
    }

    pub(super) fn serve_by(self, now: impl Fn() -> Duration) {
        loop {
            let left = self.end.saturating_sub(now());
            if left.is_zero() || self.wait(left.min(TICK)).is_err() {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let left = self.end.saturating_sub(now());
                    if left.is_zero() || self.answer(stream, left) == Ok(Told::Lock) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    fn wait(&self, left: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers one request; a caller who breaks it off does no harm.
    fn answer(&self, mut stream: UnixStream, left: Duration) -> Result<Told, ()> {
        if !is_own(&stream) {
            return Err(());
        }
        let request = exchange_in(&mut stream).map_err(drop)?;
        let seconds = format!("{}\n", left.as_secs().max(1));
        match request.as_str() {
            OPEN => {
                let sent = stream
                    .write_all(seconds.as_bytes())
                    .and_then(|()| stream.write_all(self.payload.expose().as_bytes()));
                sent.map_err(drop)?;
                Ok(Told::Answer)
            }
            LEFT => stream
                .write_all(seconds.as_bytes())
                .map(|()| Told::Answer)
                .map_err(drop),
            // Nothing more comes: the caller waits until the stream closes, which is when the key is gone.
            LOCK => Ok(Told::Lock),
            _ => Err(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Where it is gone already, there is nothing to take away.
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[derive(PartialEq, Eq)]
enum Told {
    Answer,
    Lock,
}

impl Identity {
    /// Hands the key to a process of ours through a pipe.
    ///
    /// # Errors
    /// Where the pipe breaks.
    pub fn write_to_pipe(&self, pipe: &mut impl Write) -> io::Result<()> {
        pipe.write_all(payload::write(self).expose().as_bytes())
    }

    /// Takes the key that [`Identity::write_to_pipe`] handed over.
    ///
    /// # Errors
    /// Where something else came.
    pub fn read_from_pipe(pipe: &mut impl Read) -> Result<Self, IdentityError> {
        let bytes = read_all(pipe).map_err(|source| IdentityError::Hold { source })?;
        payload::read(bytes.expose())
    }
}

/// Takes from this process what would let others look into its memory. What the system does not allow is left.
pub fn harden() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE);
}

/// The key that is held open at a socket, where it is the one that is described.
#[must_use]
pub fn unlocked(socket: &Path, description: &Description) -> Option<Identity> {
    let answer = ask(socket, OPEN).ok()?;
    let start = answer.expose().iter().position(|byte| *byte == b'\n')?;
    let identity = payload::read(answer.expose().get(start + 1..)?).ok()?;
    let is_described =
        identity.subject() == description.subject && identity.public_key() == description.key;
    is_described.then_some(identity)
}

/// For how many seconds more a key is held open at a socket; nothing where none is.
#[must_use]
pub fn seconds_left(socket: &Path) -> Option<u64> {
    let answer = ask(socket, LEFT).ok()?;
    let text = std::str::from_utf8(answer.expose()).ok()?;
    text.trim().parse().ok()
}

/// Ends the holding at a socket, and says whether there was any.
pub fn lock(socket: &Path) -> bool {
    let held = ask(socket, LOCK).is_ok();
    // A holder that was killed leaves its socket behind.
    let _ = std::fs::remove_file(socket);
    held
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn ask(socket: &Path, request: &str) -> io::Result<Secret<Vec<u8>>> {
    let mut stream = UnixStream::connect(socket)?;
    if !is_own(&stream) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    read_all(&mut stream)
}

fn exchange_in(stream: &mut UnixStream) -> io::Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    let mut byte = [0; 1];
    while u64::try_from(request.len()).is_ok_and(|length| length < REQUEST_BYTES_MAX) {
        stream.read_exact(&mut byte)?;
        let [byte] = byte;
        request.push(char::from(byte));
        if byte == b'\n' {
            break;
        }
    }
    Ok(request)
}

fn read_all(from: &mut impl Read) -> io::Result<Secret<Vec<u8>>> {
    // Room for the whole, so that growing leaves no copies behind.
    let room = usize::try_from(ANSWER_BYTES_MAX).unwrap_or(0) + 1;
    let mut bytes = Secret::new(Vec::with_capacity(room));
    from.take(ANSWER_BYTES_MAX)
        .read_to_end(bytes.expose_mut())?;
    Ok(bytes)
}

/// Whether the other end belongs to the user of this process.
fn is_own(stream: &impl AsFd) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

pub(super) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
