//! Answers: what peers ask of this machine.
//!
//! Rules:
//! - On a connection for questions there is a stream for each, both ways, and nothing else. The asker says the network's
//!   id and the question, each as a frame; the answer comes back as one. Lengths are said first, because a stream that is
//!   given up ends as if it were complete.
//! - Everybody on the roster has a [`Share`]: so many at once, so many a second, so many bytes. It belongs to the peer and
//!   not to its connection, so that calling anew renews nothing. Guests have smaller ones.
//! - What has been read takes one of the places there are for all members together, or for all guests together. It keeps
//!   it until it is answered, also where the asker went away: what the owner of the peers holds is bounded.
//! - A question that is not answered in time is refused, and so is one that nobody takes; the asker is told which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::frame::{self, FrameError};
use super::incoming::{Closing, Next, next_streams};
use super::pace::{Pace, Rate};
use super::roster::Standing;
use super::{PeerKey, Roster, Shared, lock};
use crate::limits::{AskLimits, AskShare, FIRST_STREAMS};

/// A question that a peer has asked.
#[derive(Debug)]
pub struct Question {
    /// Who asks; proven.
    pub from: PeerKey,
    /// Whether it is a guest: on the roster as nothing else.
    pub is_guest: bool,
    /// What.
    pub bytes: Bytes,
    /// Where the answer goes.
    pub answer: Answerer,
}

/// Takes the answer to one question. Dropping it tells the asker that there is none.
#[derive(Debug)]
pub struct Answerer {
    answer: oneshot::Sender<Result<(Bytes, Places), Unanswered>>,
    places: Places,
    bytes_max: usize,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It is on its way.
    Sent,
    /// It is larger than answers may be; the asker is told so.
    TooLarge,
    /// Nobody waits for it any more.
    TooLate,
}

impl Answerer {
    /// Sends the answer. It never waits.
    pub fn send(self, answer: Bytes) -> Answered {
        let (sent, outcome) = if answer.len() > self.bytes_max {
            (Err(Unanswered::AnswerTooLarge), Answered::TooLarge)
        } else {
            (Ok((answer, self.places)), Answered::Sent)
        };
        self.answer
            .send(sent)
            .map_or(Answered::TooLate, |()| outcome)
    }

    /// Whether the asker still waits; where it does not, the work can be saved.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// Why a question's stream ends without its answer; the number reaches the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    Busy,
    NotAnswered,
    QuestionTooLarge,
    AnswerTooLarge,
    TooSlow,
}

impl Unanswered {
    const ALL: [Self; 5] = [
        Self::Busy,
        Self::NotAnswered,
        Self::QuestionTooLarge,
        Self::AnswerTooLarge,
        Self::TooSlow,
    ];

    pub(crate) fn code(self) -> VarInt {
        let code: u8 = match self {
            Self::Busy => 1,
            Self::NotAnswered => 2,
            Self::QuestionTooLarge => 3,
            Self::AnswerTooLarge => 4,
            Self::TooSlow => 5,
        };
        code.into()
    }

    pub(crate) fn of_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }
}

/// What a question holds until it is answered.
#[derive(Debug)]
struct Places {
    _of_the_peer: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Where questions wait, and who may ask how much.
#[derive(Debug)]
pub(crate) struct Answering {
    limits: AskLimits,
    /// Set once somebody takes questions.
    questions: OnceLock<mpsc::Sender<Question>>,
    members: Arc<Semaphore>,
    guests: Arc<Semaphore>,
    shares: Mutex<BTreeMap<PeerKey, Arc<Share>>>,
}

/// What one peer may ask, and has asked.
#[derive(Debug)]
struct Share {
    standing: Standing,
    streams_max: u32,
    places: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

impl Answering {
    pub(crate) fn new(limits: &AskLimits) -> Self {
        Self {
            limits: limits.clone(),
            questions: OnceLock::new(),
            members: Arc::new(Semaphore::new(limits.members_at_once_max)),
            guests: Arc::new(Semaphore::new(limits.guests_at_once_max)),
            shares: Mutex::default(),
        }
    }

