//! A process beside a replica, connected to a WebSocket. The protocol stands in the operation's file.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use allod_node::{Exec, ExecStdio, ExecWait};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::call::Call;
use super::problem::Problem;
use super::stream::told;
use crate::limits::{
    BODY_SILENCE_MAX, LAST_OUTPUT_GRACE, MESSAGE_BYTES_MAX, OUTPUT_BYTES, OUTPUTS_WAITING_MAX,
};

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERROR_OUTPUT: u8 = 2;
const RESIZE: u8 = 3;
const END_OF_INPUT: u8 = 4;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Pipe = AsyncFd<OwnedFd>;

/// A request that may become a WebSocket.
pub(crate) struct Upgrade {
    on_upgrade: OnUpgrade,
    accept: HeaderValue,
}

impl Upgrade {
    /// Reads the wish to become one.
    pub(crate) fn of(call: &mut Call) -> Result<Self, Problem> {
        let has = |name, wanted: &str| {
            let value = call.headers.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| {
                let mut words = value.split(',');
                words.any(|word| word.trim().eq_ignore_ascii_case(wanted))
            })
        };
        let is_asked = has(CONNECTION, "upgrade")
            && has(UPGRADE, "websocket")
            && has(SEC_WEBSOCKET_VERSION, "13");
        let key = call.headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_asked);
        let accept = key.map(|key| derive_accept_key(key.as_bytes()));
        let accept = accept.and_then(|accept| HeaderValue::from_str(&accept).ok());
        let on_upgrade = call.extensions.remove::<OnUpgrade>();
        let (accept, on_upgrade) = accept.zip(on_upgrade).ok_or_else(|| {
            Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                "not-a-websocket",
                "this operation speaks over a WebSocket",
                "ask for an upgrade to a WebSocket, version 13",
            )
        })?;
        Ok(Self { on_upgrade, accept })
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        response
    }
}

/// Connects a started process, and answers that the protocol changes.
pub(crate) fn open(
    call: &Call,
    upgrade: Upgrade,
    exec: Exec,
    place: OwnedSemaphorePermit,
) -> Result<Response<Body>, Problem> {
    let Exec { stdio, end } = exec;
    let unusable = |error: io::Error| Problem::internal(format!("the process's pipes: {error}"));
    let streams = Streams::of(stdio).map_err(unusable)?;
    let response = upgrade.response();
    let stopping = call.shared.stopping.clone();
    call.shared.own(async move {
        if let Ok(upgraded) = upgrade.on_upgrade.await {
            let config = WebSocketConfig::default()
                .max_message_size(Some(MESSAGE_BYTES_MAX))
                .max_frame_size(Some(MESSAGE_BYTES_MAX));
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            converse(socket, streams, end, stopping, place).await;
        }
    });
    Ok(response)
}

/// The process's streams, none of which blocks.
struct Streams {
    input: Option<Pipe>,
    outputs: Vec<(u8, Pipe)>,
    terminal: Option<ExecStdio>,
}

