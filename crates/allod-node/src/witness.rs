//! Witnesses: this machine gives signs of life to those that watch it, and says which of those that it watches are gone.
//!
//! Rules:
//! 1. A sign of life a second goes to every witness of a lease that runs here.
//! 2. Silence counts from a machine's last sign, from when its lease was first seen here, and from when this machine was
//!    last without company: fewer validators reached than decide a block. After [`SILENCE_MAX`] it gives the lease up. So one
//!    that is cut off itself says nothing, and nobody is given up for what was not heard meanwhile.
//! 3. What the ledger did not take within [`VOTE_LIFETIME`] it never will, and silence begins anew, for twice as long each
//!    time: a ledger that stood still is not filled with deaths when it moves again.
//! 4. A machine that itself stood still, as in a debugger or for want of memory, begins anew with all of them. The clock is
//!    one that stops while the machine sleeps.
//! 5. Whoever was given up says that it is back once it has had company for a while, and later each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use allod_net::peer::{PeerKey, Peers, Protocol, Received};
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::limits::DEATHS_PER_REPORT_MAX;
use allod_state::{LeaseId, NodeId, State};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::agent::chain as words;
use crate::inner::Inner;
use crate::limits::{
    BACK_AFTER, BACK_PAUSE_MAX, BACK_PAUSE_MIN, BEAT_PERIOD, LATE_MAX, SILENCE_MAX, VOTE_LIFETIME,
    WATCH_PERIOD,
};
use crate::peers::{has_quorum, peer_key};

/// A lease and its epoch.
type Watched = (LeaseId, u64);

/// What a task came to.
enum Done {
    /// These leases were given up, or the ledger did not take it.
    GaveUp(BTreeSet<Watched>, bool),
    /// This machine has said that it is back, or tried to.
    SaidBack,
}

/// Watches and is watched, until the inbox closes.
pub(crate) async fn keep(
    inner: &Arc<Inner>,
    peers: &Peers,
    inbox: Option<mpsc::Receiver<Received>>,
) {
    let Some(mut inbox) = inbox else {
        return;
    };
    let mut watch = Watch::new(Instant::now());
    let mut comeback = Comeback::default();
    let mut tasks = JoinSet::new();
    let mut look = interval(WATCH_PERIOD);
    let mut beat = interval(BEAT_PERIOD);
    for pulse in [&mut look, &mut beat] {
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            received = inbox.recv() => match received {
                Some(received) => watch.hear(received.from, Instant::now()),
                None => return,
            },
            _ = beat.tick() => give_sign(inner, peers),
            Some(Ok(done)) = tasks.join_next() => match done {
                Done::GaveUp(leases, is_taken) => watch.told(&leases, is_taken, Instant::now()),
                Done::SaidBack => comeback.said(Instant::now()),
            },
            _ = look.tick() => {
                let (state, now) = (inner.ledger.state(), Instant::now());
                let gone = watch.look(&watched(&state, &inner.node), has_quorum(inner, &state), now);
                if !gone.is_empty() {
                    tasks.spawn(give_up(Arc::clone(inner), gone));
                }
                let is_given_up = state.node(&inner.node).is_some_and(|node| node.is_unreachable);
                if is_given_up && comeback.is_due(watch.company_since, now) {
                    tasks.spawn(say_back(Arc::clone(inner)));
                }
            }
        }
    }
}

/// Tells those that watch this machine that it lives.
fn give_sign(inner: &Inner, peers: &Peers) {
    let state = inner.ledger.state();
    let held = state.active_leases_on(&inner.node);
    let held = held.iter().filter_map(|id| state.lease(id));
    let watchers = held.flat_map(|lease| lease.watchers().copied().collect::<Vec<_>>());
    for watcher in watchers.collect::<BTreeSet<NodeId>>() {
        if let Some(node) = state.node(&watcher) {
            peers.send(peer_key(&node.key), Protocol::Heartbeats, Bytes::new());
        }
    }
}

/// The leases that this machine watches and has not given up, with their machines.
fn watched(state: &State, own: &NodeId) -> BTreeMap<Watched, PeerKey> {
    let leases = state.active_leases_watched_by(own);
    let leases = leases.filter_map(|id| {
        let lease = state.lease(&id)?;
        let holder = state.node(&lease.node)?.key;
        (!lease.given_up_by.contains(own)).then_some(((id, lease.epoch), peer_key(&holder)))
    });
    leases.collect()
}