    /// Where questions come from now on; for the first who asks.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Question>> {
        // Every question in it holds a place, so that it is never full.
        let places = self.limits.members_at_once_max + self.limits.guests_at_once_max;
        let (sender, receiver) = mpsc::channel(places.max(1));
        self.questions.set(sender).is_ok().then_some(receiver)
    }

    /// Forgets those who are no longer on the roster, or as something else.
    pub(crate) fn retain(&self, roster: &Roster) {
        lock(&self.shares).retain(|peer, share| roster.standing(peer) == Some(share.standing));
    }

    fn share(&self, peer: PeerKey, standing: Standing) -> Arc<Share> {
        let mut shares = lock(&self.shares);
        if let Some(share) = shares.get(&peer).filter(|share| share.standing == standing) {
            return Arc::clone(share);
        }
        let share = Arc::new(Share::new(standing, self.limits.of(standing)));
        shares.insert(peer, Arc::clone(&share));
        share
    }

    fn place(&self, standing: Standing) -> Result<OwnedSemaphorePermit, Unanswered> {
        let places = match standing {
            Standing::Member => &self.members,
            Standing::Guest => &self.guests,
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map_err(|_| Unanswered::Busy)
    }
}

impl AskLimits {
    const fn of(&self, standing: Standing) -> &AskShare {
        match standing {
            Standing::Member => &self.member,
            Standing::Guest => &self.guest,
        }
    }
}

impl Share {
    fn new(standing: Standing, terms: &AskShare) -> Self {
        let places = usize::try_from(terms.at_once_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            standing,
            // Streams that have ended are made up for once they are more than an eighth of those allowed (noq-proto,
            // `queue_max_stream_id`). An eighth may be missing, so there is a seventh more; it waits for its place.
            streams_max: (terms.at_once_max + terms.at_once_max / 7).max(FIRST_STREAMS),
            places: Arc::new(Semaphore::new(places)),
            pace: Mutex::new(Pace::new(Rate {
                frames_per_second: terms.per_second,
                bytes_per_second: terms.bytes_per_second,
            })),
        }
    }

