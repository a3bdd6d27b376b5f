//! Fetching one blob: streamed to disk, hashed on the way, resumed where it broke off.
//!
//! A partial file is locked while it is written, so that two pulls of images that share a layer
//! fetch it once. Its first bytes are hashed again before more are appended; the digest is judged
//! on the whole, and only a blob that is right gets its name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use rustix::fs::FlockOperation;
use tokio::io::AsyncWriteExt;

use super::Watcher;
use super::error::PullError;
use super::registry::{Ask, Session, Tries};
use super::wire::Exchange;
use crate::image::digest::{Digest, Hasher};
use crate::image::room::Room;
use crate::image::store::BlobStore;

/// How often a blob another pull is fetching is looked for.
const SHARED_POLL: Duration = Duration::from_millis(100);
const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// The blob to fetch.
pub(super) struct Wanted {
    pub(super) what: &'static str,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Makes sure the blob is in the store.
pub(super) async fn fetch(
    session: &Session,
    store: &BlobStore,
    wanted: &Wanted,
    watcher: &Watcher,
) -> Result<(), PullError> {
    let Some(file) = lock_partial(store, wanted.digest).await? else {
        watcher.received(wanted, wanted.size);
        return Ok(());
    };
    let download = Download {
        session,
        store,
        wanted,
        watcher,
    };
    let mut tries = Tries::new(session.limits());
    let mut fresh = false;
    loop {
        let resumed = if fresh {
            0
        } else {
            download.hash_partial(&file).await?.bytes()
        };
        match download.run(&file, fresh).await {
            Ok(()) => return download.keep(&file).await,
            Err(error) if error.is_transient() => {
                fresh = false;
                tries.wait_after(error).await?;
            }
            // The first part may be what is wrong: it came from an earlier time.
            Err(PullError::BadDigest { .. } | PullError::WrongSize { .. }) if resumed > 0 => {
                fresh = true;
            }
            Err(error) => {
                download.forget();
                return Err(error);
            }
        }
    }
}

struct Download<'a> {
    session: &'a Session,
    store: &'a BlobStore,
    wanted: &'a Wanted,
    watcher: &'a Watcher,
}

