//! Questions: what this machine asks of peers. `answer.rs` says what travels, and what the other side allows.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{Connection, ConnectionError, ReadError, VarInt, WriteError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tracing::debug;

use super::answer::Unanswered;
use super::frame::{self, FrameError};
use super::incoming::Closing;
use super::protocol::Purpose;
use super::{PeerKey, Shared, chain, lock, way};
use crate::limits::AskLimits;

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody of that key is on the roster here, or it is this machine's own.
    #[error(
        "asking {peer}: no other member of that key is known here; check the key, or wait until its joining is"
    )]
    NotAMember {
        /// Who was to be asked.
        peer: PeerKey,
    },
    /// There was no way to the peer, or it broke off. The question may have arrived.
    #[error(
        "asking {peer}: {reason}; check that the machine runs and is on the network, and ask again"
    )]
    Unreachable {
        /// Who was to be asked.
        peer: PeerKey,
        /// What happened.
        reason: String,
    },
    /// The question is larger than questions may be.
    #[error(
        "asking {peer}: the question is too large, {bytes} bytes; ask for less at once, or send it in parts"
    )]
    QuestionTooLarge {
        /// Who was to be asked.
        peer: PeerKey,
        /// How large it is.
        bytes: usize,
    },
    /// The answer is larger than answers may be.
    #[error("asking {peer}: the answer is too large; ask for less at once")]
    AnswerTooLarge {
        /// Who was asked.
        peer: PeerKey,
    },
    /// The answer did not come, or not completely, in the time for it. The question may have arrived.
    #[error("asking {peer}: no answer within {} s; ask again, or ask another member", .time_max.as_secs_f32())]
    TimedOut {
        /// Who was asked.
        peer: PeerKey,
        /// The time for it.
        time_max: Duration,
    },
    /// The peer does not answer.
    #[error("asking {peer}: {refusal}")]
    Refused {
        /// Who was asked.
        peer: PeerKey,
        /// Why not.
        refusal: Refusal,
    },
}

/// Why a peer does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It answers as many as it can.
    #[error(
        "it answers as many questions as it can; ask again in a few seconds, or ask another member"
    )]
    Busy,
    /// It has no answer to this question.
    #[error(
        "it has no answer to this question; check that it runs the same version, or ask another member"
    )]
    NotAnswered,
    /// This machine is neither a member nor a guest there.
    #[error(
        "it knows this machine neither as a member nor by an unused invite; ask a member for an invite"
    )]
    NotAdmitted,
    /// It is of another network.
    #[error("it is of another network; check whose address or invite this is")]
    OtherNetwork,
}

/// The way to one peer for questions.
#[derive(Debug)]
pub(crate) struct Line {
    peer: PeerKey,
    connection: Mutex<Option<Connection>>,
    /// One call at a time.
    calling: Semaphore,
    /// Questions at once.
    places: Semaphore,
    places_count: u32,
    asked: Notify,
}

/// Asks one peer on the roster.
pub(crate) async fn ask(
    shared: &Arc<Shared>,
    peer: PeerKey,
    question: Bytes,
) -> Result<Bytes, AskError> {
    let limits = &shared.limits.asks;
    if question.len() > limits.question_bytes_max {
        let bytes = question.len();
        return Err(AskError::QuestionTooLarge { peer, bytes });
    }
    let is_known = shared.roster.borrow().members.contains_key(&peer);
    if !is_known || peer.0 == *shared.endpoint.id().as_bytes() {
        return Err(AskError::NotAMember { peer });
    }
    let line = {
        let mut lines = lock(&shared.lines);
        let line = lines
            .entry(peer)
            .or_insert_with(|| Arc::new(Line::new(peer, limits)));
        Arc::clone(line)
    };
    let time_max = limits.time_max;
    let answer = timeout(time_max, line.ask(shared, &question)).await;
    answer.unwrap_or(Err(AskError::TimedOut { peer, time_max }))
}

