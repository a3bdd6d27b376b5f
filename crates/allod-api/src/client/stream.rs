//! Answers that come line by line: server-sent events, and JSON lines.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::Result;
use super::connection::timed_out;
use super::error::Error;
use super::limits::{LINE_BYTES_MAX, SILENCE_MAX};
use crate::server::onward::MISSING;

/// Values that arrive one after another.
pub struct Lines<T> {
    body: Incoming,
    splitter: Splitter,
    missing: Vec<String>,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        let content_type = response.headers().get(CONTENT_TYPE);
        let is_events = content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        let missing = response.headers().get(MISSING);
        let missing = missing.and_then(|value| value.to_str().ok());
        let missing = missing.into_iter().flat_map(|ids| ids.split(','));
        Self {
            missing: missing.map(str::to_owned).collect(),
            body: response.into_body(),
            splitter: Splitter::new(is_events),
            value: PhantomData,
        }
    }

    /// The ids of machines that could not be asked for their part.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The next value; nothing once the stream has ended.
    ///
    /// # Errors
    /// Where the connection breaks or falls silent, or something else than such values arrives.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(text) = self.splitter.next() {
                return parse(&text).map(Some);
            }
            let Some(bytes) = self.frame().await? else {
                return self.splitter.last().map(|text| parse(&text)).transpose();
            };
            self.splitter.push(&bytes).map_err(broken)?;
        }
    }

    async fn frame(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            match frame {
                Err(_) => return Err(timed_out("waiting for the next line".into(), SILENCE_MAX)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(broken(error.to_string())),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| broken(error.to_string()))
}

fn broken(cause: String) -> Error {
    Error::Nonsense {
        attempted: "a stream".into(),
        cause,
    }
}

/// Cuts a stream of bytes into the payloads of its lines or events.
struct Splitter {
    is_events: bool,
    buffer: Vec<u8>,
    event: Option<Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
}

impl Splitter {
    const fn new(is_events: bool) -> Self {
        Self {
            is_events,
            buffer: Vec::new(),
            event: None,
            ready: VecDeque::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.buffer.extend_from_slice(line);
            let line = std::mem::take(&mut self.buffer);
            self.line(line.strip_suffix(b"\r").unwrap_or(&line));
            rest = after.get(1..).unwrap_or_default();
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        if !self.is_events {
            if !line.is_empty() {
                self.ready.push_back(line.to_vec());
            }
            return;
        }
        if line.is_empty() {
            self.ready.extend(self.event.take());
            return;
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            let event = self.event.get_or_insert_default();
            if !event.is_empty() {
                event.push(b'\n');
            }
            event.extend_from_slice(data);
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// What came without a closing newline. An event that was not closed is not whole and is dropped, as the standard
    /// says.
    fn last(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.buffer);
        (!self.is_events && !rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests;