impl Streams {
    fn of(stdio: ExecStdio) -> io::Result<Self> {
        match stdio {
            ExecStdio::Pipes {
                stdin,
                stdout,
                stderr,
            } => Ok(Self {
                input: Some(pipe(stdin)?),
                outputs: vec![(OUTPUT, pipe(stdout)?), (ERROR_OUTPUT, pipe(stderr)?)],
                terminal: None,
            }),
            ExecStdio::Terminal(master) => {
                let (input, output) = (master.try_clone()?, master.try_clone()?);
                Ok(Self {
                    input: Some(pipe(input)?),
                    outputs: vec![(OUTPUT, pipe(output)?)],
                    terminal: Some(ExecStdio::Terminal(master)),
                })
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that change their descriptor; an OwnedFd never does"
)]
fn pipe(fd: OwnedFd) -> io::Result<Pipe> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
    AsyncFd::new(fd)
}

/// Carries bytes both ways until the process has ended or the client is gone.
async fn converse(
    socket: Socket,
    streams: Streams,
    end: ExecWait,
    mut stopping: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    let (mut sink, source) = socket.split();
    let Streams {
        input,
        outputs,
        terminal,
    } = streams;
    let (sender, mut pieces) = mpsc::channel(OUTPUTS_WAITING_MAX);
    let readers = futures_util::future::join_all(
        outputs
            .into_iter()
            .map(|(channel, pipe)| read_all(channel, pipe, sender.clone())),
    );
    drop(sender);
    let mut readers = std::pin::pin!(readers.map(drop).fuse());
    let end = Arc::new(end);
    let _hang_up = HangUp(Arc::clone(&end));
    // The thread keeps the place until the process has really ended.
    let waiting = Arc::clone(&end);
    let mut ended = tokio::task::spawn_blocking(move || {
        let end = waiting.wait();
        drop(place);
        end
    });
    let outcome = {
        let mut feeding = std::pin::pin!(feed(source, input, terminal));
        loop {
            tokio::select! {
                () = &mut readers => {}
                Some(piece) = pieces.recv() => {
                    if !send(&mut sink, Message::Binary(piece)).await {
                        return;
                    }
                }
                outcome = &mut ended => break outcome,
                () = &mut feeding => return,
                () = told(&mut stopping) => return,
            }
        }
    };
    let last = async {
        loop {
            tokio::select! {
                () = &mut readers => {}
                piece = pieces.recv() => match piece {
                    Some(piece) => if !send(&mut sink, Message::Binary(piece)).await { return },
                    None => return,
                },
            }
        }
    };
    // A child that the process left behind may hold its pipes open for ever.
    let _ = timeout(LAST_OUTPUT_GRACE, last).await;
    if let Ok(Ok(end)) = outcome {
        let text = format!("{{\"exit_code\":{}}}", end.code());
        let _ = send(&mut sink, Message::Text(text.into())).await;
    }
    let _ = timeout(LAST_OUTPUT_GRACE, sink.close()).await;
}

/// Ends the process when the conversation is over, however that came about.
struct HangUp(Arc<ExecWait>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

async fn send(sink: &mut SplitSink<Socket, Message>, message: Message) -> bool {
    matches!(
        timeout(BODY_SILENCE_MAX, sink.send(message)).await,
        Ok(Ok(()))
    )
}

/// Hands on what a stream gives, until it ends.
async fn read_all(channel: u8, pipe: Pipe, pieces: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; OUTPUT_BYTES + 1];
    if let Some(first) = buffer.first_mut() {
        *first = channel;
    }
    loop {
        let read = pipe.async_io(tokio::io::Interest::READABLE, |fd| {
            let room = buffer.get_mut(1..).unwrap_or_default();
            Ok(rustix::io::read(fd, room)?)
        });
        // A terminal whose last user is gone gives an error, not an end.
        let Ok(length @ 1..) = read.await else {
            return;
        };
        let piece = Bytes::copy_from_slice(buffer.get(..=length).unwrap_or_default());
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

/// Hands what the client sends to the process, until the client is gone.
async fn feed(
    mut source: SplitStream<Socket>,
    mut input: Option<Pipe>,
    terminal: Option<ExecStdio>,
) {
    while let Some(Ok(message)) = source.next().await {
        match message {
            Message::Binary(bytes) => match bytes.split_first() {
                Some((&INPUT, bytes)) => {
                    if let Some(pipe) = &input
                        && write_all(pipe, bytes).await.is_err()
                    {
                        input = None;
                    }
                }
                Some((&RESIZE, &[a, b, c, d])) => {
                    let (rows, columns) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                    if let Some(terminal) = &terminal {
                        let _ = terminal.resize(rows, columns);
                    }
                }
                Some((&END_OF_INPUT, _)) => input = None,
                _ => return,
            },
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) | Message::Close(_) | Message::Frame(_) => return,
        }
    }
}

async fn write_all(pipe: &Pipe, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = pipe.async_io(tokio::io::Interest::WRITABLE, |fd| {
            Ok(rustix::io::write(fd, bytes)?)
        });
        bytes = bytes.get(written.await?..).unwrap_or_default();
    }
    Ok(())
}
