//! Answers that go on: server-sent events with ids to resume from, and lines of JSON.

use std::collections::VecDeque;
use std::convert::Infallible;

use allod_node::{LogReader, Node, view};
use allod_state::AppId;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::call::{Call, Caller};
use super::problem::Problem;
use crate::limits::{ENTRIES_MAX, HEARTBEAT_PERIOD, LOG_PERIOD};
use crate::ops::retain_covered;

/// The kind of an answer that goes on.
const EVENTS: &str = "text/event-stream";
/// What keeps a silent stream open.
const HEARTBEAT: &[u8] = b": still here\n\n";

/// A place in what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) height: u64,
    pub(crate) index: u32,
}

impl Place {
    /// Reads `height.index`.
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        let parts = text.split_once('.');
        let read = parts.and_then(|(height, index)| {
            Some(Self {
                height: height.parse().ok()?,
                index: index.parse().ok()?,
            })
        });
        read.ok_or_else(|| {
            Problem::malformed(
                "that is no place to go on from; write it as height.index, such as 12.0",
            )
        })
    }
}

/// What happens to an account's things, as it happens.
pub(crate) struct Events {
    node: Node,
    caller: Caller,
    app: Option<AppId>,
    seen: Place,
    heights: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    heartbeat: Instant,
    _place: OwnedSemaphorePermit,
}

impl Events {
    /// Opens a stream after a place, or from now on.
    pub(crate) fn open(
        call: &Call,
        app: Option<AppId>,
        after: Option<Place>,
    ) -> Result<Response<Body>, Problem> {
        let mut heights = call.node.heights();
        let now = Place {
            height: *heights.borrow(),
            index: u32::MAX,
        };
        // What there is after the place is looked for before anything new is waited for.
        heights.mark_changed();
        let events = Self {
            node: call.node.clone(),
            caller: call.caller()?.clone(),
            app,
            seen: after.unwrap_or(now),
            heights,
            stopping: call.shared.stopping.clone(),
            heartbeat: Instant::now() + HEARTBEAT_PERIOD,
            _place: call.shared.stream_place(call.standing)?,
        };
        let body = stream::unfold(events, |mut events| async move {
            let bytes = events.next().await?;
            Some((Ok::<_, Infallible>(bytes), events))
        });
        Ok(streamed(EVENTS, Body::from_stream(body)))
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                changed = self.heights.changed() => {
                    changed.ok()?;
                    let text = self.news().await?;
                    if !text.is_empty() {
                        self.heartbeat = Instant::now() + HEARTBEAT_PERIOD;
                        return Some(text.into());
                    }
                }
                () = sleep_until(self.heartbeat) => {
                    self.heartbeat = Instant::now() + HEARTBEAT_PERIOD;
                    return Some(Bytes::from_static(HEARTBEAT));
                }
                () = told(&mut self.stopping) => return None,
            }
        }
    }

    async fn news(&mut self) -> Option<Vec<u8>> {
        let (node, caller, app) = (self.node.clone(), self.caller.clone(), self.app);
        let place = (self.seen.height, self.seen.index);
        let news = tokio::task::spawn_blocking(move || {
            let mut news = node.events(&caller.account, app, Some(place), ENTRIES_MAX);
            let last = news.last().map(|last| (last.height, last.index));
            retain_covered(&mut news, &caller, &node.state());
            (news, last)
        });
        let (news, last) = news.await.ok()?;
        if let Some((height, index)) = last {
            self.seen = Place { height, index };
        }
        let mut text = Vec::new();
        for happening in &news {
            let id = format!("{}.{}", happening.height, happening.index);
            event(&mut text, Some(&id), Some(&happening.kind), happening);
        }
        Some(text)
    }
}

/// The lines there are, one JSON object each.
pub(crate) fn logs(call: &Call, reader: LogReader) -> Result<Response<Body>, Problem> {
    let place = call.shared.stream_place(call.standing)?;
    let body = stream::unfold((reader, place), |(reader, place)| async move {
        let (reader, lines) = read(reader).await?;
        if lines.is_empty() {
            return None;
        }
        let mut text = Vec::new();
        for line in &lines {
            // Writing a log line to memory cannot fail, and an empty line is skipped by readers.
            let _ = serde_json::to_writer(&mut text, line);
            text.push(b'\n');
        }
        Some((Ok::<_, Infallible>(Bytes::from(text)), (reader, place)))
    });
    Ok(streamed("application/x-ndjson", Body::from_stream(body)))
}

/// The lines there are and those to come, as events.
pub(crate) fn follow_logs(call: &Call, reader: LogReader) -> Result<Response<Body>, Problem> {
    let follow = Follow {
        reader,
        waiting: VecDeque::new(),
        stopping: call.shared.stopping.clone(),
        heartbeat: Instant::now() + HEARTBEAT_PERIOD,
        _place: call.shared.stream_place(call.standing)?,
    };
    let body = stream::unfold(follow, |follow| async move {
        let (bytes, follow) = follow.next().await?;
        Some((Ok::<_, Infallible>(bytes), follow))
    });
    Ok(streamed(EVENTS, Body::from_stream(body)))
}

struct Follow {
    reader: LogReader,
    waiting: VecDeque<view::LogLine>,
    stopping: watch::Receiver<bool>,
    heartbeat: Instant,
    _place: OwnedSemaphorePermit,
}

impl Follow {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let (reader, lines) = read(self.reader).await?;
            self.reader = reader;
            self.waiting.extend(lines);
            if !self.waiting.is_empty() {
                let mut text = Vec::new();
                for line in self.waiting.drain(..) {
                    event(&mut text, None, None, &line);
                }
                self.heartbeat = Instant::now() + HEARTBEAT_PERIOD;
                return Some((text.into(), self));
            }
            if Instant::now() >= self.heartbeat {
                self.heartbeat = Instant::now() + HEARTBEAT_PERIOD;
                return Some((Bytes::from_static(HEARTBEAT), self));
            }
            tokio::select! {
                () = sleep(LOG_PERIOD) => {}
                () = told(&mut self.stopping) => return None,
            }
        }
    }
}

async fn read(mut reader: LogReader) -> Option<(LogReader, Vec<view::LogLine>)> {
    let work = move || {
        let lines = reader.read();
        (reader, lines)
    };
    tokio::task::spawn_blocking(work).await.ok()
}

/// Writes one event. JSON has no line breaks of its own, so that it is one `data` line.
fn event(text: &mut Vec<u8>, id: Option<&str>, kind: Option<&str>, value: &impl Serialize) {
    for (name, part) in [("id", id), ("event", kind)] {
        if let Some(part) = part {
            text.extend_from_slice(format!("{name}: {part}\n").as_bytes());
        }
    }
    text.extend_from_slice(b"data: ");
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(&mut *text, value);
    text.extend_from_slice(b"\n\n");
}

/// Whether this is the head of an answer that goes on until it is told to end.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == EVENTS.as_bytes())
}

fn streamed(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns when the server is told to stop, or is gone.
pub(crate) async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}
