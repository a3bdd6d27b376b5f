//! The lobby: where a connection waits until its client has said what it wants, and where it is let in or sent away.
//!
//! A connection costs little here: no seat, no buffer, nothing of HTTP. Whoever says nothing, or a head byte by byte, waits
//! here and takes no seat from anybody; where the lobby is full, the one that has waited the longest goes, of the source that has
//! the most of them, so that no source pushes out another. Once a head is there whole, the connection gets a seat if it
//! is its source's turn ([`Pace`]), and else one answer, which says when to come again.
//!
//! All this is done by a thread of its own, with the least share of a busy processor: the kernel's queue never waits for
//! the requests that are being answered, and however many knock, those who are in lose little by it.

mod places;

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;

use self::places::{Place, Places};
use super::pace::Pace;
use super::seats::{self, Seat, network_of};
use super::shared::Shared;
use super::stream::told;
use crate::limits::{
    ACCEPT_PAUSE, GLANCE_BYTES, HEAD_TIMEOUT, LOBBY_NICENESS, LOBBY_STACK_BYTES, SHED_BYTES_MAX,
    STRANGERS_MAX,
};

/// A connection that was let in: whole head, seat taken.
pub(super) type Admitted = (TcpStream, Arc<Seat>);

/// Opens the lobby on a thread of its own, until the server is told to stop or is gone.
pub(super) fn open(
    listener: TcpListener,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
) -> io::Result<mpsc::Receiver<Admitted>> {
    // Each of them holds a seat, so that this is never full.
    let (admitted, next) = mpsc::channel(STRANGERS_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let lobby = Arc::new(Lobby {
        shared,
        pace: Mutex::new(Pace::new()),
        refused: AtomicU64::new(0),
        admitted,
    });
    let work = move || {
        // Where that is not allowed, this thread is like all others.
        let _ = rustix::process::nice(LOBBY_NICENESS);
        runtime.block_on(receive_all(listener, lobby, stopping));
    };
    std::thread::Builder::new()
        .name("lobby".into())
        .stack_size(LOBBY_STACK_BYTES)
        .spawn(work)?;
    Ok(next)
}

struct Lobby {
    shared: Arc<Shared>,
    pace: Mutex<Pace>,
    refused: AtomicU64,
    admitted: mpsc::Sender<Admitted>,
}

async fn receive_all(
    listener: tokio::net::TcpListener,
    lobby: Arc<Lobby>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut waiting = JoinSet::new();
    let places = Places::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = waiting.join_next() => continue,
            () = told(&mut stopping) => return,
        };
        let (stream, source) = match accepted {
            Ok((stream, from)) => (stream, network_of(from.ip())),
            Err(error) => {
                warn!(%error, "could not accept a connection to the API");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Under a flood most have said everything by now, and need no place to wait in.
        match looked(&stream) {
            Ok(true) => lobby.receive(stream, source),
            Ok(false) => {
                let place = places.enter(source);
                waiting.spawn(attend(Arc::clone(&lobby), stream, place));
            }
            // It is gone already.
            Err(_) => {}
        }
    }
}

/// Waits for a whole head, and then receives the connection.
async fn attend(lobby: Arc<Lobby>, stream: tokio::net::TcpStream, place: Place) {
    let head = tokio::select! {
        head = tokio::time::timeout(HEAD_TIMEOUT, whole_head(&stream)) => head,
        () = place.told_to_leave() => return,
    };
    if matches!(head, Ok(Ok(()))) {
        lobby.receive(stream, place.source());
    }
}

impl Lobby {
    /// Lets in a connection whose head is there, or sends it away.
    fn receive(&self, stream: tokio::net::TcpStream, source: IpAddr) {
        let Ok(stream) = stream.into_std() else {
            return;
        };
        if let Some((room, seat)) = self.room(source) {
            room.send((stream, seat));
            return;
        }
        let number = self.refused.fetch_add(1, Ordering::Relaxed);
        let height = self.shared.node.state().tip().height;
        send_away(stream, &seats::full(number).written(height));
    }

    /// A seat for a client from there, and the way to it.
    fn room(&self, source: IpAddr) -> Option<(mpsc::Permit<'_, Admitted>, Arc<Seat>)> {
        let room = self.admitted.try_reserve().ok()?;
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if !pace.turn(source) {
            return None;
        }
        // Where every stranger is being answered, nobody more comes in.
        Some((room, self.shared.seats.enter(source)?))
    }
}

/// Returns once a whole head can be read, or something that will never be one.
async fn whole_head(stream: &tokio::net::TcpStream) -> io::Result<()> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let looked = stream.try_io(Interest::READABLE, || match looked(stream)? {
            true => Ok(()),
            // What is there stays there; asked for again is only what comes next.
            false => Err(io::ErrorKind::WouldBlock.into()),
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        if ready.is_read_closed() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Whether what has come until now is a whole head. It stays where it is.
fn looked(stream: impl AsFd) -> io::Result<bool> {
    let mut bytes = [0; GLANCE_BYTES];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(stream, &mut bytes, flags) {
        Ok((_, length)) => Ok(is_whole(&bytes[..length])),
        Err(rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether these bytes are for the parser: an ended head, more than a glance shows, or no HTTP at all.
fn is_whole(bytes: &[u8]) -> bool {
    let begun = bytes.iter().find(|byte| !matches!(byte, b'\r' | b'\n'));
    let is_nonsense = begun.is_some_and(|byte| !byte.is_ascii_graphic());
    let is_ended = || {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        // Empty lines before the first one are no end, and what follows the last line end is no line yet.
        lines.next_back();
        let is_empty = |line: &&[u8]| line.is_empty() || *line == b"\r";
        lines.skip_while(is_empty).any(|line| is_empty(&line))
    };
    bytes.len() >= GLANCE_BYTES || is_nonsense || is_ended()
}

/// Answers once and hangs up. What has come is read first: closing on unread bytes takes the answer away again.
fn send_away(mut stream: TcpStream, answer: &[u8]) {
    let mut scrap = [0; GLANCE_BYTES];
    let mut read = 0;
    while read < SHED_BYTES_MAX
        && let Ok(length @ 1..) = stream.read(&mut scrap)
    {
        read += length;
        if length < scrap.len() {
            break;
        }
    }
    // A fresh connection has room for this; one that has not gets less.
    let _ = stream.write(answer);
}

#[cfg(test)]
mod tests;
