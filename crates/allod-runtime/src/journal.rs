//! What was begun and not finished, written before anything is made on the host.
//!
//! One record a line: a checksum in hexadecimal, then JSON. Lines are appended under a lock, and
//! not synced: they outlive every process, and what they speak of (control groups, namespaces,
//! mounts, processes) ends with the machine as they may; the directories that it leaves are found
//! by name. A line torn by a power cut is skipped. Records
//! are small, so that replaying all of them at the start is cheap; what is finished is dropped by
//! rewriting the file when it has grown.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::workload::WorkloadId;

/// Work that leaves something behind on the host if it is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub(crate) enum Intent {
    /// Making a workload.
    Create { id: WorkloadId },
    /// Removing a workload.
    Delete { id: WorkloadId },
}

impl Intent {
    /// The workload that it is about.
    pub(crate) fn workload(&self) -> WorkloadId {
        match self {
            Self::Create { id } | Self::Delete { id } => *id,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
enum Record {
    Begun(Intent),
    Finished(Intent),
}

/// Notes that the work begins.
pub(crate) fn begin(path: &Path, intent: Intent) -> io::Result<()> {
    append(path, &Record::Begun(intent))
}

/// Notes that nothing of the work is left to do.
pub(crate) fn finish(path: &Path, intent: Intent) -> io::Result<()> {
    append(path, &Record::Finished(intent))
}

/// What was begun and not finished.
pub(crate) fn unfinished(path: &Path) -> io::Result<BTreeSet<Intent>> {
    match File::open(path) {
        Ok(file) => {
            rustix::fs::flock(&file, FlockOperation::LockShared)?;
            replay(&file)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

fn append(path: &Path, record: &Record) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    if file.metadata()?.len() > limits::JOURNAL_BYTES_MAX {
        shorten(&mut file)?;
    }
    end_torn_line(&mut file)?;
    file.write_all(&encode(record)?)
}

/// A line that was torn by a crash must not swallow the next one.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0u8; 1];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")
    } else {
        Ok(())
    }
}

/// Rewrites the file with what is unfinished. In place, under the lock, for others hold the file
/// open; a crash in between loses intents at worst, and their objects are still found by name.
fn shorten(file: &mut File) -> io::Result<()> {
    let open = replay(file)?;
    let mut bytes = Vec::new();
    for intent in open {
        bytes.extend(encode(&Record::Begun(intent))?);
    }
    file.set_len(0)?;
    file.write_all(&bytes)
}

fn replay(mut file: &File) -> io::Result<BTreeSet<Intent>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let mut open = BTreeSet::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        match decode(line) {
            Some(Record::Begun(intent)) => {
                open.insert(intent);
            }
            Some(Record::Finished(intent)) => {
                open.remove(&intent);
            }
            None => {}
        }
    }
    Ok(open)
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(record)?;
    Ok(format!("{} {text}\n", checksum(text.as_bytes())).into_bytes())
}

fn decode(line: &[u8]) -> Option<Record> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let text = &line[space + 1..];
    if checksum(text).as_bytes() != &line[..space] {
        return None;
    }
    serde_json::from_slice(text).ok()
}

fn checksum(text: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&blake3::hash(text).as_bytes()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u64) -> WorkloadId {
        WorkloadId {
            lease: [1; 32],
            epoch,
        }
    }

    #[test]
    fn what_is_finished_is_forgotten_and_a_torn_line_harms_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        assert!(unfinished(&path).unwrap().is_empty());
        begin(&path, Intent::Create { id: id(1) }).unwrap();
        begin(&path, Intent::Create { id: id(2) }).unwrap();
        finish(&path, Intent::Create { id: id(1) }).unwrap();
        let torn = encode(&Record::Finished(Intent::Create { id: id(2) })).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&torn[..torn.len() / 2]).unwrap();
        begin(&path, Intent::Delete { id: id(3) }).unwrap();
        let open: Vec<Intent> = unfinished(&path).unwrap().into_iter().collect();
        assert_eq!(
            open,
            [Intent::Create { id: id(2) }, Intent::Delete { id: id(3) }]
        );
    }

    #[test]
    fn a_long_journal_is_shortened_without_losing_intents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        begin(&path, Intent::Create { id: id(7) }).unwrap();
        let padding = vec![b'x'; limits::JOURNAL_BYTES_MAX as usize];
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&padding)
            .unwrap();
        begin(&path, Intent::Create { id: id(8) }).unwrap();
        assert!(path.metadata().unwrap().len() < 1024);
        assert_eq!(unfinished(&path).unwrap().len(), 2);
    }
}
