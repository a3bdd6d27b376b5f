//! What a request carries: bytes in memory, or a file that is read while it is sent.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::Result;
use super::error::Error;

/// Bytes of a file read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What a request carries.
#[derive(Clone)]
pub(super) enum Payload {
    Bytes(Bytes),
    File(Summed),
}

/// A file and what it holds: a signature covers that, so it is read once before anything is sent.
#[derive(Debug, Clone)]
pub(super) struct Summed {
    path: PathBuf,
    sha256: [u8; 32],
    pub(super) blake3: blake3::Hash,
    pub(super) bytes: u64,
}

impl Summed {
    /// Reads the file.
    pub(super) async fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
        let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0_u64);
        loop {
            let read = file.read(&mut piece).await?;
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else {
                break;
            };
            sha256.update(read);
            blake3.update(read);
            bytes = bytes.saturating_add(u64::try_from(read.len()).unwrap_or(u64::MAX));
        }
        Ok(Self {
            path: path.to_owned(),
            sha256: sha256.finalize().into(),
            blake3: blake3.finalize(),
            bytes,
        })
    }
}

impl Payload {
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::Bytes(bytes) if bytes.is_empty() => None,
            Self::Bytes(bytes) => Some(Sha256::digest(bytes).into()),
            Self::File(file) => Some(file.sha256),
        }
    }

    pub(super) async fn body(self) -> Result<Body> {
        let file = match self {
            Self::Bytes(bytes) => return Ok(Body::from(bytes)),
            Self::File(file) => file,
        };
        let opened = File::open(&file.path).await;
        let opened = opened.map_err(|source| Error::File {
            attempted: format!("read {}", file.path.display()),
            source,
        })?;
        Ok(Body::from_stream(stream::try_unfold(
            opened,
            |mut file| async {
                let mut piece = vec![0; PIECE_BYTES];
                let read = file.read(&mut piece).await?;
                piece.truncate(read);
                Ok::<_, io::Error>((read > 0).then(|| (Bytes::from(piece), file)))
            },
        )))
    }
}
