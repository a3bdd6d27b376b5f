//! A disk in memory that does its worst within the rules: for the simulator and the crash tests.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile};

/// A drive writes whole sectors; a write over several may survive in some of them only.
const SECTOR: usize = 512;

/// A disk whose crashes, errors and size the test decides. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    files: BTreeMap<String, Content>,
    /// Handles opened before the last crash are dead.
    generation: u64,
    capacity: u64,
    syncs_until_failure: Option<u64>,
    failures_forgotten: bool,
    syncs_ignored: bool,
    syncs: u64,
    changes_until_death: Option<u64>,
    lock: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            generation: 0,
            capacity: u64::MAX,
            syncs_until_failure: None,
            failures_forgotten: false,
            syncs_ignored: false,
            syncs: 0,
            changes_until_death: None,
            lock: Arc::default(),
        }
    }
}

impl MemoryDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("no code panics while it holds the disk")
    }

    /// The machine loses power: of what was not synced, `draw` (which gives a number below its
    /// argument) decides what survives. Every open handle is dead from now on.
    pub fn crash(&self, mut draw: impl FnMut(u64) -> u64) {
        let mut inner = self.inner();
        inner.generation = inner.generation.wrapping_add(1);
        inner.lock = Arc::default();
        inner.changes_until_death = None;
        for content in inner.files.values_mut() {
            for change in std::mem::take(&mut content.pending) {
                survive(&mut content.durable, change, &mut draw);
            }
            content.current = content.durable.clone();
        }
    }

    /// The sync after `count` more good ones fails, and all after it.
    pub fn fail_sync_after(&self, count: u64) {
        self.inner().syncs_until_failure = Some(count);
    }

    /// A sync that fails loses what it should have written, and reads go on showing it, as those of a kernel that takes
    /// its pages for written: no later sync writes it, and [`MemoryDisk::crash`] shows that it is not there.
    pub fn forget_failed_syncs(&self) {
        self.inner().failures_forgotten = true;
    }

    /// A planted bug: syncs succeed and do nothing.
    pub fn ignore_syncs(&self) {
        self.inner().syncs_ignored = true;
    }

    /// Another disk with the same durable content.
    #[must_use]
    pub fn fork(&self) -> Self {
        let inner = self.inner();
        let files = inner.files.iter().map(|(name, content)| {
            let durable = content.durable.clone();
            (
                name.clone(),
                Content {
                    current: durable.clone(),
                    durable,
                    pending: Vec::new(),
                },
            )
        });
        let files = files.collect();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                files,
                ..Inner::default()
            })),
        }
    }

    /// How many syncs there were.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// The machine dies after `count` more changes: everything after that fails until
    /// [`MemoryDisk::crash`].
    pub fn die_after(&self, count: u64) {
        self.inner().changes_until_death = Some(count);
    }

    /// From now on the files together may not exceed so many bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner().capacity = bytes;
    }

    /// Flips bits of one byte, as a failing drive does.
    pub fn flip(&self, name: &str, at: u64, mask: u8) {
        let mut inner = self.inner();
        let Some(content) = inner.files.get_mut(name) else {
            return;
        };
        let Ok(at) = usize::try_from(at) else { return };
        for bytes in [&mut content.durable, &mut content.current] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
    }

    /// The length of a file; 0 where it is missing.
    #[must_use]
    pub fn file_len(&self, name: &str) -> u64 {
        let inner = self.inner();
        inner
            .files
            .get(name)
            .map_or(0, |content| to_u64(content.current.len()))
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn to_usize(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

fn survive(durable: &mut Vec<u8>, change: Change, draw: &mut impl FnMut(u64) -> u64) {
    match (change, draw(3)) {
        (_, 0) => {}
        (Change::SetLen(len), _) => durable.resize(len, 0),
        (Change::Write { at, bytes }, 1) => write(durable, at, &bytes),
        (Change::Write { at, bytes }, _) => {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if draw(2) == 0 {
                    write(
                        durable,
                        at.saturating_add(index.saturating_mul(SECTOR)),
                        sector,
                    );
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

impl Inner {
    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|content| to_u64(content.current.len()))
            .sum()
    }

    /// Counts one change; an error where the machine has died.
    fn change(&mut self) -> io::Result<()> {
        match self.changes_until_death.as_mut() {
            Some(0) => Err(io::Error::other("the machine has died")),
            Some(left) => {
                *left = left.saturating_sub(1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn grow(&self, name: &str, len: usize) -> io::Result<()> {
        let now = self
            .files
            .get(name)
            .map_or(0, |content| content.current.len());
        let more = to_u64(len.saturating_sub(now));
        if more > 0 && self.used().saturating_add(more) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        if !inner.files.contains_key(name) {
            inner.change()?;
        }
        inner.files.entry(name.to_owned()).or_default();
        let generation = inner.generation;
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            name: name.to_owned(),
            generation,
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().files.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        let content = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.change()?;
        inner.files.remove(name);
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send + Sync>> {
        let held = self.inner().lock.clone();
        if held.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(held)))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner();
        Ok(inner.capacity.saturating_sub(inner.used()))
    }
}

struct Lock(Arc<AtomicBool>);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    name: String,
    generation: u64,
}

impl MemoryFile {
    fn inner(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.disk.inner();
        if inner.generation != self.generation {
            return Err(io::Error::other(
                "the machine has crashed since this file was opened",
            ));
        }
        Ok(inner)
    }
}

fn content<'a>(inner: &'a mut Inner, name: &str) -> io::Result<&'a mut Content> {
    inner
        .files
        .get_mut(name)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(to_u64(
            content(&mut *self.inner()?, &self.name)?.current.len(),
        ))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner()?;
        let start = to_usize(offset)?;
        let end = start.saturating_add(out.len());
        let bytes = content(&mut inner, &self.name)?.current.get(start..end);
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.change()?;
        let at = to_usize(offset)?;
        inner.grow(&self.name, at.saturating_add(bytes.len()))?;
        let content = content(&mut inner, &self.name)?;
        write(&mut content.current, at, bytes);
        content.pending.push(Change::Write {
            at,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.change()?;
        let len = to_usize(len)?;
        inner.grow(&self.name, len)?;
        let content = content(&mut inner, &self.name)?;
        content.current.resize(len, 0);
        content.pending.push(Change::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.change()?;
        match inner.syncs_until_failure.as_mut() {
            Some(0) => {
                if inner.failures_forgotten {
                    content(&mut inner, &self.name)?.pending.clear();
                }
                return Err(io::Error::other("input/output error (injected)"));
            }
            Some(left) => *left = left.saturating_sub(1),
            None => {}
        }
        inner.syncs = inner.syncs.saturating_add(1);
        if inner.syncs_ignored {
            return Ok(());
        }
        let content = content(&mut inner, &self.name)?;
        for change in std::mem::take(&mut content.pending) {
            match change {
                Change::SetLen(len) => content.durable.resize(len, 0),
                Change::Write { at, bytes } => write(&mut content.durable, at, &bytes),
            }
        }
        Ok(())
    }
}
