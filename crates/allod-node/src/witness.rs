//! Witnesses: this machine gives signs of life to those that watch it, acknowledges those of machines that it watches, and
//! says which of them are gone.
//!
//! Rules:
//! 1. A sign of life a second goes to those that watch this machine, and to every witness of a lease that runs here. It names the exclusive ones, whose right to
//!    run follows from who acknowledges it ([`allod_state::lease::right`]); what is known of that right goes to the runtime,
//!    which enforces it without this process.
//! 2. What is silent for too long is given up ([`allod_state::lease::right::Watch`] has the rules). An exclusive lease is
//!    promised never to be acknowledged again, on disk, before that is said. A witness that cannot read its promises
//!    acknowledges nothing, and gives up nothing that is exclusive.
//!    A machine that holds nothing is given up as well, after a longer silence ([`Roll`]): who watches it may have changed,
//!    and both have to hear of that first.
//! 3. Whoever was given up says that it is back once it has had company for a while, and later each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use allod_net::peer::{PeerKey, Peers, Protocol, Received};
use allod_runtime::boot_ms;
use allod_state::lease::Lease;
use allod_state::lease::right::{Holder, Named, Rights, Watch, Watched, Word};
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::limits::{BEAT_LEASES_MAX, RIGHT_RUNS_MS};
use allod_state::node::{Life, ReportGone, Roll};
use allod_state::{Action, NodeId, PublicKey, State};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::agent::{chain as words, workload_of};
use crate::inner::Inner;
use crate::limits::{
    BACK_AFTER_MS, BACK_PAUSE_MAX_MS, BACK_PAUSE_MIN_MS, BEAT_PERIOD, VOTE_LIFETIME, WATCH_PERIOD,
};
use crate::node::parts::outcome_of;
use crate::peers::{has_quorum, peer_key};
use crate::time::steady_ms;
use promises::Promises;
use renewal::{Renewal, Until};

mod promises;
mod renewal;

/// What a task came to.
enum Done {
    /// These leases were given up, or the ledger did not take it.
    GaveUp(BTreeSet<Watched>, bool),
    /// The same of machines, whatever they hold.
    Missed(BTreeSet<Life>, bool),
    /// This machine has said that it is back, or tried to.
    SaidBack,
    /// The runtime knows until when what is exclusive may run; nothing where it does not answer.
    Renewed(Option<Until>),
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
    let mut vigil = Vigil::begin(inner, peers);
    let mut look = interval(WATCH_PERIOD);
    let mut beat = interval(BEAT_PERIOD);
    for pulse in [&mut look, &mut beat] {
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            received = inbox.recv() => match received {
                Some(received) => vigil.hear(&received),
                None => return,
            },
            _ = beat.tick() => vigil.give_sign(),
            Some(ended) = vigil.tasks.join_next() => {
                if let Some(done) = outcome_of(ended) {
                    vigil.done(done);
                }
            }
            _ = look.tick() => vigil.look(),
        }
    }
}

/// All that this machine knows of whom it watches, and of who watches it.
struct Vigil<'a> {
    inner: &'a Arc<Inner>,
    peers: &'a Peers,
    watch: Watch,
    roll: Roll,
    /// Nothing where they cannot be read.
    promises: Option<Arc<Mutex<Promises>>>,
    rights: Rights,
    comeback: Comeback,
    /// What the ledger said at the last look.
    circle: Circle,
    tasks: JoinSet<Done>,
    renewal: Renewal,
    /// Frames that were no words of theirs.
    dropped: u64,
}

/// What the ledger says of machines and leases that this machine watches, and of exclusive ones that it holds.
#[derive(Default)]
struct Circle {
    machines: BTreeSet<Life>,
    watched: BTreeMap<Watched, Holder>,
    held: BTreeMap<Watched, Lease>,
    /// Whoever has something to say to this machine.
    known: BTreeMap<PeerKey, NodeId>,
}

