//! Frames on the root socket: four bytes that name the protocol and its version, four bytes of
//! length (little end first), then JSON. Descriptors travel with the first byte of their frame.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::limits::{FRAME_BYTES_MAX, FRAME_FDS_MAX};

const MAGIC: [u8; 4] = *b"ALR1";
const HEADER_BYTES: usize = 8;

/// A frame that arrived whole.
pub(crate) struct Frame {
    /// The JSON text; it may hold secrets.
    pub(crate) text: Zeroizing<Vec<u8>>,
    /// The descriptors that came with it.
    pub(crate) fds: Vec<OwnedFd>,
}

impl Frame {
    /// Reads the JSON text.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.text).map_err(|error| {
            // The error's own text may quote the input, which may be secret.
            let text = format!("frame is not understood at column {}", error.column());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}

/// Collects one frame from a stream, blocking or not.
#[derive(Default)]
pub(crate) struct FrameReader {
    bytes: Zeroizing<Vec<u8>>,
    fds: Vec<OwnedFd>,
}

impl FrameReader {
    /// Reads once. `None`: more is to come. `WouldBlock` is passed on.
    pub(crate) fn advance(&mut self, stream: &UnixStream) -> io::Result<Option<Frame>> {
        let wanted = self.wanted()?;
        let start = self.bytes.len();
        let mut chunk = Zeroizing::new(vec![0u8; (wanted - start).min(64 * 1024)]);
        let read = self.receive(stream, &mut chunk)?;
        if read == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(io::Error::new(kind, "the other side closed the connection"));
        }
        self.bytes.extend_from_slice(&chunk[..read]);
        if self.bytes.len() < HEADER_BYTES || self.bytes.len() < self.wanted()? {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.bytes);
        let text = Zeroizing::new(whole[HEADER_BYTES..].to_vec());
        Ok(Some(Frame {
            text,
            fds: std::mem::take(&mut self.fds),
        }))
    }

    /// How many bytes are needed before anything more can be said.
    fn wanted(&self) -> io::Result<usize> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let Some(header) = self.bytes.get(..HEADER_BYTES) else {
            return Ok(HEADER_BYTES);
        };
        if header[..4] != MAGIC {
            return Err(invalid(
                "not this version of the runtime protocol: use one binary",
            ));
        }
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(invalid("frame is empty or too long"));
        }
        Ok(HEADER_BYTES + length)
    }

    fn receive(&mut self, stream: &UnixStream, chunk: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(chunk)];
        let message = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for ancillary in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = ancillary {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > FRAME_FDS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too many descriptors",
            ));
        }
        Ok(message.bytes)
    }
}

/// Reads one frame, waiting as long as the stream's own timeout allows.
pub(crate) fn receive(stream: &UnixStream) -> io::Result<Frame> {
    let mut reader = FrameReader::default();
    loop {
        match reader.advance(stream) {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes one frame with its descriptors.
pub(crate) fn send<T: Serialize>(
    mut stream: &UnixStream,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = encode(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors",
        ));
    }
    let slices = [IoSlice::new(&bytes)];
    let sent = sendmsg(stream.as_fd(), &slices, &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&bytes[sent..])
}

/// The bytes of one frame without descriptors.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(serde_json::to_vec(message)?);
    let length = u32::try_from(text.len())
        .ok()
        .filter(|_| text.len() <= FRAME_BYTES_MAX);
    let Some(length) = length else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "message is too long",
        ));
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + text.len()));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&text);
    Ok(bytes)
}

/// Connects to the socket `name` in `directory`, however long the directory's path is.
pub(crate) fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let (_held, path) = short_path(directory, name)?;
    UnixStream::connect(path)
}

/// Listens on the socket `name` in `directory`, in place of one that was left behind.
pub(crate) fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let (_held, path) = short_path(directory, name)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Socket addresses hold 107 bytes; a path through an open directory always fits.
fn short_path(directory: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(directory, flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", held.as_raw_fd()));
    Ok((held, path))
}

#[cfg(test)]
mod tests;
