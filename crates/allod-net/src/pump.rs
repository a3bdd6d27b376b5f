//! Copies bytes both ways between two connections until both have ended.
//!
//! When one side ends its sending, the other is told (a half-close) and the opposite direction
//! goes on. The whole ends when no byte has moved for the idle time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::limits::PUMP_BYTES;

/// When something last happened, shared between those who do it and those who watch it.
#[derive(Debug, Clone)]
pub(crate) struct Activity {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    /// Activity that begins now.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            last_ms: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Something happened.
    pub(crate) fn touch(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Returns once nothing has happened for `idle`.
    pub(crate) async fn quiet_for(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let deadline = self.start + last + idle;
            if Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

/// Where the bytes moved each way are counted, while they move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved<'a> {
    forth: &'a AtomicU64,
    back: &'a AtomicU64,
}

impl<'a> Moved<'a> {
    /// Counts from the first to the second in `forth`, and the other way in `back`.
    pub(crate) fn to(forth: &'a AtomicU64, back: &'a AtomicU64) -> Self {
        Self { forth, back }
    }
}

/// Joins `first` and `second` until both directions have ended, one has failed, or nothing has
/// moved for `idle`.
pub(crate) async fn join<A, B>(
    first: A,
    second: B,
    idle: Duration,
    moved: &Moved<'_>,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (first_read, first_write) = tokio::io::split(first);
    let (second_read, second_write) = tokio::io::split(second);
    let activity = Activity::new();
    let forth = copy(first_read, second_write, &activity, moved.forth);
    let back = copy(second_read, first_write, &activity, moved.back);
    let both = async { tokio::try_join!(forth, back) };
    tokio::select! {
        done = both => done.map(|_| ()),
        () = activity.quiet_for(idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    activity: &Activity,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; PUMP_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            // The other side may have closed its reading already; that ends nothing more.
            return to.shutdown().await.or(Ok(()));
        }
        activity.touch();
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
        activity.touch();
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}
