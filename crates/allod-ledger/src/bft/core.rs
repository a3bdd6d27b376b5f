//! The core: events in, actions out.

mod decided;
mod proposals;
mod replay;

use std::collections::{BTreeMap, BTreeSet};

use allod_state::validator::ValidatorSet;
use allod_state::{BlockId, PublicKey};
use bytes::Bytes;
use malachite_consensus::{
    Error as EngineError, Input, LocallyProposedValue, Params, State, process,
};
use malachite_types::{Round, ValuePayload, VoteExtensionPolicy};

use super::context::{Address, Context, Height, Members, Value};
use super::message::{Message, SignedProposal};
use super::record::Record;
use super::shell::{Held, Shell};
use super::sync::CatchUp;
use super::{Action, Alarm, Config, Event, Peer, Signer, Standing, Start, Verdict, Voted};
use crate::limits::{
    EARLY_MESSAGES_MAX, EARLY_MESSAGES_PER_PEER_MAX, EARLY_PROPOSALS_MAX, EMPTY_FROM_ROUND,
    STATUS_EVERY_MS,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The height has not begun: there is nothing to decide yet.
    Idle,
    /// The height is being decided.
    Active,
    /// The height is decided; the caller is committing it.
    Committing,
}

/// Agreement, as a function from events to actions. See the module's text for the rules.
pub struct Core<S> {
    engine: State<Context>,
    shell: Shell<S>,
    validators: ValidatorSet,
    members: Members,
    /// The height to decide.
    height: u64,
    phase: Phase,
    idle_since_ms: u64,
    /// Who has spoken for the height that has not begun.
    spoken: BTreeSet<PublicKey>,
    /// When the height began.
    began_ms: u64,
    wake_at_ms: Option<u64>,
    has_transactions: bool,
    is_quarantined: bool,
    early: Vec<(Peer, Message)>,
    /// Proposals whose blocks are being checked.
    unchecked: BTreeMap<BlockId, Vec<(SignedProposal, Bytes)>>,
    proposals_seen: BTreeMap<u32, BTreeSet<BlockId>>,
    catch_up: CatchUp,
    /// A decided block being checked: its round, proposer and bytes.
    checking_decided: Option<(BlockId, u32, Address, Bytes)>,
    asks: Vec<Action>,
    status_at_ms: u64,
    replay: Option<Vec<Record>>,
    /// A quorum decided what this node finds invalid: it does nothing more but answer peers.
    is_halted: bool,
}

impl<S: Signer> Core<S> {
    /// A core at rest after `start.height`. The first [`Core::step`] replays the log.
    #[must_use]
    pub fn new(config: Config, signer: S, start: Start) -> Self {
        let height = start.height.saturating_add(1);
        let members = Members::of(&start.validators);
        let params = Params {
            address: Address(signer.public_key()),
            threshold_params: Default::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: !start.is_quarantined,
        };
        // The engine's own queue for later heights is not used: later messages wait in `early`.
        let engine = State::new(Context, Height(height), members.clone(), params, 1, 1);
        let mut shell = Shell::new(config, signer, start.guard);
        shell.guard.raise_floor(height);
        Self {
            engine,
            shell,
            validators: start.validators,
            members,
            height,
            phase: Phase::Idle,
            idle_since_ms: 0,
            spoken: BTreeSet::new(),
            began_ms: 0,
            wake_at_ms: start.is_waiting.then_some(0),
            has_transactions: false,
            is_quarantined: start.is_quarantined,
            early: Vec::new(),
            unchecked: BTreeMap::new(),
            proposals_seen: BTreeMap::new(),
            catch_up: CatchUp::default(),
            checking_decided: None,
            asks: Vec::new(),
            status_at_ms: 0,
            replay: Some(start.records),
            is_halted: false,
        }
    }