    fn count_bytes(&self, bytes: &Bytes) {
        lock(&self.pace).count_bytes(bytes.len());
    }
}

fn share_of(shared: &Shared, peer: PeerKey) -> Result<Arc<Share>, Closing> {
    let standing = shared.roster.borrow().standing(&peer);
    let standing = standing.ok_or(Closing::NotAMember)?;
    Ok(shared.answering.share(peer, standing))
}

/// Takes the questions of a connection until it ends; the reason is returned.
pub(crate) async fn hear(
    shared: &Arc<Shared>,
    from: PeerKey,
    connection: &Connection,
) -> Result<String, Closing> {
    let mut under_way = JoinSet::new();
    let mut share = share_of(shared, from)?;
    connection.set_max_concurrent_bi_streams(share.streams_max.into());
    loop {
        let pause = lock(&share.pace).pause();
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let (answer, question) = match next_streams(connection, &mut under_way).await? {
            Next::Streams(send, recv) => (send, recv),
            Next::Ended(why) => return Ok(why),
        };
        // A guest may have become a member meanwhile.
        let now = share_of(shared, from)?;
        if now.standing != share.standing {
            connection.set_max_concurrent_bi_streams(now.streams_max.into());
        }
        share = now;
        lock(&share.pace).after(0);
        under_way.spawn(attend(
            Arc::clone(shared),
            Arc::clone(&share),
            connection.clone(),
            answer,
            question,
        ));
    }
}

/// How a question ended that was not answered.
enum End {
    /// Its asker gave up, or went.
    Gone,
    Refused(Unanswered),
    Closed(Closing),
}

/// Sees one question to its end.
async fn attend(
    shared: Arc<Shared>,
    share: Arc<Share>,
    connection: Connection,
    mut answer: SendStream,
    mut question: RecvStream,
) -> Result<(), Closing> {
    let time_max = shared.limits.asks.time_max;
    let from = PeerKey(*connection.remote_id().as_bytes());
    let all = async {
        let bytes = read(&shared, &mut question).await?;
        share.count_bytes(&bytes);
        let (bytes, places) = answer_to(&shared, &share, from, bytes, &answer).await?;
        share.count_bytes(&bytes);
        let written = frame::write(&mut answer, &bytes, time_max).await;
        // Given back before the asker can know that the answer is complete: it may ask its next question at once.
        drop(places);
        written.map_err(|_| End::Gone)
    };
    let why = match timeout(time_max, all).await {
        Ok(Ok(())) => {
            // An error says that the asker has gone meanwhile.
            let _ = answer.finish();
            return Ok(());
        }
        Ok(Err(End::Gone)) => return Ok(()),
        Ok(Err(End::Closed(closing))) => {
            // Before the stream is dropped: its end would be all that the asker hears.
            closing.close(&connection);
            return Err(closing);
        }
        Ok(Err(End::Refused(why))) => why,
        Err(_) => Unanswered::TooSlow,
    };
    debug!(peer = ?from, ?why, "a question is not answered");
    shared.count(|counts| &mut counts.questions_refused, 1);
    // Errors say that the asker has gone meanwhile.
    let _ = answer.reset(why.code());
    let _ = question.stop(why.code());
    Ok(())
}

/// Reads a question, after the network that it is meant for.
async fn read(shared: &Shared, stream: &mut RecvStream) -> Result<Bytes, End> {
    let limits = &shared.limits.asks;
    let network = frame::read(stream, shared.hello.network.len(), limits.time_max).await;
    match network {
        Ok(Some(network)) if *network == shared.hello.network => {}
        Ok(Some(_)) => return Err(End::Closed(Closing::OtherNetwork)),
        Ok(None) | Err(FrameError::Io(_)) => return Err(End::Gone),
        Err(FrameError::TooLarge { .. } | FrameError::TooSlow) => {
            return Err(End::Closed(Closing::Offence));
        }
    }
    match frame::read(stream, limits.question_bytes_max, limits.time_max).await {
        Ok(Some(question)) => {
            let more = stream.read_u8().await;
            more.map_or(Ok(question), |_| Err(End::Closed(Closing::Offence)))
        }
        Ok(None) | Err(FrameError::Io(_)) => Err(End::Gone),
        Err(FrameError::TooLarge { .. }) => Err(End::Refused(Unanswered::QuestionTooLarge)),
        Err(FrameError::TooSlow) => Err(End::Refused(Unanswered::TooSlow)),
    }
}

/// Hands a question over, and waits for its answer as long as the asker does.
async fn answer_to(
    shared: &Shared,
    share: &Share,
    from: PeerKey,
    bytes: Bytes,
    stream: &SendStream,
) -> Result<(Bytes, Places), End> {
    let not_answered = End::Refused(Unanswered::NotAnswered);
    let own = Arc::clone(&share.places).acquire_owned().await;
    let Ok(of_the_peer) = own else {
        return Err(not_answered);
    };
    let of_all = shared.answering.place(share.standing);
    let places = Places {
        _of_the_peer: of_the_peer,
        _of_all: of_all.map_err(End::Refused)?,
    };
    // Asked once more: reading may have taken long.
    let standing = shared.roster.borrow().standing(&from);
    let standing = standing.ok_or(End::Closed(Closing::NotAMember))?;
    let (sender, answered) = oneshot::channel();
    let question = Question {
        from,
        is_guest: standing == Standing::Guest,
        bytes,
        answer: Answerer {
            answer: sender,
            places,
            bytes_max: shared.limits.asks.answer_bytes_max,
        },
    };
    let questions = shared.answering.questions.get();
    let is_taken = questions.is_some_and(|questions| questions.try_send(question).is_ok());
    if !is_taken {
        return Err(not_answered);
    }
    shared.count(|counts| &mut counts.questions_received, 1);
    tokio::select! {
        answer = answered => match answer {
            Ok(answer) => answer.map_err(End::Refused),
            Err(_) => Err(not_answered),
        },
        _ = stream.stopped() => Err(End::Gone),
    }
}
