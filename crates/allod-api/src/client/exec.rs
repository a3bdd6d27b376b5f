//! A process run beside a replica, over a WebSocket.
//!
//! Binary messages begin with a channel byte: 0 input, 1 output, 2 error output, 3 the terminal's size (rows and columns,
//! each two bytes, big end first), 4 end of input. The last message is text: `{"exit_code":n}`.

use std::io;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Result;
use super::connection::{Client, timed_out};
use super::error::{Error, Problem};
use super::limits::{ANSWER_TIMEOUT, MESSAGE_BYTES_MAX};
use super::way::Stream;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERROR_OUTPUT: u8 = 2;
const RESIZE: u8 = 3;
const END_OF_INPUT: u8 = 4;

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// The app's id or name.
    pub app: String,
    /// The service.
    pub service: Option<String>,
    /// The replica; the first that runs where none is named.
    pub replica: Option<u32>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Rows and columns of the terminal, where there is one.
    pub terminal: Option<(u16, u16)>,
}

/// What goes to the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes for its standard input.
    Bytes(Vec<u8>),
    /// The terminal has these rows and columns now.
    Resize(u16, u16),
    /// There will be no more input.
    End,
}

/// What comes from the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output.
    Bytes(Bytes),
    /// Bytes of its standard error.
    ErrorBytes(Bytes),
    /// It ended with this code.
    End(i32),
}

/// A running process.
pub struct Exec {
    socket: WebSocketStream<Stream>,
}

impl Client {
    /// Starts a process beside a replica.
    ///
    /// # Errors
    /// Where no such replica runs, or the API refuses.
    pub async fn exec(&self, request: &ExecRequest) -> Result<Exec> {
        let mut pairs = Vec::new();
        pairs.extend(request.service.iter().map(|s| ("service", s.clone())));
        pairs.extend(request.replica.iter().map(|n| ("replica", n.to_string())));
        pairs.push(("tty", request.terminal.is_some().to_string()));
        if let Some((rows, columns)) = request.terminal {
            pairs.push(("rows", rows.to_string()));
            pairs.push(("cols", columns.to_string()));
        }
        pairs.extend(request.command.iter().map(|word| ("cmd", word.clone())));
        let mut url = self.address(&["v1", "apps", &request.app, "exec"], &pairs);
        url.set_scheme("ws").map_err(|()| Error::BadUrl {
            url: url.to_string(),
        })?;
        let head = Request::get(url.as_str())
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, generate_key())
            .body(())
            .map_err(|_| Error::BadUrl {
                url: url.to_string(),
            })?;
        let head = self.signed_head(head)?;
        let stream = self.connect().await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let opened = client_async_with_config(head, stream, Some(config));
        match tokio::time::timeout(ANSWER_TIMEOUT, opened).await {
            Err(_) => Err(timed_out("starting the process".into(), ANSWER_TIMEOUT)),
            Ok(Ok((socket, _))) => Ok(Exec { socket }),
            Ok(Err(WsError::Http(response))) => Err(refused(&response)),
            Ok(Err(error)) => Err(self.unreachable(&error)),
        }
    }
}

impl Exec {
    /// Sends something to the process. Where it has ended meanwhile, nobody takes it, and [`Exec::next`] tells how it ended.
    ///
    /// # Errors
    /// Where the connection fails in another way.
    pub async fn send(&mut self, input: Input) -> Result<()> {
        let bytes = match input {
            Input::Bytes(bytes) => [&[INPUT], bytes.as_slice()].concat(),
            Input::Resize(rows, columns) => {
                let [rows, columns] = [rows, columns].map(u16::to_be_bytes);
                [&[RESIZE], rows.as_slice(), &columns].concat()
            }
            Input::End => vec![END_OF_INPUT],
        };
        match self.socket.send(Message::Binary(bytes.into())).await {
            // What the other side said before it left is still to be read: at a socket of this machine, writing fails first.
            Err(WsError::Io(error)) if has_left(&error) => Ok(()),
            Err(error) => Err(broken(&error.to_string())),
            Ok(()) => Ok(()),
        }
    }

    /// Waits for what the process says next. Cancelling loses nothing.
    ///
    /// # Errors
    /// Where the connection breaks before the process has ended.
    pub async fn next(&mut self) -> Result<Output> {
        loop {
            let message = match self.socket.next().await {
                None => return Err(broken("the connection was closed before the process ended")),
                Some(Err(error)) => return Err(broken(&error.to_string())),
                Some(Ok(message)) => message,
            };
            if let Some(output) = read(message)? {
                return Ok(output);
            }
        }
    }
}

fn has_left(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

fn read(message: Message) -> Result<Option<Output>> {
    #[derive(Deserialize)]
    struct End {
        exit_code: i32,
    }
    match message {
        Message::Binary(bytes) => match bytes.first() {
            Some(&OUTPUT) => Ok(Some(Output::Bytes(bytes.slice(1..)))),
            Some(&ERROR_OUTPUT) => Ok(Some(Output::ErrorBytes(bytes.slice(1..)))),
            _ => Err(broken("it sent a message of an unknown channel")),
        },
        Message::Text(text) => match serde_json::from_str::<End>(&text) {
            Ok(end) => Ok(Some(Output::End(end.exit_code))),
            Err(_) => Err(broken(&text.chars().take(200).collect::<String>())),
        },
        Message::Close(_) => Err(broken("the connection was closed before the process ended")),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

fn refused(response: &http::Response<Option<Vec<u8>>>) -> Error {
    let status = response.status().as_u16();
    let body = response.body().as_deref().unwrap_or_default();
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    Error::Problem(Box::new(Problem { status, ..problem }))
}

fn broken(cause: &str) -> Error {
    Error::Nonsense {
        attempted: "a process beside the replica".into(),
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests;
