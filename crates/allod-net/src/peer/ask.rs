//! Questions: what this machine asks of peers. `answer.rs` says what travels, and what the other side allows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iroh::endpoint::{Connection, ReadError, VarInt, WriteError};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::answer::Unanswered;
use super::frame::{self, FrameError};
use super::incoming::Closing;
use super::line::{Line, LineError, closing_of};
use super::protocol::Purpose;
use super::{PeerKey, Shared, chain};

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
    let time_max = limits.time_max;
    let began = Instant::now();
    let asking = async {
        let no_way = |error| AskError::of(peer, error);
        let line = Line::to(shared, peer, Purpose::Questions).map_err(no_way)?;
        let _place = line.place().await;
        let connection = line.connection(shared).await.map_err(no_way)?;
        let called = began.elapsed();
        let answer = exchange(shared, &connection, &question).await;
        debug!(?peer, ?called, all = ?began.elapsed(), "a question was asked");
        answer.map_err(|failure| told(peer, shared, &connection, failure, &question))
    };
    let answer = timeout(time_max, asking).await;
    answer.unwrap_or(Err(AskError::TimedOut { peer, time_max }))
}

impl AskError {
    fn of(peer: PeerKey, error: LineError) -> Self {
        match error {
            LineError::NotAMember => Self::NotAMember { peer },
            LineError::Unreachable(reason) => Self::Unreachable { peer, reason },
        }
    }
}

/// What a failure means for whoever asked.
fn told(
    peer: PeerKey,
    shared: &Shared,
    connection: &Connection,
    failure: Failure,
    question: &Bytes,
) -> AskError {
    let refused = |refusal| AskError::Refused { peer, refusal };
    let why = match failure {
        Failure::Unanswered(why) => why,
        Failure::Other(reason) => return broken(peer, connection, reason),
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
fn broken(peer: PeerKey, connection: &Connection, reason: String) -> AskError {
    let (code, closed) = closing_of(connection);
    let refusal = match code {
        Some(Closing::NotAMember) => Refusal::NotAdmitted,
        Some(Closing::OtherNetwork) => Refusal::OtherNetwork,
        Some(Closing::Offence | Closing::Replaced) | None => {
            let reason = closed.unwrap_or(reason);
            return AskError::Unreachable { peer, reason };
        }
    };
    AskError::Refused { peer, refusal }
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
    for part in [&shared.hello.network, question.as_ref()] {
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