    /// Takes one event at `now_ms` (a clock that never goes back) and says what to do.
    pub fn step(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.shell.now_ms = self.shell.now_ms.max(now_ms);
        if let Some(records) = self.replay.take() {
            self.idle_since_ms = self.shell.now_ms;
            self.replay(records);
        }
        if self.is_halted {
            if let Event::Message(peer, Message::SyncRequest(from)) = event {
                self.shell.outward.push(Action::Serve(peer, from));
            }
            return self.collect();
        }
        self.take(event);
        if !self.is_halted {
            self.fire_timers();
            self.apply_caught_up();
            if self.wants_height() {
                self.start_height();
            }
            self.ask_for_block();
            self.ask_peers();
        }
        self.collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::TransactionsAvailable => self.has_transactions = true,
            Event::Message(peer, message) => self.on_message(peer, message),
            Event::Built {
                height,
                round,
                block,
                bytes,
            } => {
                self.on_built(height, round, block, bytes);
            }
            Event::Checked {
                block,
                standing: Standing::Decided,
                verdict,
            } => self.on_decided_checked(block, verdict),
            Event::Checked { block, verdict, .. } => self.on_checked(block, verdict),
            Event::Committed {
                validators,
                has_transactions,
                wake_in_ms,
                is_recent,
            } => {
                self.has_transactions = has_transactions;
                self.on_committed(validators, wake_in_ms, is_recent);
            }
        }
    }

    /// When to call [`Core::step`] with [`Event::Tick`] at the latest.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        if self.is_halted {
            return u64::MAX;
        }
        let timers = self.shell.timers.iter().map(|timer| timer.at_ms).min();
        // Only a voter begins a height by itself; to anyone else these times mean nothing.
        let begins = self.phase == Phase::Idle && self.is_voting();
        let idle = begins.then(|| self.tick_at_ms());
        let wake = self.wake_at_ms.filter(|_| begins);
        let is_spoken_for = self.phase == Phase::Idle && !self.spoken.is_empty();
        let spoken = is_spoken_for.then(|| self.one_begins_at_ms());
        [timers, idle, wake, spoken, self.catch_up.deadline_ms()]
            .into_iter()
            .flatten()
            .fold(self.status_at_ms, u64::min)
    }

    /// The height being decided, or to be decided next.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Whether this node's key votes on the current height.
    #[must_use]
    pub fn is_voting(&self) -> bool {
        self.validators.power(&self.key()) > 0 && !self.is_quarantined && !self.is_halted
    }

    /// Who has voted on the height that is being decided; nothing where none is.
    #[must_use]
    pub fn voted(&self) -> Option<Voted> {
        let is_deciding = self.phase == Phase::Active && !self.is_halted;
        is_deciding.then(|| Voted {
            height: self.height,
            since_ms: self.began_ms,
            by: self.shell.voted.clone(),
        })
    }

    /// Whether this node votes and nobody else does.
    #[must_use]
    pub fn is_sole_voter(&self) -> bool {
        self.validators.count() == 1 && self.is_voting()
    }

    /// Whether a quorum decided what this node finds invalid, so that it does nothing more.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.is_halted
    }

    /// Whether nothing is signed because the log may have been lost.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.is_quarantined
    }

    fn key(&self) -> PublicKey {
        self.shell.signer.public_key()
    }

    fn tick_at_ms(&self) -> u64 {
        self.idle_since_ms
            .saturating_add(self.shell.config.timing.tick_ms)
    }

    /// When the word of one validator is enough to begin a height. One that is correct and has what nobody else has says
    /// nothing sooner: it waits for a proposal first. So one that is false makes no more blocks than one in that time.
    fn one_begins_at_ms(&self) -> u64 {
        self.idle_since_ms
            .saturating_add(self.shell.config.timing.propose_ms)
    }

    /// Whether others have begun the height: at least one that is correct, or one alone for a while.
    fn is_begun_elsewhere(&self) -> bool {
        let powers = self.spoken.iter().map(|key| self.validators.power(key));
        let power = powers.fold(0, u64::saturating_add);
        let is_third = power.saturating_mul(3) > self.validators.total_power();
        power > 0 && (is_third || self.shell.now_ms >= self.one_begins_at_ms())
    }

    /// Hands the actions over: first everything for the disk, then what must not precede it.
    fn collect(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let records = std::mem::take(&mut self.shell.appends);
        if !records.is_empty() {
            actions.push(Action::Append(records));
        }
        if self.shell.needs_sync && self.shell.is_dirty {
            actions.push(Action::Sync);
            self.shell.is_dirty = false;
        }
        self.shell.needs_sync = false;
        // Committing takes a while; the others need this node's votes before that.
        let is_commit = |action: &Action| matches!(action, Action::Commit { .. });
        self.shell.outward.sort_by_key(is_commit);
        actions.append(&mut self.shell.outward);
        actions.append(&mut self.asks);
        actions
    }

    fn feed(&mut self, input: Input<Context>) {
        if self.phase == Phase::Committing {
            return;
        }
        let muted = self.shell.muted_at == Some(self.height);
        self.engine.params.enabled = !self.is_quarantined && !muted;
        self.shell.round = self.engine.round();
        let shell = &mut self.shell;
        let result: Result<(), EngineError<Context>> = process!(
            input: input,
            state: &mut self.engine,
            metrics: &(),
            with: effect => shell.handle(effect)
        );
        if let Err(error) = result {
            let is_refusal = self.shell.muted_at == Some(self.height);
            if !is_refusal {
                let reason = error.to_string();
                self.shell.outward.push(Action::Alarm(Alarm::Engine {
                    height: self.height,
                    reason,
                }));
            }
        }
        if self.shell.decided {
            self.phase = Phase::Committing;
        }
    }

    fn wants_height(&self) -> bool {
        let now_ms = self.shell.now_ms;
        let is_due = self.has_transactions
            || now_ms >= self.tick_at_ms()
            || self.wake_at_ms.is_some_and(|at_ms| now_ms >= at_ms);
        self.phase == Phase::Idle && (self.is_voting() && is_due || self.is_begun_elsewhere())
    }

    fn start_height(&mut self) {
        self.phase = Phase::Active;
        self.spoken.clear();
        self.began_ms = self.shell.now_ms;
        self.feed(Input::StartHeight(
            Height(self.height),
            self.members.clone(),
            false,
            None,
            VoteExtensionPolicy::Disabled,
        ));
        for (peer, message) in std::mem::take(&mut self.early) {
            self.on_message(peer, message);
        }
    }

    fn fire_timers(&mut self) {
        while self.phase == Phase::Active {
            let now_ms = self.shell.now_ms;
            let Some(index) = self
                .shell
                .timers
                .iter()
                .position(|timer| timer.at_ms <= now_ms)
            else {
                return;
            };
            let timer = self.shell.timers.remove(index);
            self.feed(Input::TimeoutElapsed(timer.timeout));
        }
    }

    fn on_message(&mut self, peer: Peer, message: Message) {
        if let Some(height) = message.consensus_height() {
            if height < self.height {
                return;
            }
            if height > self.height || self.phase == Phase::Committing {
                self.keep_early(peer, height, message);
                return;
            }
            if self.phase == Phase::Idle {
                let Some(speaker) = self.speaker_of(&message) else {
                    return;
                };
                self.spoken.insert(speaker);
                // Whoever has the first turn begins whenever it likes, but has it at few heights.
                let has_turn = matches!(&message, Message::Proposal(first, _) if first.round == 0);
                if !has_turn && !self.is_begun_elsewhere() {
                    self.keep(peer, message);
                    return;
                }
                self.start_height();
            }
        }
        match message {
            Message::Vote(vote) => self.feed(Input::Vote(vote.to_engine())),
            Message::Proposal(proposal, block) => self.on_proposal(proposal, Bytes::from(block)),
            Message::Polka(polka) => self.feed(Input::PolkaCertificate(polka.to_engine())),
            Message::Round(proof) => self.feed(Input::RoundCertificate(proof.to_engine())),
            Message::Status(height) => self.catch_up.heard(peer, height),
            Message::SyncRequest(from) => self.shell.outward.push(Action::Serve(peer, from)),
            Message::SyncResponse(blocks) => self.catch_up.answered(peer, blocks),
            Message::Transactions(_) => {}
        }
    }

    /// Keeps a message for the next height; for a later one, learns only that the peer is ahead.
    fn keep_early(&mut self, peer: Peer, height: u64, message: Message) {
        self.catch_up.heard(peer, height.saturating_sub(1));
        let is_next = height == self.height.saturating_add(1);
        let is_pending = height == self.height && self.phase == Phase::Committing;
        if !is_next || is_pending {
            return;
        }
        self.keep(peer, message);
    }

    /// Keeps a message until its height begins. A peer has room for one block: whoever has a turn in the first round needs no
    /// more.
    fn keep(&mut self, peer: Peer, message: Message) {
        let of_peer = self.early.iter().filter(|(from, _)| *from == peer).count();
        let is_proposal = |message: &Message| matches!(message, Message::Proposal(..));
        let proposals = self
            .early
            .iter()
            .filter(|(_, message)| is_proposal(message));
        let proposers: BTreeSet<Peer> = proposals.map(|(from, _)| *from).collect();
        let has_no_room = proposers.len() >= EARLY_PROPOSALS_MAX || proposers.contains(&peer);
        let is_full = self.early.len() >= EARLY_MESSAGES_MAX
            || of_peer >= EARLY_MESSAGES_PER_PEER_MAX
            || is_proposal(&message) && has_no_room;
        if !is_full {
            self.early.push((peer, message));
        }
    }

    fn on_built(&mut self, height: u64, round: u32, block: BlockId, bytes: Bytes) {
        if self.phase != Phase::Active || height != self.height {
            return;
        }
        self.shell.values.insert(
            block,
            Held {
                bytes: bytes.clone(),
                is_valid: true,
            },
        );
        let value = Value { id: block, bytes };
        let proposal = LocallyProposedValue::new(Height(height), Round::new(round), value);
        self.feed(Input::Propose(proposal));
    }

    fn on_checked(&mut self, block: BlockId, verdict: Verdict) {
        let Some(mut waiting) = self.unchecked.remove(&block) else {
            return;
        };
        if self.phase != Phase::Active {
            return;
        }
        if verdict == Verdict::Foreign {
            waiting.remove(0);
            if let Some((proposal, bytes)) = waiting.first() {
                let (bytes, standing) = (bytes.clone(), self.standing_of(proposal));
                self.unchecked.insert(block, waiting);
                self.ask_check(block, bytes, standing);
            }
            return;
        }
        let is_valid = verdict == Verdict::Valid;
        let was_refused = self.is_refused(&block);
        if let Some((_, bytes)) = waiting.first() {
            self.shell.values.insert(
                block,
                Held {
                    bytes: bytes.clone(),
                    is_valid,
                },
            );
        }
        for (proposal, _) in waiting {
            if was_refused && is_valid {
                // Before the proposal, which would be voted against as the engine still knows its block.
                self.feed_value(&proposal);
            }
            self.feed_proposal(&proposal);
        }
    }

    fn on_committed(&mut self, validators: ValidatorSet, wake_in_ms: Option<u64>, is_recent: bool) {
        self.height = self.height.saturating_add(1);
        self.members = Members::of(&validators);
        self.validators = validators;
        self.is_quarantined &= !is_recent;
        self.shell.forget_height(self.height);
        self.unchecked.clear();
        self.proposals_seen.clear();
        self.checking_decided = None;
        self.catch_up.advanced();
        self.phase = Phase::Idle;
        self.spoken.clear();
        self.idle_since_ms = self.shell.now_ms;
        self.wake_at_ms = wake_in_ms.map(|wait| self.shell.now_ms.saturating_add(wait));
        self.status_at_ms = self.shell.now_ms;
        for (peer, message) in std::mem::take(&mut self.early) {
            self.on_message(peer, message);
        }
    }

    fn ask_for_block(&mut self) {
        let Some((height, round)) = self.shell.wanted.take() else {
            return;
        };
        let is_current = self.phase == Phase::Active
            && height == self.height
            && round == self.engine.round()
            && self.engine.driver.step_is_propose();
        let Some(round) = round.as_u32().filter(|_| is_current) else {
            return;
        };
        let bytes_max = self
            .shell
            .config
            .block_bytes_max
            .checked_shr(round)
            .unwrap_or(0);
        let is_empty = round >= EMPTY_FROM_ROUND;
        self.asks.push(Action::Build {
            height,
            round,
            bytes_max,
            is_empty,
        });
    }

    fn ask_peers(&mut self) {
        let now_ms = self.shell.now_ms;
        let decided = self.height.saturating_sub(1);
        if now_ms >= self.status_at_ms {
            self.status_at_ms = now_ms.saturating_add(STATUS_EVERY_MS);
            self.shell
                .outward
                .push(Action::Broadcast(Message::Status(decided)));
        }
        if self.phase == Phase::Committing || self.checking_decided.is_some() {
            return;
        }
        if let Some(peer) = self.catch_up.request(now_ms, self.height) {
            self.shell
                .outward
                .push(Action::Send(peer, Message::SyncRequest(self.height)));
        }
    }
}

#[cfg(test)]
mod tests;
