//! Just enough HTTP to load a server with little work of our own: what is timed is the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use allod_api::signature::sign;
use allod_node::identity::Identity;
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::Failure;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How a client comes to the API.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// By the owner's own door.
    OwnDoor(PathBuf),
    /// Over TCP from this address.
    From(Ipv4Addr),
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection.
pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    buffer: Vec<u8>,
}

/// An answer, as far as it matters here.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) is_last: bool,
    pub(crate) body: String,
}

impl Wire {
    pub(crate) async fn open(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::on(stream))
    }

    pub(crate) async fn open_by(way: &Way, address: &str) -> Result<Self, Failure> {
        let source = match way {
            Way::OwnDoor(door) => return Ok(Self::on(UnixStream::connect(door).await?)),
            Way::From(source) => *source,
        };
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(address.parse()?).await?;
        stream.set_nodelay(true)?;
        Ok(Self::on(stream))
    }

    fn on(stream: impl Duplex + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Waits until the server hangs up.
    pub(crate) async fn hung_up(&mut self) {
        let mut scrap = [0; 512];
        while matches!(self.stream.read(&mut scrap).await, Ok(1..)) {}
    }

    /// Reads one answer with a length.
    pub(crate) async fn answer(&mut self) -> Result<Answer, Failure> {
        self.buffer.clear();
        loop {
            if let Some(answer) = parsed(&self.buffer) {
                return Ok(answer);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX
                || self.stream.read_buf(&mut self.buffer).await? == 0
            {
                return Err("hung up".into());
            }
        }
    }
}

fn parsed(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let length: usize = header("content-length").map_or(Some(0), |text| text.parse().ok())?;
    let body = bytes.get(end + 4..end + 4 + length)?;
    Some(Answer {
        status,
        retry_after_s: header("retry-after").and_then(|text| text.parse().ok()),
        is_last: header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        body: String::from_utf8_lossy(body).into_owned(),
    })
}

/// A signed read of the caller's apps.
pub(crate) fn read(address: &str, signer: &Identity) -> Result<Vec<u8>, Failure> {
    let request = Request::get(format!("http://{address}/v1/apps")).header("host", address);
    let (mut parts, ()) = request.body(())?.into_parts();
    sign(&mut parts, b"", signer, now_ms() / 1_000)?;
    let mut text = format!("GET {} HTTP/1.1\r\n", parts.uri.path());
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// An unsigned submission of these bytes.
pub(crate) fn post(address: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
