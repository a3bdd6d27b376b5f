//! The way to an API: its address, and before that the owner's own door, where there is one on this machine.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

use super::limits::CONNECT_TIMEOUT;

/// The way to an API.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The owner's own door.
    pub(super) own: Option<PathBuf>,
    /// Host and port.
    pub(super) authority: (String, u16),
}

/// A connection, however it was made.
pub(super) type Stream = Box<dyn Duplex>;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Way {
    /// Connects. Who may not use the door, or finds it closed, goes the way of everybody.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn try_connect(&self) -> io::Result<Stream> {
        if let Some(door) = &self.own
            && let Ok(stream) = UnixStream::connect(door).await
        {
            return Ok(Box::new(Hearing::from(stream)));
        }
        let (host, port) = &self.authority;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(Hearing::from(stream)))
    }
}

/// A connection on which what the other side has said is heard, though it listens no more: whoever refuses a large body
/// says why, and hangs up.
struct Hearing<S> {
    stream: S,
    is_in_vain: bool,
}

impl<S> From<S> for Hearing<S> {
    fn from(stream: S) -> Self {
        let is_in_vain = false;
        Self { stream, is_in_vain }
    }
}

impl<S> Hearing<S> {
    /// The outcome of saying something, which is dropped where nobody listens. That nobody is there at all, reading tells.
    fn said<T>(&mut self, outcome: Poll<io::Result<T>>, dropped: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match outcome {
            Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                self.is_in_vain = true;
                Poll::Ready(Ok(dropped))
            }
            outcome => outcome,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hearing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hearing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_in_vain {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.said(outcome, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.said(outcome, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.said(outcome, ())
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// All that is asked for goes to the one API.
    fn call(&mut self, _: Uri) -> Self::Future {
        let way = self.clone();
        Box::pin(async move { way.connect().await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests;
