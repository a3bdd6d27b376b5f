//! Long requests take turns, so that there is always somebody for the short ones.
//!
//! Each kind has a bound of its own, and all of them together are fewer than there are workers. Beyond it a request
//! waits here, in the order in which it came, and one whose asker has gone meanwhile is dropped. A process that is to be
//! run beside a workload is refused instead: a person waits for it, and those before it may run for days.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Job, Root, Work, answer};
use crate::limits;
use crate::request::{Answer, Refusal, Request};
use crate::root::shim::poll_readable;

/// A kind of request that may take long, however well this machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Long {
    /// Until the process ends.
    Exec,
    /// A grace.
    Stop,
    /// As long as whoever reads or writes the archive.
    Volume,
    /// A large layer.
    Unpack,
}

/// A request that waits for its turn.
pub(super) struct Turn {
    kind: Long,
    work: Work,
    stream: UnixStream,
    fds: Vec<OwnedFd>,
    job: Job,
}

impl Long {
    pub(super) fn of(request: &Request) -> Option<Self> {
        match request {
            Request::Exec { .. } => Some(Self::Exec),
            Request::Stop { .. } => Some(Self::Stop),
            Request::PackVolume { .. } | Request::FillVolume { .. } => Some(Self::Volume),
            Request::UnpackLayer { .. } => Some(Self::Unpack),
            _ => None,
        }
    }

    fn at_once_max(self) -> usize {
        match self {
            Self::Exec => limits::EXECS_MAX,
            Self::Stop => limits::STOPS_MAX,
            Self::Volume => limits::VOLUMES_MOVED_MAX,
            Self::Unpack => limits::UNPACKINGS_MAX,
        }
    }
}

impl Root {
    /// Has a request worked on, now or when it is its turn.
    pub(super) fn take_turn(
        &mut self,
        work: Work,
        stream: UnixStream,
        fds: Vec<OwnedFd>,
        job: Job,
    ) {
        let kind = match work {
            Work::Request { long, .. } => long,
            _ => None,
        };
        match kind {
            Some(kind) if !self.has_place(kind) || self.waits(kind) => {
                if kind == Long::Exec || self.turns.len() >= limits::TURNS_MAX {
                    return refuse(&stream, kind);
                }
                self.turns.push_back(Turn {
                    kind,
                    work,
                    stream,
                    fds,
                    job,
                });
            }
            _ => self.spawn(work, stream, fds, job),
        }
    }

    /// Begins with those whose turn it is.
    pub(super) fn begin_turns(&mut self) {
        for turn in std::mem::take(&mut self.turns) {
            if !self.has_place(turn.kind) {
                self.turns.push_back(turn);
            } else if !has_gone(&turn.stream) {
                self.spawn(turn.work, turn.stream, turn.fds, turn.job);
            }
        }
    }

    /// Whether others came before, and wait.
    fn waits(&self, kind: Long) -> bool {
        self.turns.iter().any(|turn| turn.kind == kind)
    }

    fn has_place(&self, kind: Long) -> bool {
        let works = self.workers.values();
        let same =
            works.filter(|work| matches!(work, Work::Request { long, .. } if *long == Some(kind)));
        same.count() < kind.at_once_max()
    }
}

/// Those who wait, in order.
pub(super) type Turns = VecDeque<Turn>;

/// Whoever asked says nothing more until it hangs up.
fn has_gone(stream: &UnixStream) -> bool {
    poll_readable([Some(stream.as_fd())], Some(Duration::ZERO)) == [true]
}

fn refuse(stream: &UnixStream, kind: Long) {
    let count = kind.at_once_max();
    let why = match kind {
        Long::Exec => format!("{count} processes run beside workloads already; end one of them"),
        _ => format!("{count} requests of this kind are under way, and too many wait; ask again"),
    };
    let refusal = Refusal::Busy {
        what: "this machine".to_owned(),
        why,
    };
    answer(stream, &Answer::Refused { refusal });
}
