//! Links to peers: a queue each, and a task that opens a connection when there is something to say.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{ConnectOptions, Connection, SendStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::relayed::Relays;
use super::{PeerKey, PeerPath, Protocol, Shared, chain, frame, lock, pulse, way};

/// A peer, a protocol, and the way there.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) queue: Queue,
    pub(crate) peer: PeerKey,
    protocol: Protocol,
    state: Mutex<State>,
    ended: Notify,
    /// There may be a way now where there was none.
    hurried: Notify,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    last_error: Option<String>,
    /// What it does while it has no connection.
    attempt: Attempt,
}

/// What a link without a connection does.
#[derive(Debug, Clone, Copy, Default)]
enum Attempt {
    #[default]
    None,
    /// It calls, since then.
    Calling(Instant),
    /// It pauses before it calls again.
    Pausing,
}

/// Frames that wait for one peer. Where there is no room, the oldest go.
#[derive(Debug)]
pub(crate) struct Queue {
    frames: Mutex<Waiting>,
    arrived: Notify,
    bytes_max: usize,
    frames_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Link {
    pub(crate) fn new(peer: PeerKey, protocol: Protocol) -> Self {
        let terms = protocol.terms();
        Self {
            queue: Queue::new(terms.queue_bytes_max, terms.queue_frames_max),
            peer,
            protocol,
            state: Mutex::default(),
            ended: Notify::new(),
            hurried: Notify::new(),
        }
    }

    /// Closes the link for good.
    pub(crate) fn end(&self) {
        self.ended.notify_one();
    }

    /// Closes the connection, so that the next frame goes by a new one, which is opened without a pause.
    pub(crate) fn reopen(&self) {
        if let Some(connection) = lock(&self.state).connection.take() {
            connection.close(0u8.into(), b"the way there has changed");
        }
        self.hurried.notify_one();
    }

    /// Has the next call made without a pause, and one that has long been under way made anew: the peer was just heard,
    /// and who calls into the void asks ever more rarely whether somebody is there (RFC 9002, 6.2).
    pub(crate) fn hurry(&self, age_min: Duration) {
        let is_due = match lock(&self.state).attempt {
            Attempt::None => false,
            Attempt::Calling(since) => since.elapsed() >= age_min,
            Attempt::Pausing => true,
        };
        if is_due {
            self.hurried.notify_one();
        }
    }

    /// The connection, where one is open.
    pub(crate) fn connection(&self) -> Option<Connection> {
        lock(&self.state).connection.clone()
    }

    fn ended_because(&self, why: String) {
        *lock(&self.state) = State {
            connection: None,
            last_error: Some(why),
            attempt: Attempt::Pausing,
        };
    }

    fn attempts(&self, attempt: Attempt) {
        lock(&self.state).attempt = attempt;
    }

    pub(crate) fn path(&self, relays: &Relays) -> PeerPath {
        let state = lock(&self.state);
        PeerPath {
            peer: self.peer,
            protocol: self.protocol,
            way: state.connection.as_ref().and_then(|it| way(it, relays)),
            last_error: state.last_error.clone(),
        }
    }
}

/// Speaks to one peer until the link is ended.
pub(crate) async fn speak(shared: Arc<Shared>, link: Arc<Link>) {
    let pauses = || Pause::new(shared.limits.pause_min, shared.limits.pause_max);
    let mut pause = pauses();
    let all = async {
        loop {
            link.queue.wait().await;
            let began = Instant::now();
            link.attempts(Attempt::Calling(began));
            let opened = tokio::select! {
                opened = open(&shared, &link) => opened,
                () = link.hurried.notified() => continue,
            };
            let why = match opened {
                Ok((connection, stream)) => say(&shared, &link, connection, stream).await,
                Err(why) => why,
            };
            debug!(peer = ?link.peer, protocol = %link.protocol, %why, "link ended");
            link.ended_because(why);
            if began.elapsed() >= shared.limits.pause_max {
                pause = pauses();
            }
            tokio::select! {
                () = pause.wait() => {}
                () = link.hurried.notified() => {}
            }
        }
    };
    tokio::select! {
        () = all => {}
        () = link.ended.notified() => link.reopen(),
    }
}

async fn open(shared: &Shared, link: &Link) -> Result<(Connection, SendStream), String> {
    let alpn = link.protocol.terms().alpn;
    let connection = shared.call(&link.peer, alpn, ConnectOptions::new()).await?;
    let saying = async {
        let mut stream = connection.open_uni().await.map_err(|error| chain(&error))?;
        let hello = shared.hello.to_bytes();
        let said = frame::write(&mut stream, &hello, shared.limits.frame_time_max);
        said.await.map_err(|error| chain(&error))?;
        Ok::<_, String>(stream)
    };
    let said = timeout(shared.limits.connect_time_max, saying).await;
    let stream = said.map_err(|_| "the peer did not let this machine speak")??;
    Ok((connection, stream))
}

/// Writes what comes until the connection fails; the reason is returned.
async fn say(
    shared: &Shared,
    link: &Link,
    connection: Connection,
    mut stream: SendStream,
) -> String {
    {
        let mut state = lock(&link.state);
        state.connection = Some(connection.clone());
        state.attempt = Attempt::None;
    }
    let writing = async {
        loop {
            let next = link.queue.next().await;
            let written = frame::write(&mut stream, &next, shared.limits.frame_time_max);
            if let Err(error) = written.await {
                shared.count(|counts| &mut counts.frames_dropped, 1);
                return chain(&error);
            }
        }
    };
    tokio::select! {
        // The other side's own words say more than a write that failed because of them.
        biased;
        closed = connection.closed() => chain(&closed),
        () = pulse::lost(&connection, shared.limits.silence_max) => {
            connection.close(0u8.into(), pulse::NOTHING_COMES.as_bytes());
            pulse::NOTHING_COMES.to_owned()
        }
        why = writing => why,
    }
}

impl Queue {
    const fn new(bytes_max: usize, frames_max: usize) -> Self {
        Self {
            frames: Mutex::new(Waiting {
                frames: VecDeque::new(),
                bytes: 0,
            }),
            arrived: Notify::const_new(),
            bytes_max,
            frames_max,
        }
    }

