//! The nonces in use, on disk: what was let in once is not let in again by the next process.
//!
//! Without this, a request could be sent twice around a restart: one signed in the second in which the node came up
//! again, or one whose signer's clock runs ahead, is not older than the start. Each nonce is written, as a fixed record
//! of mark, key, share and time, before its request is answered. Records go to the system's cache, not through it: they survive
//! the end of the process, and a machine that lost power is down for longer than most signatures live.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;

use allod_state::{AccountId, PublicKey};

use super::limits::JOURNAL_RECORDS_MAX;
use super::replay::{Mark, Share, Used};

/// Mark, key, kind of share, its account, and when it may be forgotten.
pub(super) const RECORD_BYTES: usize = MARK_BYTES + 32 + 1 + 32 + 8;

const MARK_BYTES: usize = size_of::<Mark>();

const OF_OPERATOR: u8 = 1;
const OF_ACCOUNT: u8 = 2;

/// The file of used nonces.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    records: usize,
}

impl Journal {
    /// Opens the file and gives what of it still counts. A record that was being written at a crash is passed over.
    pub(super) fn open(path: PathBuf, now_s: u64) -> io::Result<(Self, Vec<Used>)> {
        let mut used = match File::open(&path) {
            Ok(file) => read(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        used.retain(|used| used.due_s >= now_s);
        let file = write_all(&path, &used)?;
        let records = used.len();
        Ok((
            Self {
                path,
                file,
                records,
            },
            used,
        ))
    }

    /// Writes one more, and begins the file anew with what still counts where it has grown long.
    pub(super) fn add(&mut self, used: &Used, all: impl Iterator<Item = Used>) -> io::Result<()> {
        if self.records < JOURNAL_RECORDS_MAX {
            return self.append(used);
        }
        let all: Vec<Used> = all.collect();
        self.file = write_all(&self.path, &all)?;
        self.records = all.len();
        Ok(())
    }

    fn append(&mut self, used: &Used) -> io::Result<()> {
        let written = self.file.write_all(&record(used));
        if written.is_ok() {
            self.records += 1;
        } else if let Ok(end) = u64::try_from(self.records * RECORD_BYTES) {
            // Half a record would put all that follow it out of step.
            self.file.set_len(end)?;
        }
        written
    }
}

/// Puts a new file in the place of the old one, and leaves it open to be added to.
fn write_all(path: &PathBuf, used: &[Used]) -> io::Result<File> {
    let mut next = path.clone().into_os_string();
    next.push(".next");
    let bytes: Vec<u8> = used.iter().flat_map(record).collect();
    fs::write(&next, bytes)?;
    let file = OpenOptions::new().append(true).open(&next)?;
    fs::rename(&next, path)?;
    Ok(file)
}

fn read(file: File) -> io::Result<Vec<Used>> {
    let mut file = BufReader::new(file);
    let mut used = Vec::new();
    let mut bytes = [0; RECORD_BYTES];
    // No honest file holds more than what it is begun anew after.
    for _ in 0..JOURNAL_RECORDS_MAX {
        match file.read_exact(&mut bytes) {
            Ok(()) => used.extend(parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

fn record(used: &Used) -> [u8; RECORD_BYTES] {
    let (share, key) = used.signer;
    let (kind, account) = match share {
        Share::Operator => (OF_OPERATOR, AccountId([0; 32])),
        Share::Account(account) => (OF_ACCOUNT, account),
    };
    let mut bytes = [0; RECORD_BYTES];
    let (mark_place, rest) = bytes.split_at_mut(MARK_BYTES);
    let (key_place, rest) = rest.split_at_mut(32);
    let (kind_place, rest) = rest.split_at_mut(1);
    let (account_place, due_place) = rest.split_at_mut(32);
    mark_place.copy_from_slice(&used.mark);
    key_place.copy_from_slice(key.as_bytes());
    kind_place.copy_from_slice(&[kind]);
    account_place.copy_from_slice(&account.0);
    due_place.copy_from_slice(&used.due_s.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8; RECORD_BYTES]) -> Option<Used> {
    let (mark, rest) = bytes.split_at(MARK_BYTES);
    let (key, rest) = rest.split_at(32);
    let (kind, rest) = rest.split_at(1);
    let (account, due) = rest.split_at(32);
    let mark: Mark = mark.try_into().ok()?;
    let share = match kind {
        [OF_OPERATOR] => Share::Operator,
        [OF_ACCOUNT] => Share::Account(AccountId(account.try_into().ok()?)),
        _ => return None,
    };
    Some(Used {
        mark,
        signer: (share, PublicKey::Ed25519(key.try_into().ok()?)),
        due_s: u64::from_le_bytes(due.try_into().ok()?),
    })
}
