//! Frames on a stream: a length of four bytes, little-endian, and as many bytes.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Room that is made for a frame before its bytes are there: a length alone costs its sender's peer nothing.
const STEP_BYTES: usize = 64 * 1024;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {bytes} bytes was announced; {bytes_max} are allowed")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("a frame was begun and not finished in time")]
    TooSlow,
    #[error("reading: {0}")]
    Io(#[from] io::Error),
}

/// Reads the next frame; none where the stream has ended between two. It may wait for its beginning for ever, but once
/// begun it has to be complete within `time_max`.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
    time_max: Duration,
) -> Result<Option<Bytes>, FrameError> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        stream.read_exact(&mut length[1..]).await?;
        let bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if bytes > bytes_max {
            return Err(FrameError::TooLarge { bytes, bytes_max });
        }
        let mut frame = BytesMut::with_capacity(bytes.min(STEP_BYTES));
        while frame.len() < bytes {
            let left = bytes - frame.len();
            frame.reserve(left.min(STEP_BYTES));
            let mut part = (&mut *stream).take(u64::try_from(left).unwrap_or(u64::MAX));
            if part.read_buf(&mut frame).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(Some(frame.freeze()))
    };
    timeout(time_max, rest)
        .await
        .unwrap_or(Err(FrameError::TooSlow))
}

/// Writes a frame; the other side has to take it within `time_max`.
pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    frame: &[u8],
    time_max: Duration,
) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let all = async {
        stream.write_all(&length.to_le_bytes()).await?;
        stream.write_all(frame).await
    };
    timeout(time_max, all)
        .await
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    async fn read_of(bytes: &[u8], bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
        let mut stream = bytes;
        read(&mut stream, bytes_max, SOON).await
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_the_end_is_told() {
        let mut written = Vec::new();
        write(&mut written, b"one", SOON).await.unwrap();
        write(&mut written, b"", SOON).await.unwrap();
        write(&mut written, &[7; 200_000], SOON).await.unwrap();
        let mut stream = written.as_slice();
        let mut next = async || read(&mut stream, 200_000, SOON).await.unwrap();
        assert_eq!(next().await.unwrap(), "one");
        assert_eq!(next().await.unwrap(), "");
        assert_eq!(next().await.unwrap(), [7; 200_000].as_slice());
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn a_frame_larger_than_allowed_is_refused_by_its_length_alone() {
        let read = read_of(&[255, 255, 255, 255, 1], 1_000).await;
        assert!(matches!(
            read,
            Err(FrameError::TooLarge {
                bytes: 0xffff_ffff,
                bytes_max: 1_000
            })
        ));
    }

    #[tokio::test]
    async fn a_frame_that_breaks_off_is_an_error() {
        assert!(matches!(read_of(&[4, 0], 10).await, Err(FrameError::Io(_))));
        assert!(matches!(
            read_of(&[4, 0, 0, 0, 1, 2], 10).await,
            Err(FrameError::Io(_))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_frames_is_fine_and_within_one_it_is_not() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let reading = async {
            let first = read(&mut ours, 10, SOON).await;
            (first, read(&mut ours, 10, SOON).await)
        };
        let writing = async {
            tokio::time::sleep(SOON * 60).await;
            let parts = [1, 0, 0, 0, 9, 5, 0, 0, 0, 1];
            theirs.write_all(&parts).await.unwrap();
        };
        let ((first, second), ()) = tokio::join!(reading, writing);
        assert_eq!(first.unwrap().unwrap(), [9].as_slice());
        assert!(matches!(second, Err(FrameError::TooSlow)));
    }
}
