//! The archive: what happened and the raw evidence, kept by this node for as long as bills may be questioned.
//!
//! One append-only file a month, of frames `length u32 | check [4] | body`. The ledger itself is pruned sooner; this is
//! what `allod events`, `allod credits history` and `allod bill verify` read. It is a copy: whoever verifies a bill
//! checks the evidence against the accumulator under the state root, so a false archive is found out.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use allod_state::bill::month_of;
use allod_state::event::Event;
use allod_state::evidence::Item;
use allod_state::{AccountId, Action, LeaseId, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::fault::{Point, reach};
use crate::limits::{
    ARCHIVE_FRAME_BYTES_MAX, ARCHIVE_MONTHS_KEPT, HAPPENINGS_KEPT, RETIRED_KEYS_KEPT,
};

/// The length and the check before each frame's body.
const FRAME_HEAD_BYTES: usize = 8;

/// What one block added.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Entry {
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) items: Vec<Item>,
}

/// What became of a key that acted for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// The account.
    pub account: AccountId,
    /// Block time of its end.
    pub time_ms: u64,
    /// The key that took over, where it was rotated and not revoked.
    pub rotated_to: Option<PublicKey>,
}

/// What happened on the ledger, as far back as it is kept.
#[derive(Debug)]
pub(crate) struct Archive {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Entry>,
    kept: usize,
    retired: BTreeMap<PublicKey, Retired>,
    /// The retired keys in the order of their end, so that the oldest are forgotten first.
    retired_order: VecDeque<PublicKey>,
    file: Option<(u32, File)>,
    height: u64,
}

impl Archive {
    /// Opens the archive in `dir`; a frame that was being written at a crash is cut off.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let archive = Self {
            dir,
            inner: Mutex::default(),
        };
        let mut months = archive.months()?;
        let surplus = months.len().saturating_sub(ARCHIVE_MONTHS_KEPT);
        for month in months.drain(..surplus) {
            std::fs::remove_file(archive.path(month))?;
        }
        for month in months {
            let (entries, _) = read_file(&archive.path(month))?;
            let mut inner = archive.lock();
            for entry in entries {
                inner.remember(entry);
            }
        }
        Ok(archive)
    }

    /// The newest height that is in here.
    pub(crate) fn height(&self) -> u64 {
        self.lock().height
    }

    /// Adds a block; one that is in here already is passed over. Blocks in which nothing happened are not written.
    pub(crate) fn add(&self, entry: Entry) -> io::Result<()> {
        let mut inner = self.lock();
        if entry.height <= inner.height {
            return Ok(());
        }
        if entry.events.is_empty() && entry.items.is_empty() {
            inner.height = entry.height;
            return Ok(());
        }
        let month = month_of(entry.time_ms);
        if inner.file.as_ref().is_none_or(|(open, _)| *open != month) {
            inner.file = Some((month, whole_frames(&self.path(month))?));
        }
        let body = borsh::to_vec(&entry)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&check(&body));
        frame.extend_from_slice(&body);
        if let Some((_, mut file)) = inner.file.take() {
            // A frame that was written in part, as on a full disk, is cut off when the file is opened again.
            let (head, body) = frame.split_at(FRAME_HEAD_BYTES);
            file.write_all(head)?;
            reach(Point::ArchiveHeadWritten);
            file.write_all(body)?;
            inner.file = Some((month, file));
        }
        reach(Point::ArchiveWritten);
        inner.remember(entry);
        Ok(())
    }

    /// The newest entries that are kept at hand, oldest first.
    pub(crate) fn recent(&self) -> Vec<Entry> {
        self.lock().recent.iter().cloned().collect()
    }

    /// What became of a key, where it was taken from an account within the time that is kept. It may act again since.
    pub(crate) fn retired(&self, key: &PublicKey) -> Option<Retired> {
        self.lock().retired.get(key).copied()
    }

    /// All evidence of some leases, in order, for as long as it is kept.
    pub(crate) fn evidence(&self, leases: &[LeaseId]) -> io::Result<BTreeMap<LeaseId, Vec<Item>>> {
        let mut evidence: BTreeMap<LeaseId, Vec<Item>> = BTreeMap::new();
        for month in self.months()? {
            let (entries, _) = read_file(&self.path(month))?;
            for item in entries.into_iter().flat_map(|entry| entry.items) {
                if leases.contains(&item.lease) {
                    evidence.entry(item.lease).or_default().push(item);
                }
            }
        }
        Ok(evidence)
    }

    fn months(&self) -> io::Result<Vec<u32>> {
        let mut months = Vec::new();
        for file in std::fs::read_dir(&self.dir)? {
            if let Some(month) = file?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                months.push(month);
            }
        }
        months.sort_unstable();
        Ok(months)
    }

    fn path(&self, month: u32) -> PathBuf {
        self.dir.join(month.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remember(&mut self, entry: Entry) {
        self.height = self.height.max(entry.height);
        self.kept += entry.events.len();
        for event in &entry.events {
            self.retire(event, entry.time_ms);
        }
        // Evidence is read from disk when somebody asks; only events are kept at hand.
        self.recent.push_back(Entry {
            items: Vec::new(),
            ..entry
        });
        while self.kept > HAPPENINGS_KEPT {
            let Some(oldest) = self.recent.pop_front() else {
                return;
            };
            self.kept -= oldest.events.len();
        }
    }
}

impl Inner {
    fn retire(&mut self, event: &Event, time_ms: u64) {
        let (account, key, rotated_to) = match event {
            Event::KeyRevoked { account, key } => (*account, *key, None),
            Event::KeyRotated { account, old, new } => (*account, *old, Some(*new)),
            _ => return,
        };
        let retired = Retired {
            account,
            time_ms,
            rotated_to,
        };
        if self.retired.insert(key, retired).is_none() {
            self.retired_order.push_back(key);
        }
        while self.retired_order.len() > RETIRED_KEYS_KEPT {
            if let Some(oldest) = self.retired_order.pop_front() {
                self.retired.remove(&oldest);
            }
        }
    }
}

/// The evidence in a transaction's actions.
pub(crate) fn items_of(actions: &[Action]) -> Vec<Item> {
    let items = actions.iter().filter_map(|action| match action {
        Action::SubmitEvidence(evidence) => Some(evidence.items.clone()),
        _ => None,
    });
    items.flatten().collect()
}

/// A file to be appended to; what was written in part is cut off.
fn whole_frames(path: &PathBuf) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let (_, whole_bytes) = read_file(path)?;
    file.set_len(whole_bytes)?;
    Ok(file)
}

