//! The way to an API: its address, and before that the owner's own door, where there is one on this machine.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
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
            return Ok(Box::new(stream));
        }
        let (host, port) = &self.authority;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
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
