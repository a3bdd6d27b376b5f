//! A supervised process that cannot start: what commands read of it, so that nobody waits in vain at its door.
//!
//! The root process holds the sockets while their server is away, and a request waits there for the next one. That is
//! right for a moment. Where the server ends again and again, the root process says so in a file, and takes it back once
//! the server says that it is ready.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::ProcessEnd;

/// The name of the file in the installation's `run/` directory.
pub(super) const FILE_NAME: &str = "down.json";
/// Largest such file, in bytes: the last words, each byte escaped, and the rest.
const FILE_BYTES_MAX: u64 = 32 * 1024;

/// What keeps a supervised process from doing its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// When it first ended so, in milliseconds since 1970.
    pub since_ms: u64,
    /// How often it was started in vain.
    pub tries: u32,
    /// How it ended last.
    pub end: String,
    /// Its last words; empty where it said none.
    pub words: String,
}

impl Down {
    /// What the root process that uses `run_dir` says; nothing where the process does its work, or where there is no
    /// word of it.
    #[must_use]
    pub fn read(run_dir: &Path) -> Option<Self> {
        let path = run_dir.join(FILE_NAME);
        let length = fs::metadata(&path).ok()?.len();
        if length > FILE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(&fs::read(&path).ok()?).ok()
    }
}

/// The ends of a process since it last lived for long: of starts in vain, or of those that went well.
#[derive(Default)]
pub(super) struct Ends {
    down: Option<Down>,
    were_ready: bool,
}

impl Ends {
    /// `was_ready` says whether it had come to do what it is there for.
    pub(super) fn add(&mut self, end: ProcessEnd, words: &[u8], was_ready: bool) {
        let end = match end {
            ProcessEnd::Exited { code } => format!("it ended with exit code {code}"),
            ProcessEnd::Signaled { signal } => format!("signal {signal} ended it"),
        };
        self.note(end, readable(words), was_ready);
    }

    pub(super) fn add_unstarted(&mut self, error: &io::Error) {
        let end = format!("it could not be started: {error}");
        self.note(end, String::new(), false);
    }

    fn note(&mut self, end: String, words: String, was_ready: bool) {
        // A start that went well, however soon it ended, is none of those in vain.
        let before = self.down.take().filter(|_| self.were_ready == was_ready);
        let (since_ms, tries) = before.map_or((now_ms(), 0), |down| (down.since_ms, down.tries));
        self.were_ready = was_ready;
        self.down = Some(Down {
            since_ms,
            tries: tries.saturating_add(1),
            end,
            words,
        });
    }

    /// Says so to commands. Where that fails, they wait as they would without it.
    pub(super) fn announce(&self, path: &Path) {
        if let Some(down) = &self.down
            && let Err(error) = write(down, path)
        {
            tracing::warn!(%error, "not said to commands that a child cannot start");
        }
    }
}

/// Takes back what was said.
pub(super) fn withdraw(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "still said to commands that a child cannot start");
        }
        _ => {}
    }
}

/// Whole or not at all, for those who read meanwhile. It needs no sync: after a power cut there is nobody to speak of.
fn write(down: &Down, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    withdraw(&beside);
    // A new file and no link: the folder may be somebody else's.
    let mut file = fs::File::create_new(&beside)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(&serde_json::to_vec(down)?)?;
    fs::rename(&beside, path)
}

/// Words of an unprivileged process as a terminal may show them.
fn readable(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let shown = words.chars().map(|c| match c {
        '\n' => '\n',
        c if c.is_control() => ' ',
        c => c,
    });
    shown.collect::<String>().trim().to_owned()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