impl<'a> Vigil<'a> {
    fn begin(inner: &'a Arc<Inner>, peers: &'a Peers) -> Self {
        let promises = Promises::read(&inner.dir).inspect_err(|error| {
            tracing::error!(%error, "what this machine promised as a witness cannot be read: it acknowledges nothing. \
                Once it has been silent for a minute, remove the file `promises` and start it again");
        });
        let promises = promises.ok();
        let promised = promises.as_ref().map(|it| it.all().clone());
        let mut life = [0; 8];
        // Without randomness, the time tells lives apart as well.
        if getrandom::fill(&mut life).is_err() {
            life = boot_ms().to_le_bytes();
        }
        Self {
            inner,
            peers,
            watch: Watch::new(promised.unwrap_or_default(), steady_ms()),
            roll: Roll::default(),
            promises: promises.map(|it| Arc::new(Mutex::new(it))),
            rights: Rights::new(u64::from_le_bytes(life)),
            comeback: Comeback::default(),
            circle: Circle::default(),
            tasks: JoinSet::new(),
            renewal: Renewal::default(),
            dropped: 0,
        }
    }

    /// Takes in what another machine says.
    fn hear(&mut self, received: &Received) {
        let Some(from) = self.circle.known.get(&received.from).copied() else {
            return;
        };
        let key = PublicKey::Ed25519(received.from.0);
        let network = self.inner.ledger.state().network();
        match Word::open(&received.bytes, &network, &self.inner.node, &key) {
            Ok(Word::Beat(said)) => self.answer(received.from, from, said),
            Ok(Word::Acknowledged(said)) => {
                let held = self.circle.held.keys().copied().collect();
                self.rights.hear(from, &said, &held);
                self.renew();
            }
            Err(error) => {
                self.dropped = self.dropped.saturating_add(1);
                if self.dropped.is_power_of_two() {
                    tracing::warn!(%error, node = %from, dropped = self.dropped, "no sign of life, though it came as one");
                }
            }
        }
    }

    fn answer(&mut self, peer: PeerKey, from: NodeId, said: Named) {
        let now_ms = steady_ms();
        self.roll.hear(from, now_ms);
        let named = self.promises.as_ref().map(|_| &said.leases);
        let (nothing, watched) = (BTreeSet::new(), &self.circle.watched);
        let named = named.unwrap_or(&nothing);
        let leases = self.watch.hear(from, named, watched, now_ms);
        if !leases.is_empty() {
            let said = Named { leases, ..said };
            self.say(Word::Acknowledged(said), &from, peer);
        }
    }

    fn say(&self, word: Word, to: &NodeId, peer: PeerKey) {
        let network = self.inner.ledger.state().network();
        let identity = &self.inner.identity;
        let bytes = word.seal(&network, to, |bytes| identity.sign(bytes));
        self.peers
            .send(peer, Protocol::Heartbeats, Bytes::from(bytes));
    }

    /// Tells those that watch this machine that it lives, and what it holds.
    fn give_sign(&mut self) {
        let state = self.inner.ledger.state();
        let held = state.active_leases_on(&self.inner.node);
        let held: Vec<_> = held
            .into_iter()
            .filter_map(|id| Some((id, state.lease(&id)?)))
            .collect();
        let watchers = state.watchers_of(&self.inner.node).into_iter();
        let mut signs: BTreeMap<NodeId, BTreeSet<Watched>> =
            watchers.map(|watcher| (watcher, BTreeSet::new())).collect();
        for (id, lease) in &held {
            for watcher in lease.watchers() {
                let named = signs.entry(*watcher).or_default();
                if lease.is_exclusive && named.len() < BEAT_LEASES_MAX {
                    named.insert((*id, lease.epoch));
                }
            }
        }
        // Before any of them is sent: the right counts from here.
        self.rights.begin(boot_ms());
        for (watcher, leases) in signs {
            if let Some(node) = state.node(&watcher) {
                let word = Word::Beat(self.rights.beat(leases));
                self.say(word, &watcher, peer_key(&node.key));
            }
        }
    }

