//! Bodies on their way through: passed frame by frame, counted, and given up when they stall.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::ingress::counters::Meter;
use crate::ingress::upstream::Lease;
use crate::places::Busy;
use crate::pump::Activity;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The sender broke off, or broke the rules of the protocol.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing came for too long.
    #[error("no byte of the body came for {0:?}")]
    Stalled(Duration),
}

/// A body that arrives on one side and leaves on the other.
pub(crate) struct Passing {
    from: Incoming,
    way: Way,
    idle: Duration,
    stall: Pin<Box<Sleep>>,
    is_ended: bool,
}

/// Which way a body goes, and what hangs on its end.
enum Way {
    /// To a backend; the activity tells the waiter that the request is still being sent.
    Up {
        meter: Arc<Meter>,
        activity: Activity,
    },
    /// To the client; the lease goes back when all has passed.
    Down {
        meter: Arc<Meter>,
        lease: Option<Lease>,
        /// The client's connection stays open until then.
        _busy: Busy,
    },
}

impl Passing {
    /// A request's body.
    pub(crate) fn up(
        from: Incoming,
        meter: Arc<Meter>,
        activity: Activity,
        idle: Duration,
    ) -> Self {
        Self::new(from, Way::Up { meter, activity }, idle)
    }

    /// A response's body, which holds the backend's connection while it lasts.
    pub(crate) fn down(
        from: Incoming,
        meter: Arc<Meter>,
        (lease, busy): (Lease, Busy),
        idle: Duration,
    ) -> Self {
        Self::new(
            from,
            Way::Down {
                meter,
                lease: Some(lease),
                _busy: busy,
            },
            idle,
        )
    }

    fn new(from: Incoming, way: Way, idle: Duration) -> Self {
        let is_ended = from.is_end_stream();
        let stall = Box::pin(tokio::time::sleep(idle));
        Self {
            from,
            way,
            idle,
            stall,
            is_ended,
        }
    }

    fn count(&self, bytes: usize) {
        let counter: &AtomicU64 = match &self.way {
            Way::Up { meter, activity } => {
                activity.touch();
                &meter.bytes_in
            }
            Way::Down { meter, .. } => &meter.bytes_out,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.from).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.count(frame.data_ref().map_or(0, Bytes::len));
                let deadline = Instant::now() + self.idle;
                self.stall.as_mut().reset(deadline);
                self.is_ended = self.from.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Broken(error)))),
            Poll::Ready(None) => {
                self.is_ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => match self.stall.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Stalled(self.idle)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.from.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.from.size_hint()
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Way::Down { lease, .. } = &mut self.way
            && self.is_ended
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}

/// What a backend is sent: nothing, or the client's body.
pub(crate) enum RequestBody {
    /// Nothing.
    Empty,
    /// What the client sends.
    Passing(Box<Passing>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Passing(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Passing(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Passing(body) => body.size_hint(),
        }
    }
}

/// What a client is sent: a page of ours, or the backend's body.
pub(crate) enum AnswerBody {
    /// A page of ours.
    Own(Full<Bytes>),
    /// What the backend sends.
    Passing(Box<Passing>),
}

impl AnswerBody {
    /// No body at all.
    pub(crate) fn empty() -> Self {
        Self::Own(Full::default())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(page) => Pin::new(page)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Passing(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(page) => page.is_end_stream(),
            Self::Passing(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(page) => page.size_hint(),
            Self::Passing(body) => body.size_hint(),
        }
    }
}