/// The partial file, locked; none if the blob is there by now.
async fn lock_partial(store: &BlobStore, digest: Digest) -> Result<Option<Arc<File>>, PullError> {
    let failed = |source| PullError::Write { digest, source };
    loop {
        if store.has_blob(digest) {
            return Ok(None);
        }
        let path = store.partial_path(digest);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let file = file.map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // The one who held it may have renamed or removed the file meanwhile.
            Ok(()) if !store.has_blob(digest) && is_at(&file, &path) => {
                return Ok(Some(Arc::new(file)));
            }
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(SHARED_POLL).await,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

/// Removes what has come of a blob, unless another pull is fetching it.
pub(super) fn abandon(store: &BlobStore, digest: Digest) {
    let path = store.partial_path(digest);
    let Ok(file) = File::options().write(true).open(&path) else {
        return;
    };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && is_at(&file, &path)
    {
        // What stays is swept up in the end.
        let _ = std::fs::remove_file(path);
    }
}

fn is_at(file: &File, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(ours), Ok(theirs)) = (file.metadata(), std::fs::metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
}

impl Download<'_> {
    /// Hashes what an earlier try left.
    async fn hash_partial(&self, file: &Arc<File>) -> Result<Hasher, PullError> {
        let file = Arc::clone(file);
        let limit = self.wanted.size;
        let hash = move || -> io::Result<Hasher> {
            let mut file = &*file;
            // More than the blob can have is not its beginning.
            if file.metadata()?.len() > limit {
                file.set_len(0)?;
            }
            file.seek(SeekFrom::Start(0))?;
            let mut hasher = Hasher::default();
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher),
                    count => hasher.update(&buffer[..count]),
                }
            }
        };
        let done = tokio::task::spawn_blocking(hash)
            .await
            .map_err(io::Error::other);
        done.and_then(|result| result)
            .map_err(|source| self.write_error(source))
    }

    async fn run(&self, file: &Arc<File>, fresh: bool) -> Result<(), PullError> {
        let mut hasher = if fresh {
            Hasher::default()
        } else {
            self.hash_partial(file).await?
        };
        if hasher.bytes() < self.wanted.size || hasher.bytes() == 0 {
            let exchange = self.ask(hasher.bytes()).await?;
            if exchange.head.status != StatusCode::PARTIAL_CONTENT {
                hasher = Hasher::default();
            }
            self.check_length(&exchange, hasher.bytes())?;
            hasher = self.stream(exchange, file, hasher).await?;
        }
        if hasher.bytes() != self.wanted.size {
            return Err(self.wrong_size(hasher.bytes()));
        }
        let actual = hasher.finish();
        if actual != self.wanted.digest {
            return Err(PullError::BadDigest {
                host: self.session.host(),
                what: self.wanted.what,
                expected: self.wanted.digest,
                actual,
            });
        }
        Ok(())
    }

    /// Asks for the rest from `from` on; for all of it if the registry cannot continue there.
    async fn ask(&self, from: u64) -> Result<Exchange, PullError> {
        let path = format!("blobs/{}", self.wanted.digest);
        let ask = Ask {
            path: &path,
            accept: "*/*",
            from,
        };
        match self.session.get(ask).await {
            Ok(exchange) if from > 0 && !continues_at(&exchange, from) => {
                self.session.get(Ask { from: 0, ..ask }).await
            }
            Err(PullError::Status { status: 416, .. }) if from > 0 => {
                self.session.get(Ask { from: 0, ..ask }).await
            }
            other => other,
        }
    }

    fn check_length(&self, exchange: &Exchange, already: u64) -> Result<(), PullError> {
        let announced = exchange
            .header(CONTENT_LENGTH)
            .and_then(|text| text.parse::<u64>().ok());
        match announced.map(|length| length.saturating_add(already)) {
            Some(total) if total != self.wanted.size => Err(self.wrong_size(total)),
            _ => Ok(()),
        }
    }

    async fn stream(
        &self,
        mut exchange: Exchange,
        file: &Arc<File>,
        mut hasher: Hasher,
    ) -> Result<Hasher, PullError> {
        let failed = |source| self.write_error(source);
        let mut ours = file.try_clone().map_err(failed)?;
        ours.set_len(hasher.bytes()).map_err(failed)?;
        ours.seek(SeekFrom::Start(hasher.bytes())).map_err(failed)?;
        let ours = tokio::fs::File::from_std(ours);
        let mut writer = tokio::io::BufWriter::with_capacity(WRITE_BUFFER_BYTES, ours);
        let mut room = Room::on_disk_of(&self.store.partial_dir(), self.session.limits());
        let outcome = loop {
            match exchange.chunk().await {
                Ok(None) => break Ok(()),
                Ok(Some(chunk)) => {
                    let bytes = chunk.len() as u64;
                    if hasher.bytes() + bytes > self.wanted.size {
                        break Err(self.wrong_size(hasher.bytes() + bytes));
                    }
                    if let Err(full) = room.take(bytes, self.wanted.size - hasher.bytes()) {
                        break Err(self.session.no_room(full));
                    }
                    hasher.update(&chunk);
                    writer.write_all(&chunk).await.map_err(failed)?;
                    self.watcher.received(self.wanted, hasher.bytes());
                }
                Err(error) => break Err(error),
            }
        };
        // Also after a failure: what came is kept for the next try.
        writer.flush().await.map_err(failed)?;
        outcome.map(|()| hasher)
    }

    async fn keep(&self, file: &Arc<File>) -> Result<(), PullError> {
        let file = Arc::clone(file);
        let (from, to) = (
            self.store.partial_path(self.wanted.digest),
            self.store.blob_path(self.wanted.digest),
        );
        let keep = move || file.sync_data().and_then(|()| std::fs::rename(from, to));
        let done = tokio::task::spawn_blocking(keep)
            .await
            .map_err(io::Error::other);
        done.and_then(|result| result)
            .map_err(|source| self.write_error(source))
    }

    fn forget(&self) {
        // Whatever stays is hashed again before it is used, and swept up in the end.
        let _ = std::fs::remove_file(self.store.partial_path(self.wanted.digest));
    }

    fn write_error(&self, source: io::Error) -> PullError {
        PullError::Write {
            digest: self.wanted.digest,
            source,
        }
    }

    fn wrong_size(&self, actual: u64) -> PullError {
        PullError::WrongSize {
            host: self.session.host(),
            what: self.wanted.what,
            digest: self.wanted.digest,
            expected: self.wanted.size,
            actual,
        }
    }
}

/// Whether a partial answer begins where it was asked to; a whole answer is fine too.
fn continues_at(exchange: &Exchange, from: u64) -> bool {
    if exchange.head.status != StatusCode::PARTIAL_CONTENT {
        return true;
    }
    let range = exchange
        .header(CONTENT_RANGE)
        .and_then(|text| text.strip_prefix("bytes "));
    range
        .and_then(|text| text.split_once('-'))
        .is_some_and(|(start, _)| start.parse() == Ok(from))
}
