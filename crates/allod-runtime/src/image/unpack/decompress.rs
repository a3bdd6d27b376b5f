//! From the blob on disk to the bytes of the archive, hashed and metered on both sides.
//!
//! The packing is told by the first bytes, as every other runtime does it; the media type only
//! has to be one that unpacks. Both decoders are memory-safe code: root runs them on bytes from
//! strangers, before any digest can be known.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::error::Refusal;
use crate::image::digest::{Digest, Hasher};
use crate::image::limits::{Limits, RATIO_FLOOR_BYTES, ZSTD_WINDOW_BYTES_MAX};

const BUFFER_BYTES: usize = 128 * 1024;

/// The uncompressed archive, as a stream that knows both digests at its end.
pub(in crate::image) struct Unpacked<R: Read> {
    inner: Box<dyn Read>,
    packed: Rc<RefCell<Hasher>>,
    unpacked: Hasher,
    bytes_max: u64,
    ratio_max: u64,
    _source: std::marker::PhantomData<R>,
}

/// What passed through a stream that was read to its end.
pub(in crate::image) struct Passed {
    pub(in crate::image) packed: Digest,
    pub(in crate::image) packed_bytes: u64,
    pub(in crate::image) unpacked: Digest,
    pub(in crate::image) unpacked_bytes: u64,
}

impl<R: Read + 'static> Unpacked<R> {
    pub(in crate::image) fn new(source: R, limits: &Limits) -> io::Result<Self> {
        let packed = Rc::new(RefCell::new(Hasher::default()));
        let source = Hashing {
            inner: source,
            hasher: Rc::clone(&packed),
        };
        let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
        let start = source.fill_buf()?;
        let inner: Box<dyn Read> = match start {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
            // A data frame, or a skippable one in front of it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Box::new(ZstdFrames::new(source))
            }
            _ => Box::new(source),
        };
        Ok(Self {
            inner,
            packed,
            unpacked: Hasher::default(),
            bytes_max: limits.unpacked_bytes_max,
            ratio_max: limits.ratio_max,
            _source: std::marker::PhantomData,
        })
    }

    /// Both digests; the caller has read to the end.
    pub(in crate::image) fn finish(self) -> Passed {
        let Self {
            packed, unpacked, ..
        } = self;
        let packed = packed.borrow().clone();
        Passed {
            packed_bytes: packed.bytes(),
            packed: packed.finish(),
            unpacked_bytes: unpacked.bytes(),
            unpacked: unpacked.finish(),
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.unpacked.update(&buffer[..count]);
        let unpacked = self.unpacked.bytes();
        if unpacked > self.bytes_max {
            return Err(io::Error::other(Refusal::TooManyBytes));
        }
        let fair = self.packed.borrow().bytes().saturating_mul(self.ratio_max);
        if unpacked > RATIO_FLOOR_BYTES && unpacked > fair {
            return Err(io::Error::other(Refusal::Bomb));
        }
        Ok(count)
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Rc<RefCell<Hasher>>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.borrow_mut().update(&buffer[..count]);
        Ok(count)
    }
}

/// Every frame of a zstd stream, one after the other; skippable frames are skipped.
struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
        Self {
            source,
            decoder,
            is_in_frame: false,
        }
    }

    /// Moves to the next data frame; false at the end of the stream.
    fn enter_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_in_frame {
                if !self.enter_frame()? {
                    return Ok(0);
                }
                self.is_in_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.is_in_frame = false;
        }
    }
}
