//! A strict second reading of how requests are framed, in front of the lenient first one.
//!
//! Requests are smuggled where two programs disagree on where one ends. hyper reads leniently, as
//! RFC 9112 permits: it takes a bare line feed for a line end, and lets `Transfer-Encoding` win
//! over `Content-Length`. It also writes a fresh, plain head to the backend, so nothing ambiguous
//! is ever passed on. This guard goes further and refuses the ambiguous: it follows the bytes as they are
//! read, and puts a NUL in place of the offending byte, which hyper answers with 400 and a close.
//!
//! Why this is safe: the guard only ever ends a stream, it never changes what stays in it. If it
//! and hyper disagree on where a body ends, the guard takes body bytes for a head and ends it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_io_timeout::TimeoutStream;

use crate::limits::CHUNK_LINE_BYTES_MAX;

/// A client's connection: its requests are read strictly, and it must take what it is sent.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: Pin<Box<TimeoutStream<S>>>,
    framing: Framing,
    is_poisoned: bool,
    is_tunnel: Arc<AtomicBool>,
}

impl<S: AsyncRead + AsyncWrite> Guarded<S> {
    /// Guards a connection; a write without progress for `write_stall` is an error. Once
    /// `is_tunnel` is set, its protocol has changed and anything goes.
    pub(crate) fn new(
        stream: S,
        head_bytes_max: usize,
        write_stall: Duration,
        is_tunnel: Arc<AtomicBool>,
    ) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_stall));
        Self {
            stream: Box::pin(stream),
            framing: Framing::new(head_bytes_max),
            is_poisoned: false,
            is_tunnel,
        }
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_poisoned {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buf);
        if !matches!(read, Poll::Ready(Ok(()))) || self.is_tunnel.load(Ordering::Acquire) {
            return read;
        }
        let offence = self.framing.follow(&buf.filled()[before..]);
        if let Some(index) = offence {
            self.is_poisoned = true;
            buf.filled_mut()[before + index] = 0;
            buf.set_filled(before + index + 1);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// Where in a request the next byte belongs.
#[derive(Debug)]
enum At {
    /// In the request line or a header line.
    Head,
    /// In a body of known length: the bytes still to come.
    Body(u64),
    /// In a line that gives a chunk's size.
    ChunkLine,
    /// In a chunk: the bytes still to come.
    Chunk(u64),
    /// In the line end after a chunk.
    ChunkEnd,
    /// In a trailer line.
    Trailer,
}

/// Follows the framing of the requests on one connection.
#[derive(Debug)]
struct Framing {
    at: At,
    line: Vec<u8>,
    line_bytes_max: usize,
    head: HeadSoFar,
}

/// What the lines of a head have said about its body.
#[derive(Debug, Default)]
struct HeadSoFar {
    has_request_line: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// A line or a body is framed in a way that two readers could take differently.
#[derive(Debug)]
struct Ambiguous;

impl Framing {
    fn new(head_bytes_max: usize) -> Self {
        Self {
            at: At::Head,
            line: Vec::new(),
            // hyper has refused the head as too large (431) long before this.
            line_bytes_max: head_bytes_max.saturating_mul(4),
            head: HeadSoFar::default(),
        }
    }

    /// Follows these bytes; the index of the first one that must not be read, if any.
    fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut index = 0;
        while let Some(rest) = bytes.get(index..).filter(|rest| !rest.is_empty()) {
            match &mut self.at {
                At::Body(left) | At::Chunk(left) => {
                    let passed = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= passed as u64;
                    index += passed;
                    self.leave_body_when_empty();
                }
                At::Head | At::ChunkLine | At::ChunkEnd | At::Trailer => {
                    if self.byte_of_line(rest[0]).is_err() {
                        return Some(index);
                    }
                    index += 1;
                }
            }
        }
        None
    }

    fn leave_body_when_empty(&mut self) {
        match self.at {
            At::Body(0) => self.at = At::Head,
            At::Chunk(0) => self.at = At::ChunkEnd,
            _ => {}
        }
    }

    fn byte_of_line(&mut self, byte: u8) -> Result<(), Ambiguous> {
        let after_return = self.line.last() == Some(&b'\r');
        if after_return != (byte == b'\n') {
            return Err(Ambiguous);
        }
        if byte == b'\n' {
            self.line.pop();
            let line = std::mem::take(&mut self.line);
            return self.line_ended(&line);
        }
        if self.line.len() >= self.line_bytes_max {
            return Err(Ambiguous);
        }
        self.line.push(byte);
        Ok(())
    }

    fn line_ended(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        match self.at {
            At::Head if line.is_empty() && !self.head.has_request_line => {}
            At::Head if line.is_empty() => {
                let head = std::mem::take(&mut self.head);
                self.at = head.body()?;
                self.leave_body_when_empty();
            }
            At::Head => self.head.line(line)?,
            At::ChunkLine => match chunk_size(line)? {
                0 => self.at = At::Trailer,
                size => self.at = At::Chunk(size),
            },
            At::ChunkEnd if line.is_empty() => self.at = At::ChunkLine,
            At::Trailer if line.is_empty() => self.at = At::Head,
            At::Trailer => {
                header(line)?;
            }
            At::ChunkEnd | At::Body(_) | At::Chunk(_) => return Err(Ambiguous),
        }
        Ok(())
    }
}

impl HeadSoFar {
    fn line(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        if !self.has_request_line {
            self.has_request_line = true;
            return Ok(());
        }
        let (name, value) = header(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Ambiguous);
            }
            self.length = Some(decimal(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.is_chunked = true;
        }
        Ok(())
    }

    fn body(&self) -> Result<At, Ambiguous> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Ambiguous),
            (Some(length), false) => Ok(At::Body(length)),
            (None, true) => Ok(At::ChunkLine),
            (None, false) => Ok(At::Head),
        }
    }
}

/// The name and trimmed value of a header line. A folded line has no name.
fn header(line: &[u8]) -> Result<(&[u8], &[u8]), Ambiguous> {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(Ambiguous)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(Ambiguous);
    }
    Ok((name, value.trim_ascii()))
}

fn decimal(digits: &[u8]) -> Result<u64, Ambiguous> {
    number(digits, 10, 19)
}

fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    if line.len() > CHUNK_LINE_BYTES_MAX {
        return Err(Ambiguous);
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(line);
    number(digits.trim_ascii_end(), 16, 15)
}

fn number(digits: &[u8], radix: u32, digits_max: usize) -> Result<u64, Ambiguous> {
    // `from_str_radix` would take a sign.
    if digits.is_empty()
        || digits.len() > digits_max
        || !digits.iter().all(u8::is_ascii_alphanumeric)
    {
        return Err(Ambiguous);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    u64::from_str_radix(text, radix).map_err(|_| Ambiguous)
}

#[cfg(test)]
mod tests;