/// The whole frames of a file and how many bytes they take.
fn read_file(path: &PathBuf) -> io::Result<(Vec<Entry>, u64)> {
    let mut file = BufReader::new(File::open(path)?);
    let mut entries = Vec::new();
    let mut whole_bytes = 0;
    while let Some((entry, bytes)) = read_frame(&mut file) {
        entries.push(entry);
        whole_bytes += bytes;
    }
    Ok((entries, whole_bytes))
}

fn read_frame(file: &mut impl Read) -> Option<(Entry, u64)> {
    let mut head = [0; 8];
    file.read_exact(&mut head).ok()?;
    let (length, sum) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().ok()?);
    if length > ARCHIVE_FRAME_BYTES_MAX {
        return None;
    }
    let mut body = vec![0; usize::try_from(length).ok()?];
    file.read_exact(&mut body).ok()?;
    if sum != check(&body) {
        return None;
    }
    Some((borsh::from_slice(&body).ok()?, 8 + u64::from(length)))
}

fn check(body: &[u8]) -> [u8; 4] {
    let hash = blake3::hash(body);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(height: u64, lease: u8) -> Entry {
        let item = Item {
            lease: LeaseId([lease; 32]),
            epoch: 1,
            from_ms: height,
            until_ms: height + 1,
            ready_ms: 1,
            usage: allod_state::evidence::Usage::default(),
        };
        Entry {
            height,
            time_ms: 1_795_219_200_000,
            events: Vec::new(),
            items: vec![item],
        }
    }

    #[test]
    fn a_torn_frame_is_cut_off_and_writing_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(dir.path().to_owned()).unwrap();
        archive.add(entry(1, 1)).unwrap();
        archive.add(entry(2, 2)).unwrap();
        drop(archive);
        let path = dir.path().join("202611");
        let length = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length - 3)
            .unwrap();
        let archive = Archive::open(dir.path().to_owned()).unwrap();
        assert_eq!(archive.height(), 1);
        archive.add(entry(2, 2)).unwrap();
        archive.add(entry(2, 2)).unwrap();
        let both = [LeaseId([1; 32]), LeaseId([2; 32])];
        let evidence = archive.evidence(&both).unwrap();
        assert_eq!(evidence.values().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }
}
