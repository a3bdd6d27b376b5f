//! Those who call: who is let in, and how what they say is read.

use std::sync::Arc;

use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream, VarInt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::hello::{self, Hello};
use super::pace::Pace;
use super::protocol::Purpose;
use super::{PeerKey, Protocol, Received, Shared, answer, chain, frame, lock, tunnel};

/// Why a connection is closed; the number and words reach the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    NotAMember,
    OtherNetwork,
    Offence,
    Replaced,
}

impl Closing {
    const ALL: [Self; 4] = [
        Self::NotAMember,
        Self::OtherNetwork,
        Self::Offence,
        Self::Replaced,
    ];

    fn code(self) -> VarInt {
        let code: u8 = match self {
            Self::NotAMember => 1,
            Self::OtherNetwork => 2,
            Self::Offence => 3,
            Self::Replaced => 4,
        };
        code.into()
    }

    pub(crate) fn of_code(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }

    pub(crate) fn close(self, connection: &Connection) {
        let words: &[u8] = match self {
            Self::NotAMember => b"your key is not on the roster here",
            Self::OtherNetwork => b"another network lives here",
            Self::Offence => b"a frame was too large, too slow or not one",
            Self::Replaced => b"a newer link of yours takes its place",
        };
        connection.close(self.code(), words);
    }
}

/// Takes calls until the endpoint closes.
pub(crate) async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let Ok(seat) = Arc::clone(&shared.handshakes).try_acquire_owned() else {
            shared.count(|counts| &mut counts.handshakes_refused, 1);
            incoming.refuse();
            continue;
        };
        // When it gets crowded, callers show that their address is theirs before they cost a handshake (RFC 9000, 8.1.2).
        let is_crowded = shared.handshakes.available_permits() < shared.limits.handshakes_max / 2;
        if is_crowded && !incoming.remote_addr_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        shared
            .tasks
            .start(receive(Arc::clone(&shared), incoming, seat));
    }
}

async fn receive(shared: Arc<Shared>, incoming: Incoming, seat: OwnedSemaphorePermit) {
    let handshake = async { incoming.accept().ok()?.await.ok() };
    let connection = timeout(shared.limits.handshake_time_max, handshake).await;
    drop(seat);
    let Ok(Some(connection)) = connection else {
        shared.count(|counts| &mut counts.handshakes_failed, 1);
        return;
    };
    let from = PeerKey(*connection.remote_id().as_bytes());
    let Some(purpose) = Purpose::of_alpn(connection.alpn()) else {
        Closing::Offence.close(&connection);
        return;
    };
    // The place is taken before the roster is asked: whoever is taken off it meanwhile is found in one of the two.
    let newest = connection.weak_handle();
    let before = lock(&shared.heard).insert((from, purpose), newest);
    let standing = shared.roster.borrow().standing(&from);
    if !purpose.is_open_to(standing) {
        lock(&shared.heard).remove(&(from, purpose));
        shared.count(|counts| &mut counts.strangers, 1);
        Closing::NotAMember.close(&connection);
        // The words have to be sent before the connection is dropped.
        connection.closed().await;
        return;
    }
    if let Some(before) = before.and_then(|before| before.upgrade()) {
        Closing::Replaced.close(&before);
    }
    let heard = match purpose {
        Purpose::Frames(protocol) => tokio::select! {
            heard = listen(&shared, from, protocol, &connection) => heard,
            // Questions have connections of their own.
            Ok(_) = connection.accept_bi() => Err(Closing::Offence),
        },
        Purpose::Questions => answer::hear(&shared, from, &connection).await,
        Purpose::Tunnels => tunnel::hear(&shared, from, &connection).await,
    };
    match heard {
        Ok(why) => debug!(peer = ?from, %purpose, %why, "peer went"),
        Err(closing) => {
            shared.count(|counts| &mut counts.offenders, 1);
            closing.close(&connection);
        }
    }
}

/// What a connection on which each stream goes both ways brings next.
pub(crate) enum Next {
    Streams(SendStream, RecvStream),
    /// It has ended, for that reason.
    Ended(String),
}

/// Waits for the next streams of a connection, and sees to what came before.
pub(crate) async fn next_streams(
    connection: &Connection,
    under_way: &mut JoinSet<Result<(), Closing>>,
) -> Result<Next, Closing> {
    loop {
        tokio::select! {
            opened = connection.accept_bi() => return match opened {
                Ok((send, recv)) => Ok(Next::Streams(send, recv)),
                Err(error) => Ok(Next::Ended(chain(&error))),
            },
            other = connection.accept_uni() => return match other {
                Ok(_) => Err(Closing::Offence),
                Err(error) => Ok(Next::Ended(chain(&error))),
            },
            Some(ended) = under_way.join_next() => {
                if let Ok(Err(closing)) = ended {
                    return Err(closing);
                }
            }
        }
    }
}

/// Reads a connection's one stream to its end; the reason is returned.
async fn listen(
    shared: &Shared,
    from: PeerKey,
    protocol: Protocol,
    connection: &Connection,
) -> Result<String, Closing> {
    let limits = &shared.limits;
    let mut stream = match timeout(limits.handshake_time_max, connection.accept_uni()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Ok(chain(&error)),
        Err(_) => return Err(Closing::Offence),
    };
    let hello = timeout(
        limits.handshake_time_max,
        next(shared, &mut stream, Hello::BYTES),
    );
    let Some(said) = hello.await.map_err(|_| Closing::Offence)?? else {
        return Ok("nothing was said".into());
    };
    let hello = Hello::from_bytes(&said).ok_or(Closing::Offence)?;
    if hello.network != shared.hello.network {
        return Err(Closing::OtherNetwork);
    }
    hello::heard(shared, from, hello.life);
    let terms = protocol.terms();
    let mut pace = Pace::new(terms.rate);
    while let Some(bytes) = next(shared, &mut stream, terms.frame_bytes_max).await? {
        shared.count(|counts| &mut counts.frames_received, 1);
        let pause = pace.after(bytes.len());
        let received = Received {
            from,
            protocol,
            bytes,
        };
        // A full inbox lets this peer wait, in turn with the others; it holds one frame of each at most.
        let inbox = shared.inboxes.get(&protocol);
        let Some(Ok(())) = (match inbox {
            Some(inbox) => Some(inbox.send(received).await),
            None => None,
        }) else {
            return Ok("nobody takes its frames".into());
        };
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    Ok("it has said everything".into())
}

/// The next frame; none at the end, also where the connection broke off.
async fn next(
    shared: &Shared,
    stream: &mut RecvStream,
    bytes_max: usize,
) -> Result<Option<bytes::Bytes>, Closing> {
    match frame::read(stream, bytes_max, shared.limits.frame_time_max).await {
        Ok(frame) => Ok(frame),
        Err(frame::FrameError::Io(_)) => Ok(None),
        Err(error) => {
            debug!(%error, "a peer's frame is refused");
            Err(Closing::Offence)
        }
    }
}