async fn give_up(inner: Arc<Inner>, gone: BTreeSet<Watched>) -> Done {
    tracing::warn!(
        leases = gone.len(),
        "their machine has been silent for too long: this machine gives them up"
    );
    let report = ReportDeaths {
        witness: inner.node,
        leases: gone.clone(),
    };
    let submitted = inner
        .signer
        .submit_within(vec![report.into()], VOTE_LIFETIME);
    let taken = submitted.await;
    if let Err(error) = &taken {
        tracing::warn!(error = %words(error), "the ledger does not know that they are gone");
    }
    Done::GaveUp(gone, taken.is_ok())
}

async fn say_back(inner: Arc<Inner>) -> Done {
    let back = ReportBack { node: inner.node };
    match inner
        .signer
        .submit_within(vec![back.into()], VOTE_LIFETIME)
        .await
    {
        Ok(_) => tracing::info!("this machine had been given up, and has said that it is back"),
        Err(error) => {
            tracing::warn!(error = %words(&error), "the ledger does not know that this machine is back");
        }
    }
    Done::SaidBack
}

/// What this machine has heard of those that it watches.
struct Watch {
    heard: BTreeMap<PeerKey, Instant>,
    /// From when the silence of each lease's machine counts at the earliest.
    since: BTreeMap<Watched, Instant>,
    /// Those that were given up just now.
    under_way: BTreeSet<Watched>,
    /// Since when this machine has company.
    company_since: Instant,
    looked: Instant,
    /// How much longer silence has to last, after what the ledger did not take.
    patience: Duration,
}

impl Watch {
    fn new(now: Instant) -> Self {
        Self {
            heard: BTreeMap::new(),
            since: BTreeMap::new(),
            under_way: BTreeSet::new(),
            company_since: now,
            looked: now,
            patience: Duration::ZERO,
        }
    }

    fn hear(&mut self, from: PeerKey, now: Instant) {
        self.heard.insert(from, now);
    }

    /// The leases whose machine has been silent for too long.
    fn look(
        &mut self,
        watched: &BTreeMap<Watched, PeerKey>,
        has_company: bool,
        now: Instant,
    ) -> BTreeSet<Watched> {
        let was_late = now.duration_since(self.looked) > LATE_MAX;
        self.looked = now;
        if was_late || !has_company {
            self.company_since = now;
        }
        self.since.retain(|lease, _| watched.contains_key(lease));
        self.under_way.retain(|lease| watched.contains_key(lease));
        let holders: BTreeSet<&PeerKey> = watched.values().collect();
        self.heard.retain(|peer, _| holders.contains(peer));
        let mut gone = BTreeSet::new();
        for (lease, holder) in watched {
            let since = *self.since.entry(*lease).or_insert(now);
            let heard = self.heard.get(holder).copied().unwrap_or(since);
            let silent = now.duration_since(since.max(heard).max(self.company_since));
            let is_gone = silent >= SILENCE_MAX && !self.under_way.contains(lease);
            if is_gone && gone.len() < DEATHS_PER_REPORT_MAX {
                gone.insert(*lease);
            }
        }
        self.under_way.extend(&gone);
        gone
    }

    /// What became of those that were given up.
    fn told(&mut self, leases: &BTreeSet<Watched>, is_taken: bool, now: Instant) {
        if is_taken {
            self.patience = Duration::ZERO;
            return;
        }
        self.patience = (self.patience * 2).clamp(SILENCE_MAX, SILENCE_MAX * 12);
        for lease in leases {
            self.under_way.remove(lease);
            self.since.insert(*lease, now + self.patience);
        }
    }
}

/// When this machine says that it is back.
#[derive(Default)]
struct Comeback {
    pause: Duration,
    said: Option<Instant>,
    is_under_way: bool,
}

impl Comeback {
    /// Whether it is to be said now; then it is under way.
    fn is_due(&mut self, company_since: Instant, now: Instant) -> bool {
        let has_company = now.duration_since(company_since) >= BACK_AFTER;
        let has_waited = self
            .said
            .is_none_or(|said| now.duration_since(said) >= self.pause);
        let is_due = has_company && has_waited && !self.is_under_way;
        self.is_under_way |= is_due;
        is_due
    }

    fn said(&mut self, now: Instant) {
        let is_long_ago = |said: Instant| now.duration_since(said) >= BACK_PAUSE_MAX * 2;
        self.pause = if self.said.is_none_or(is_long_ago) {
            BACK_PAUSE_MIN
        } else {
            (self.pause * 2).min(BACK_PAUSE_MAX)
        };
        self.said = Some(now);
        self.is_under_way = false;
    }
}

#[cfg(test)]
mod tests;
