//! A way to one peer for what is not frames: one connection for a purpose, opened when it is needed and closed when it
//! has been quiet for a while.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{ConnectOptions, Connection, ConnectionError};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::incoming::Closing;
use super::protocol::Purpose;
use super::share::{Share, Shares};
use super::{PeerKey, Shared, chain, lock, pulse, tunnel};

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum LineError {
    /// Nobody of that key is on the roster, or it is this machine's own.
    NotAMember,
    /// There was no way to the peer.
    Unreachable(String),
}

/// The way to one peer for one purpose.
#[derive(Debug)]
pub(crate) struct Line {
    peer: PeerKey,
    purpose: Purpose,
    connection: Mutex<Option<Connection>>,
    /// One call at a time.
    calling: Semaphore,
    /// Streams at once.
    places: Arc<Semaphore>,
    places_count: usize,
    shares: Arc<Shares>,
    used: Notify,
    /// When it was called last.
    called: Mutex<Instant>,
    /// A call that is under way is to be made anew.
    renewed: Notify,
}

impl Line {
    /// The line to a member.
    pub(crate) fn to(
        shared: &Shared,
        peer: PeerKey,
        purpose: Purpose,
    ) -> Result<Arc<Self>, LineError> {
        let is_known = shared.roster.borrow().members.contains_key(&peer);
        if !is_known || peer.0 == *shared.endpoint.id().as_bytes() {
            return Err(LineError::NotAMember);
        }
        let mut lines = lock(&shared.lines);
        let line = lines.entry((peer, purpose)).or_insert_with(|| {
            let places_count = match purpose {
                Purpose::Tunnels => shared.limits.tunnels.per_peer_max,
                _ => shared.limits.asks.member.at_once_max,
            };
            let places_count = usize::try_from(places_count).unwrap_or(Semaphore::MAX_PERMITS);
            let places = Arc::new(Semaphore::new(places_count));
            Arc::new(Self {
                peer,
                purpose,
                connection: Mutex::default(),
                calling: Semaphore::new(1),
                shares: Shares::new(Arc::clone(&places)),
                places,
                places_count,
                used: Notify::new(),
                called: Mutex::new(Instant::now()),
                renewed: Notify::new(),
            })
        });
        Ok(Arc::clone(line))
    }

    /// Waits for a place; whoever holds one keeps the connection open.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.places).acquire_owned().await
    }

    /// A place at once, where the target has not its share already.
    pub(crate) fn share(&self, target: &Bytes) -> Option<Share> {
        self.shares.take(target)
    }

    /// The open connection, or a new one.
    pub(crate) async fn connection(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
    ) -> Result<Connection, LineError> {
        let _turn = self.calling.acquire().await;
        self.used.notify_one();
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let peer = self.peer;
        let connection = loop {
            *lock(&self.called) = Instant::now();
            tokio::select! {
                called = self.call(shared) => break called?,
                () = self.renewed.notified() => {}
            }
        };
        *lock(&self.connection) = Some(connection.clone());
        // Only now: whoever is taken off the roster meanwhile is found in one of the two.
        if !shared.roster.borrow().members.contains_key(&peer) {
            self.close();
            return Err(LineError::NotAMember);
        }
        let quiet_max = shared.limits.asks.quiet_max;
        let line = Arc::clone(self);
        shared.tasks.start(retire(
            line,
            connection.clone(),
            shared.limits.silence_max,
            quiet_max,
        ));
        Ok(connection)
    }

    async fn call(&self, shared: &Shared) -> Result<Connection, LineError> {
        let unreachable = LineError::Unreachable;
        let options = match self.purpose {
            Purpose::Tunnels => tunnel::options(&shared.limits).map_err(unreachable)?,
            _ => ConnectOptions::new(),
        };
        let called = shared.call(&self.peer, self.purpose.alpn(), options).await;
        called.map_err(unreachable)
    }

    /// Has a call that is under way made anew: there may be another way to the peer than those that it takes.
    pub(crate) fn renew(&self) {
        self.renewed.notify_waiters();
    }

    /// The same for one that has long been under way: the peer was just heard.
    pub(crate) fn hurry(&self, age_min: Duration) {
        if lock(&self.called).elapsed() >= age_min {
            self.renew();
        }
    }

    /// The connection, where one is open.
    pub(crate) fn open(&self) -> Option<Connection> {
        let connection = lock(&self.connection).clone();
        connection.filter(|connection| connection.close_reason().is_none())
    }

    /// Closes the connection, so that what comes next goes by a new one.
    pub(crate) fn close(&self) {
        if let Some(connection) = lock(&self.connection).take() {
            connection.close(0u8.into(), b"nothing more is asked on this way");
        }
    }

    /// Closes the connection where nothing is under way on it. Whoever has a place is counted, and whoever has none yet
    /// finds no connection.
    fn close_if_idle(&self) {
        let mut connection = lock(&self.connection);
        if self.places.available_permits() < self.places_count {
            return;
        }
        if let Some(connection) = connection.take() {
            connection.close(0u8.into(), b"nothing has been asked for a while");
        }
    }
}

/// The other side's own words for having closed a connection, where there are any.
pub(crate) fn closing_of(connection: &Connection) -> (Option<Closing>, Option<String>) {
    let closed = connection.close_reason();
    let code = match &closed {
        Some(ConnectionError::ApplicationClosed(close)) => Closing::of_code(close.error_code),
        _ => None,
    };
    (code, closed.map(|closed| chain(&closed)))
}

/// Closes a connection on which nothing has been asked for a while, or from which nothing comes any more.
async fn retire(
    line: Arc<Line>,
    connection: Connection,
    silence_max: Duration,
    quiet_max: Duration,
) {
    let quiet = async {
        loop {
            if timeout(quiet_max, line.used.notified()).await.is_err() {
                line.close_if_idle();
            }
        }
    };
    tokio::select! {
        _ = connection.closed() => {}
        () = pulse::lost(&connection, silence_max) => {
            connection.close(0u8.into(), pulse::NOTHING_COMES.as_bytes());
        }
        () = quiet => {}
    }
}
