//! Names of the world: asked of the machine's resolvers, one after the other.
//!
//! Each try uses a fresh socket, thus a fresh port, and a random id, and takes only a packet that
//! repeats the question: a forger has to guess all three.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use crate::limits::{DATAGRAM_BYTES_MAX, ResolverLimits, UPSTREAM_ROUNDS};
use crate::resolver::question::{Carrier, Question, is_cut};

/// The answer to a question from the first resolver that gives one; SERVFAIL when none does.
pub(crate) async fn forward(
    question: &Question,
    upstreams: &[SocketAddr],
    limits: &ResolverLimits,
) -> Vec<u8> {
    let asking = timeout(limits.forward_timeout, ask_all(question, upstreams, limits));
    match asking.await.ok().flatten() {
        Some(packet) => question.pass_back(packet),
        None => question.failure(ResponseCode::ServFail),
    }
}

async fn ask_all(
    question: &Question,
    upstreams: &[SocketAddr],
    limits: &ResolverLimits,
) -> Option<Vec<u8>> {
    for _ in 0..UPSTREAM_ROUNDS {
        for upstream in upstreams {
            match timeout(limits.upstream_timeout, ask(question, *upstream)).await {
                Ok(Ok(packet)) => return Some(packet),
                Ok(Err(error)) => debug!(%upstream, %error, "a resolver could not be asked"),
                Err(_) => debug!(%upstream, "a resolver did not answer in time"),
            }
        }
    }
    None
}

async fn ask(question: &Question, upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let id = getrandom::u32().map_err(io::Error::other)?.to_be_bytes();
    let id = u16::from_be_bytes([id[0], id[1]]);
    let asked = question.onward(id).ok_or(io::ErrorKind::InvalidInput)?;
    let packet = ask_by_udp(question, &asked, id, upstream).await?;
    if is_cut(&packet) && question.carrier == Carrier::Tcp {
        return ask_by_tcp(question, &asked, id, upstream).await;
    }
    Ok(packet)
}

async fn ask_by_udp(
    question: &Question,
    asked: &[u8],
    id: u16,
    upstream: SocketAddr,
) -> io::Result<Vec<u8>> {
    let socket = match upstream {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?,
    };
    socket.connect(upstream).await?;
    socket.send(asked).await?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if question.is_answered_by(&buffer[..length], id) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_by_tcp(
    question: &Question,
    asked: &[u8],
    id: u16,
    upstream: SocketAddr,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_framed(&mut stream, asked).await?;
    let packet = read_framed(&mut stream).await?;
    if question.is_answered_by(&packet, id) {
        Ok(packet)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Writes a message after its length, as DNS over TCP frames it.
pub(crate) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), message].concat())
        .await
}

/// Reads one framed message.
pub(crate) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
