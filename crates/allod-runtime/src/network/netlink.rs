//! A synchronous netlink socket and its messages, for rtnetlink and nf_tables alike.
//!
//! No async runtime: it must work in a process that has one thread and just forked. A socket
//! belongs for ever to the network namespace in which it was opened.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
    sockopt,
};

use super::limits::NETLINK_TIMEOUT;

const HEADER_BYTES: usize = 16;
const RECEIVE_BYTES: usize = 64 * 1024;

const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_DUMP: u16 = 0x300;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
const FLAG_NESTED: u16 = 0x8000;

/// Make it if it is not there.
pub(super) const CREATE: u16 = 0x400;
/// Refuse if it is there.
pub(super) const EXCLUSIVE: u16 = 0x200;
/// Overwrite it if it is there.
pub(super) const REPLACE: u16 = 0x100;

/// One message under construction.
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A request that the kernel answers with success or an error.
    pub(super) fn request(kind: u16, flags: u16) -> Self {
        Self::with_flags(kind, flags | FLAG_REQUEST | FLAG_ACK)
    }

    /// A request that the kernel does not answer (the frame of a nf_tables transaction).
    pub(super) fn silent(kind: u16) -> Self {
        Self::with_flags(kind, FLAG_REQUEST)
    }

    /// A request that the kernel answers with one object.
    pub(super) fn question(kind: u16) -> Self {
        Self::with_flags(kind, FLAG_REQUEST)
    }

    /// A request for all objects of a kind.
    pub(super) fn dump(kind: u16) -> Self {
        Self::with_flags(kind, FLAG_REQUEST | FLAG_DUMP)
    }

    fn with_flags(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Self(bytes)
    }

    /// Appends bytes, padded to a multiple of four.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends an attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes here are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value)
    }

    /// Appends an attribute that is a string with its final zero.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that holds what `fill` appends.
    pub(super) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0
            .extend_from_slice(&(kind | FLAG_NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.0.len() - start).expect("attributes here are short");
        filled.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    fn wants_ack(&self) -> bool {
        u16::from_ne_bytes([self.0[6], self.0[7]]) & FLAG_ACK != 0
    }

    fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.0.len()).expect("messages here are short");
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        &self.0
    }
}

/// A socket to the kernel.
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A socket for links, addresses and routes, in the current network namespace.
    pub(super) fn route() -> io::Result<Self> {
        // Protocol number zero, which is what no protocol means.
        Self::open(None)
    }

    /// A socket for nf_tables, in the current network namespace.
    pub(super) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let descriptor = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Recv, Some(NETLINK_TIMEOUT))?;
        Ok(Self {
            descriptor,
            sequence: 0,
        })
    }

    /// Sends the messages at once and waits for each answer; the first refusal is the result.
    pub(super) fn transact(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        let mut pending = 0;
        for mut message in messages {
            self.sequence += 1;
            pending += u32::from(message.wants_ack());
            bytes.extend_from_slice(message.finish(self.sequence));
        }
        send(&self.descriptor, &bytes, SendFlags::empty())?;
        let mut refusal = None;
        while pending > 0 {
            self.receive(|kind, sequence, payload| {
                if kind == TYPE_ERROR && sequence >= first {
                    pending = pending.saturating_sub(1);
                    if let Err(error) = answer(payload) {
                        refusal.get_or_insert(error);
                    }
                }
                Ok(())
            })?;
            // A transaction that fails as a whole may be answered once for all of it.
            if refusal.is_some() {
                break;
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// The object that answers a question.
    pub(super) fn ask(&mut self, mut message: Message) -> io::Result<Vec<u8>> {
        self.sequence += 1;
        let wanted = self.sequence;
        send(&self.descriptor, message.finish(wanted), SendFlags::empty())?;
        let mut object = None;
        while object.is_none() {
            self.receive(|kind, sequence, payload| {
                match kind {
                    _ if sequence != wanted => {}
                    TYPE_ERROR => return answer(payload),
                    _ => object = Some(payload.to_vec()),
                }
                Ok(())
            })?;
        }
        object.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    /// All objects that answer a dump request, each as its payload.
    pub(super) fn collect(&mut self, mut message: Message) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let wanted = self.sequence;
        send(&self.descriptor, message.finish(wanted), SendFlags::empty())?;
        let mut objects = Vec::new();
        let mut is_done = false;
        while !is_done {
            self.receive(|kind, sequence, payload| {
                match kind {
                    _ if sequence != wanted => {}
                    TYPE_DONE => is_done = true,
                    TYPE_ERROR => return answer(payload),
                    _ => objects.push(payload.to_vec()),
                }
                Ok(())
            })?;
        }
        Ok(objects)
    }

    fn receive(&self, mut each: impl FnMut(u16, u32, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (count, _) = recv(&self.descriptor, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..count];
        while rest.len() >= HEADER_BYTES {
            let length = read_u32(rest, 0) as usize;
            if length < HEADER_BYTES || length > rest.len() {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            each(kind, read_u32(rest, 8), &rest[HEADER_BYTES..length])?;
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(())
    }
}

fn answer(payload: &[u8]) -> io::Result<()> {
    if payload.len() < 4 {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    match read_u32(payload, 0).cast_signed() {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

/// Four bytes at `offset`, in the machine's order.
pub(super) fn read_u32(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_ne_bytes(word)
}

/// The attributes that follow a fixed header of `skip` bytes, as kind and value.
pub(super) fn attributes(payload: &[u8], skip: usize) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = payload.get(skip..).unwrap_or_default();
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & !FLAG_NESTED;
        if length < 4 || length > rest.len() {
            break;
        }
        found.push((kind, &rest[4..length]));
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    found
}

#[cfg(test)]
mod tests;