    fn look(&mut self) {
        let state = self.inner.ledger.state();
        self.circle = Circle::of(&state, &self.inner.node);
        let held = self.circle.held.keys().copied().collect();
        self.rights.keep(&held);
        self.renew();
        let has_company = has_quorum(self.inner, &state);
        let mut gone = self
            .watch
            .look(&self.circle.watched, has_company, steady_ms());
        let is_exclusive = |lease: &Watched| {
            let holder = self.circle.watched.get(lease);
            holder.is_some_and(|holder| holder.is_exclusive)
        };
        let exclusive: BTreeSet<Watched> = gone.iter().copied().filter(is_exclusive).collect();
        if self.promises.is_none() {
            gone.retain(|lease| !exclusive.contains(lease));
        }
        if !gone.is_empty() {
            let promises = self.promises.clone();
            let task = give_up(Arc::clone(self.inner), gone, exclusive, promises);
            self.tasks.spawn(task);
        }
        let since_ms = self.watch.company_since_ms();
        let missed = self.roll.look(&self.circle.machines, since_ms, steady_ms());
        if !missed.is_empty() {
            self.tasks.spawn(miss(Arc::clone(self.inner), missed));
        }
        self.watch.forget(|(id, _)| has_ended(&state, id));
        let is_given_up = state
            .node(&self.inner.node)
            .is_some_and(|node| node.is_unreachable);
        if is_given_up && self.comeback.is_due(since_ms, steady_ms()) {
            self.tasks.spawn(say_back(Arc::clone(self.inner)));
        }
    }

    /// Says until when what is exclusive may run here: to the runtime, and to the agent what the runtime was told.
    fn renew(&mut self) {
        let now_ms = boot_ms();
        let mut next = None;
        self.inner.until.send_if_modified(|told| {
            let until = may_run(&self.circle.held, &self.rights, told, now_ms);
            let is_over = renewal::forget(told, &until, now_ms);
            next = self.renewal.next(told, until);
            is_over
        });
        let Some(until) = next else {
            return;
        };
        let runtime = self.inner.runtime.clone();
        self.tasks.spawn(async move {
            let said = until.clone();
            let renewed = spawn_blocking(move || runtime.renew(said.into_iter().collect())).await;
            if let Ok(Err(error)) = &renewed {
                tracing::warn!(error = %words(error), "the runtime does not know that exclusive replicas may run on");
            }
            Done::Renewed(matches!(renewed, Ok(Ok(()))).then_some(until))
        });
    }

    fn renewed(&mut self, taken: Option<Until>) {
        let has_answered = taken.is_some();
        let until = &self.inner.until;
        until.send_if_modified(|told| self.renewal.ended(told, taken));
        // Where it did not answer, the next look tries again.
        if has_answered {
            self.renew();
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::GaveUp(leases, is_taken) => self.watch.told(&leases, is_taken, steady_ms()),
            Done::Missed(lives, is_taken) => self.roll.told(&lives, is_taken, steady_ms()),
            Done::SaidBack => self.comeback.said(steady_ms()),
            Done::Renewed(said) => self.renewed(said),
        }
    }
}

impl Circle {
    fn of(state: &State, own: &NodeId) -> Self {
        let mut circle = Self::default();
        let mut know = |node: &NodeId| {
            if let Some(row) = state.node(node) {
                circle.known.insert(peer_key(&row.key), *node);
            }
        };
        let machines = state.machines_watched_by(own);
        machines.iter().for_each(|(id, _)| know(id));
        for id in state.active_leases_watched_by(own) {
            if let Some(lease) = state.lease(&id) {
                know(&lease.node);
                if !lease.given_up_by.contains(own) {
                    let (node, is_exclusive) = (lease.node, lease.is_exclusive);
                    let holder = Holder { node, is_exclusive };
                    circle.watched.insert((id, lease.epoch), holder);
                }
            }
        }
        for id in state.active_leases_on(own) {
            if let Some(lease) = state.lease(&id).filter(|lease| lease.is_exclusive) {
                lease.watchers().for_each(&mut know);
                circle.held.insert((id, lease.epoch), lease);
            }
        }
        circle.machines = machines;
        circle
    }
}

/// Until when what is held may run, as far as that is to come: as it is confirmed now, or was before. What an earlier node
/// of this machine was confirmed counts until it is over.
fn may_run(held: &BTreeMap<Watched, Lease>, rights: &Rights, before: &Until, now_ms: u64) -> Until {
    let until = held.iter().map(|(lease, row)| {
        let id = workload_of(&lease.0, row);
        let confirmed_ms = rights.confirmed_ms(lease, &row.witnesses);
        let until_ms = confirmed_ms.map(|confirmed_ms| confirmed_ms + RIGHT_RUNS_MS);
        let later_ms = until_ms.max(before.get(&id).copied());
        (id, later_ms.unwrap_or_default())
    });
    until.filter(|(_, ms)| *ms > now_ms).collect()
}

