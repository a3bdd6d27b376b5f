//! Several streams of lines as one: by their times, or as they come.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, SelectAll, Stream, StreamExt};
use serde::Deserialize;

use crate::limits::MERGED_LINE_BYTES_MAX;

/// What the streams hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lines of JSON with the time in `at_ms`, each stream in the order of time: the earliest line goes first.
    Lines,
    /// Server-sent events: each goes when it comes.
    Events,
}

impl Kind {
    const fn end(self) -> &'static [u8] {
        match self {
            Self::Lines => b"\n",
            Self::Events => b"\n\n",
        }
    }
}

/// One of the streams, piece by piece: a piece is a line or an event, with its end.
struct Pieces {
    body: BodyDataStream,
    waiting: BytesMut,
    kind: Kind,
    is_over: bool,
}

/// Lines whose earliest goes first.
pub(crate) struct Merge {
    /// Each stream with its next line.
    sources: Vec<(Pieces, Option<Bytes>)>,
}

impl Merge {
    /// One body of several. A stream that breaks off, or whose line is too long, has ended.
    pub(crate) fn of(bodies: Vec<Body>, kind: Kind) -> Body {
        let pieces = bodies.into_iter().map(|body| Pieces {
            body: body.into_data_stream(),
            waiting: BytesMut::new(),
            kind,
            is_over: false,
        });
        match kind {
            Kind::Events => {
                let all: SelectAll<_> = pieces.map(|one| Box::pin(each(one))).collect();
                Body::from_stream(all)
            }
            Kind::Lines => {
                let sources = pieces.map(|one| (one, None)).collect();
                let lines = stream::unfold(Self { sources }, |mut merge| async move {
                    let line = merge.next().await?;
                    Some((Ok::<_, Infallible>(line), merge))
                });
                Body::from_stream(lines)
            }
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        for (pieces, next) in &mut self.sources {
            if next.is_none() {
                *next = pieces.next().await;
            }
        }
        let earliest = self.sources.iter_mut().filter(|(_, next)| next.is_some());
        let earliest = earliest.min_by_key(|(_, next)| next.as_ref().map_or(0, time_of));
        earliest.and_then(|(_, next)| next.take())
    }
}

fn each(pieces: Pieces) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.next().await?;
        Some((Ok(piece), pieces))
    })
}

/// When a line was written; a line that says nothing of it goes at once.
fn time_of(line: &Bytes) -> u64 {
    #[derive(Deserialize)]
    struct Line {
        at_ms: u64,
    }
    serde_json::from_slice(line).map_or(0, |line: Line| line.at_ms)
}

impl Pieces {
    async fn next(&mut self) -> Option<Bytes> {
        let end = self.kind.end();
        let mut looked = 0;
        loop {
            let from = looked.min(self.waiting.len());
            let rest = self.waiting.get(from..).unwrap_or_default();
            if let Some(at) = rest.windows(end.len()).position(|window| window == end) {
                return Some(self.waiting.split_to(from + at + end.len()).freeze());
            }
            looked = self.waiting.len().saturating_sub(end.len() - 1);
            if self.is_over || self.waiting.len() > MERGED_LINE_BYTES_MAX {
                return None;
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.waiting.extend_from_slice(&bytes),
                Some(Err(_)) | None => self.is_over = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn merged(bodies: &[&[&'static str]], kind: Kind) -> Vec<String> {
        let body = |parts: &&[&'static str]| {
            let parts: Vec<_> = parts
                .iter()
                .map(|part| Ok::<_, Infallible>(*part))
                .collect();
            Body::from_stream(stream::iter(parts))
        };
        let all = Merge::of(bodies.iter().map(body).collect(), kind);
        let pieces = all.into_data_stream().map(|piece| {
            let piece = piece.unwrap();
            String::from_utf8(piece.to_vec()).unwrap()
        });
        pieces.collect().await
    }

    #[tokio::test]
    async fn lines_go_by_their_times_wherever_they_are_cut() {
        let one: &[&str] = &[
            "{\"at_ms\":1}\n{\"at_",
            "ms\":5}\n",
            "{\"at_ms\":6}\n{\"at_ms\":7",
        ];
        let other: &[&str] = &["{\"at_ms\":2}\n", "{\"at_ms\":3}\n{\"at_ms\":9}\n"];
        let lines = merged(&[one, other, &[]], Kind::Lines).await;
        let times: Vec<u64> = lines
            .iter()
            .map(|line| time_of(&line.clone().into()))
            .collect();
        assert_eq!(times, [1, 2, 3, 5, 6, 9], "and half a line is none");
        assert!(lines.iter().all(|line| line.ends_with('\n')));
    }

    #[tokio::test]
    async fn events_stay_whole() {
        let one: &[&str] = &["data: a", "\n", "\ndata: b\n\n"];
        let other: &[&str] = &[": still here\n\n", "data: c\n\nda"];
        let mut events = merged(&[one, other], Kind::Events).await;
        events.sort_unstable();
        let whole = [
            ": still here\n\n",
            "data: a\n\n",
            "data: b\n\n",
            "data: c\n\n",
        ];
        assert_eq!(events, whole);
    }

    #[tokio::test]
    async fn a_line_without_end_ends_its_stream_and_no_other() {
        let long: &'static str = "x".repeat(MERGED_LINE_BYTES_MAX + 1).leak();
        let lines = merged(&[&[long, "\n"], &["{\"at_ms\":1}\n"]], Kind::Lines).await;
        assert_eq!(lines, ["{\"at_ms\":1}\n"]);
    }
}