    /// Adds a frame, and says how many older ones made room for it.
    pub(crate) fn push(&self, frame: Bytes) -> u64 {
        let mut dropped = 0;
        let mut waiting = lock(&self.frames);
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        while waiting.bytes > self.bytes_max || waiting.frames.len() > self.frames_max {
            let Some(oldest) = waiting.frames.pop_front() else {
                break;
            };
            waiting.bytes -= oldest.len();
            dropped += 1;
        }
        drop(waiting);
        self.arrived.notify_one();
        dropped
    }

    /// Waits until there is a frame.
    async fn wait(&self) {
        while lock(&self.frames).frames.is_empty() {
            self.arrived.notified().await;
        }
    }

    async fn next(&self) -> Bytes {
        loop {
            if let Some(frame) = self.pop() {
                return frame;
            }
            self.arrived.notified().await;
        }
    }

    fn pop(&self) -> Option<Bytes> {
        let mut waiting = lock(&self.frames);
        let frame = waiting.frames.pop_front()?;
        waiting.bytes -= frame.len();
        Some(frame)
    }
}

/// Pauses between attempts: each twice as long as the one before, up to a bound, and a random half less.
pub(crate) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, max }
    }

    pub(crate) async fn wait(&mut self) {
        let half = self.next / 2;
        let part = getrandom::u32().unwrap_or(u32::MAX) >> 16;
        sleep(half + half * part / u32::from(u16::MAX)).await;
        self.next = (self.next * 2).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PeerLimits;

    #[tokio::test]
    async fn the_oldest_frames_make_room_by_count_and_by_size() {
        let queue = Queue::new(10, 3);
        assert_eq!(queue.push(Bytes::from_static(b"a")), 0);
        assert_eq!(queue.push(Bytes::from_static(b"b")), 0);
        assert_eq!(queue.push(Bytes::from_static(b"c")), 0);
        assert_eq!(
            queue.push(Bytes::from_static(b"d")),
            1,
            "four frames where three may wait"
        );
        assert_eq!(queue.next().await, "b");
        assert_eq!(
            queue.push(Bytes::from_static(b"123456789")),
            1,
            "eleven bytes where ten may wait"
        );
        assert_eq!(queue.next().await, "d");
        assert_eq!(queue.next().await, "123456789");
        assert!(queue.pop().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_never_vanish() {
        let limits = PeerLimits::default();
        let mut pause = Pause::new(limits.pause_min, limits.pause_max);
        for _ in 0..20 {
            let began = Instant::now();
            pause.wait().await;
            let took = began.elapsed();
            assert!(
                took >= limits.pause_min / 2 && took <= limits.pause_max,
                "{took:?}"
            );
        }
        assert_eq!(pause.next, limits.pause_max);
    }
}