fn has_ended(state: &State, id: &allod_state::LeaseId) -> bool {
    state.lease(id).is_some_and(|lease| !lease.is_active())
}

/// Promises first, where something is exclusive; what cannot be promised is not given up.
async fn give_up(
    inner: Arc<Inner>,
    gone: BTreeSet<Watched>,
    exclusive: BTreeSet<Watched>,
    promises: Option<Arc<Mutex<Promises>>>,
) -> Done {
    tracing::warn!(
        leases = gone.len(),
        "their machine has been silent for too long: this machine gives them up"
    );
    let mut leases = gone.clone();
    if let Some(promises) = promises.filter(|_| !exclusive.is_empty()) {
        let (state, more) = (inner.ledger.state(), exclusive.clone());
        let made = spawn_blocking(move || {
            let mut promises = promises.lock().unwrap_or_else(PoisonError::into_inner);
            promises.make(more, |(id, _)| has_ended(&state, id))
        });
        if let Some(error) = made.await.map_or(None, Result::err) {
            tracing::error!(%error, "a witness's promise cannot be written down: what is exclusive is not given up");
            leases.retain(|lease| !exclusive.contains(lease));
        }
    }
    if leases.is_empty() {
        return Done::GaveUp(gone, false);
    }
    let report = ReportDeaths {
        witness: inner.node,
        leases,
    };
    let is_taken = report_gone(&inner, report.into()).await;
    Done::GaveUp(gone, is_taken)
}

async fn miss(inner: Arc<Inner>, lives: BTreeSet<Life>) -> Done {
    tracing::warn!(
        machines = lives.len(),
        "they have been silent for too long: this machine says that they are gone"
    );
    let report = ReportGone {
        witness: inner.node,
        machines: lives.clone(),
    };
    let is_taken = report_gone(&inner, report.into()).await;
    Done::Missed(lives, is_taken)
}

/// Tells the ledger that somebody is gone, and says whether it took that.
async fn report_gone(inner: &Inner, report: Action) -> bool {
    let submitted = inner.signer.submit_first(vec![report], VOTE_LIFETIME);
    let taken = submitted.await;
    if let Err(error) = &taken {
        tracing::warn!(error = %words(error), "the ledger does not know that they are gone");
    }
    taken.is_ok()
}

async fn say_back(inner: Arc<Inner>) -> Done {
    let back = ReportBack { node: inner.node };
    match inner
        .signer
        .submit_first(vec![back.into()], VOTE_LIFETIME)
        .await
    {
        Ok(_) => tracing::info!("this machine had been given up, and has said that it is back"),
        Err(error) => {
            tracing::warn!(error = %words(&error), "the ledger does not know that this machine is back");
        }
    }
    Done::SaidBack
}

/// When this machine says that it is back.
#[derive(Default)]
struct Comeback {
    pause_ms: u64,
    said_ms: Option<u64>,
    is_under_way: bool,
}

impl Comeback {
    /// Whether it is to be said now; then it is under way.
    fn is_due(&mut self, company_since_ms: u64, now_ms: u64) -> bool {
        let has_company = now_ms.saturating_sub(company_since_ms) >= BACK_AFTER_MS;
        let has_waited = self
            .said_ms
            .is_none_or(|said_ms| now_ms.saturating_sub(said_ms) >= self.pause_ms);
        let is_due = has_company && has_waited && !self.is_under_way;
        self.is_under_way |= is_due;
        is_due
    }

    fn said(&mut self, now_ms: u64) {
        let is_long_ago = |said_ms: u64| now_ms.saturating_sub(said_ms) >= BACK_PAUSE_MAX_MS * 2;
        self.pause_ms = if self.said_ms.is_none_or(is_long_ago) {
            BACK_PAUSE_MIN_MS
        } else {
            (self.pause_ms * 2).min(BACK_PAUSE_MAX_MS)
        };
        self.said_ms = Some(now_ms);
        self.is_under_way = false;
    }
}

#[cfg(test)]
mod tests;