impl Line {
    fn new(peer: PeerKey, limits: &AskLimits) -> Self {
        let places_count = limits.member.at_once_max;
        let places = usize::try_from(places_count).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            peer,
            connection: Mutex::default(),
            calling: Semaphore::new(1),
            places: Semaphore::new(places),
            places_count,
            asked: Notify::new(),
        }
    }

    async fn ask(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        question: &Bytes,
    ) -> Result<Bytes, AskError> {
        let _place = self.places.acquire().await;
        let connection = self.connection(shared).await?;
        self.asked.notify_one();
        let answer = exchange(shared, &connection, question).await;
        answer.map_err(|failure| self.told(shared, &connection, failure, question))
    }

    /// The open connection, or a new one.
    async fn connection(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<Connection, AskError> {
        let _turn = self.calling.acquire().await;
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let peer = self.peer;
        let address = shared.roster.borrow().address(&peer);
        let address = address.ok_or(AskError::NotAMember { peer })?;
        let connecting = shared.endpoint.connect(address, Purpose::QUESTIONS_ALPN);
        let unreachable = |reason| AskError::Unreachable { peer, reason };
        let connection = timeout(shared.limits.connect_time_max, connecting)
            .await
            .map_err(|_| unreachable("the peer did not answer in time".into()))?
            .map_err(|error| unreachable(chain(&error)))?;
        *lock(&self.connection) = Some(connection.clone());
        // Only now: whoever is taken off the roster meanwhile is found in one of the two.
        if !shared.roster.borrow().members.contains_key(&peer) {
            self.close();
            return Err(AskError::NotAMember { peer });
        }
        shared.tasks.start(retire(
            Arc::clone(self),
            connection.clone(),
            shared.limits.asks.quiet_max,
        ));
        Ok(connection)
    }

    fn open(&self) -> Option<Connection> {
        let connection = lock(&self.connection).clone();
        connection.filter(|connection| connection.close_reason().is_none())
    }

    /// Closes the connection, so that the next question goes by a new one.
    pub(crate) fn close(&self) {
        if let Some(connection) = lock(&self.connection).take() {
            connection.close(0u8.into(), b"nothing more is asked on this way");
        }
    }

    /// Whether questions go through a relay now.
    pub(crate) fn is_relayed(&self) -> bool {
        let way = self.open().as_ref().and_then(way);
        way.is_some_and(|way| !way.is_direct)
    }

    /// Closes the connection where nothing is under way on it. Whoever has a place is counted, and whoever has none yet
    /// finds no connection.
    fn close_if_idle(&self) {
        let mut connection = lock(&self.connection);
        let idle = usize::try_from(self.places_count).unwrap_or(Semaphore::MAX_PERMITS);
        if self.places.available_permits() < idle {
            return;
        }
        if let Some(connection) = connection.take() {
            connection.close(0u8.into(), b"nothing has been asked for a while");
        }
    }

    /// What a failure means for whoever asked.
    fn told(
        &self,
        shared: &Shared,
        connection: &Connection,
        failure: Failure,
        question: &Bytes,
    ) -> AskError {
        let peer = self.peer;
        let refused = |refusal| AskError::Refused { peer, refusal };
        let why = match failure {
            Failure::Unanswered(why) => why,
            Failure::Other(reason) => return self.broken(connection, reason),
        };
        match why {
            Unanswered::Busy => refused(Refusal::Busy),
            Unanswered::NotAnswered => refused(Refusal::NotAnswered),
            Unanswered::QuestionTooLarge => AskError::QuestionTooLarge {
                peer,
                bytes: question.len(),
            },
            Unanswered::AnswerTooLarge => AskError::AnswerTooLarge { peer },
            Unanswered::TooSlow => AskError::TimedOut {
                peer,
                time_max: shared.limits.asks.time_max,
            },
        }
    }

    /// What it means that a stream broke off. Where the connection is closed, the other side's own words say more.
    fn broken(&self, connection: &Connection, reason: String) -> AskError {
        let peer = self.peer;
        let closed = connection.close_reason();
        let code = match &closed {
            Some(ConnectionError::ApplicationClosed(close)) => Closing::of_code(close.error_code),
            _ => None,
        };
        let refusal = match code {
            Some(Closing::NotAMember) => Refusal::NotAdmitted,
            Some(Closing::OtherNetwork) => Refusal::OtherNetwork,
            Some(Closing::Offence | Closing::Replaced) | None => {
                let reason = closed.map_or(reason, |closed| chain(&closed));
                return AskError::Unreachable { peer, reason };
            }
        };
        AskError::Refused { peer, refusal }
    }
}

/// Closes a connection on which nothing has been asked for a while.
async fn retire(line: Arc<Line>, connection: Connection, quiet_max: Duration) {
    let quiet = async {
        loop {
            if timeout(quiet_max, line.asked.notified()).await.is_err() {
                line.close_if_idle();
            }
        }
    };
    tokio::select! {
        _ = connection.closed() => {}
        () = quiet => {}
    }
}

/// Why there was no answer.
enum Failure {
    Unanswered(Unanswered),
    Other(String),
}

/// One question and its answer, on a stream of their own.
async fn exchange(
    shared: &Shared,
    connection: &Connection,
    question: &Bytes,
) -> Result<Bytes, Failure> {
    let limits = &shared.limits.asks;
    let opened = connection.open_bi().await;
    let (mut asking, mut answer) = opened.map_err(|error| Failure::Other(chain(&error)))?;
    for part in [&shared.network, question.as_ref()] {
        let written = frame::write(&mut asking, part, limits.time_max).await;
        written.map_err(|error| Failure::of(&error))?;
    }
    // An error says that the other side has stopped reading; its answer says why.
    let _ = asking.finish();
    match frame::read(&mut answer, limits.answer_bytes_max, limits.time_max).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Failure::Other("the answer ended before it began".into())),
        Err(FrameError::TooLarge { .. }) => Err(Failure::Unanswered(Unanswered::AnswerTooLarge)),
        Err(FrameError::TooSlow) => Err(Failure::Unanswered(Unanswered::TooSlow)),
        Err(FrameError::Io(error)) => Err(Failure::of(&error)),
    }
}

impl Failure {
    /// What the other side says by the number with which it ends a stream.
    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        let code: Option<VarInt> = inner.and_then(|inner| {
            let read = inner.downcast_ref().and_then(|error| match error {
                ReadError::Reset(code) => Some(*code),
                _ => None,
            });
            read.or_else(|| match inner.downcast_ref()? {
                WriteError::Stopped(code) => Some(*code),
                _ => None,
            })
        });
        match code.and_then(Unanswered::of_code) {
            Some(why) => Self::Unanswered(why),
            None => {
                debug!(%error, "a question failed");
                Self::Other(chain(error))
            }
        }
    }
}
