//! A seeded network of cores: every delay, loss and crash comes from one number.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::certificate::{Certificate, VoteKind, proposal_bytes, vote_bytes};
use allod_state::codec;
use allod_state::validator::{ReportConflict, Said, ValidatorSet};
use allod_state::{BlockId, NetworkId, NodeId, PublicKey, Signature};
use bytes::Bytes;

use crate::bft::{
    Action, Config, Core, DecidedBlock, Event, Message, Peer, Record, SignGuard, SignedVote,
    Signer, Standing, Start, Timing, Verdict, Voted,
};

const POISON: &[u8] = b"poison";

pub(super) fn is_poisoned(bytes: &[u8]) -> bool {
    bytes.get(40..).is_some_and(|body| body.starts_with(POISON))
}

pub(super) fn validator_key(at: usize) -> PublicKey {
    key(at).public_key()
}

/// What goes wrong.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    lost_percent: u64,
    late_percent: u64,
    crash_per_mille: u64,
}

impl Plan {
    pub(super) const CALM: Self = Self {
        lost_percent: 0,
        late_percent: 0,
        crash_per_mille: 0,
    };
    pub(super) const ROUGH: Self = Self {
        lost_percent: 15,
        late_percent: 20,
        crash_per_mille: 0,
    };
    pub(super) const CRASHING: Self = Self {
        lost_percent: 5,
        late_percent: 15,
        crash_per_mille: 8,
    };
}

/// A bug to plant.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// The disk is never synced.
    SkipSync,
    /// A restart begins with an empty log and no quarantine.
    ForgetLog,
    /// A restart of this node begins with an empty log, under quarantine.
    LoseLogQuarantined(usize),
}

pub(super) struct Key(ed25519_zebra::SigningKey);

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verification_key().into())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature::Ed25519(self.0.sign(message).into())
    }

    fn secret(&self) -> [u8; 32] {
        self.0.into()
    }
}

fn key(at: usize) -> Key {
    let mut seed = [7; 32];
    seed[0] = u8::try_from(at).unwrap();
    Key(ed25519_zebra::SigningKey::from(seed))
}

#[derive(Default)]
struct Disk {
    /// Frames, and how many of them are synced.
    log: Vec<Vec<Record>>,
    synced: usize,
    chain: Vec<(Certificate, Bytes)>,
}

struct Node {
    core: Option<Core<Key>>,
    disk: Disk,
    poison: bool,
    poison_full: bool,
    /// What it puts into each block beside that.
    ballast: usize,
    /// Of how many bytes the blocks were that it was asked to judge.
    judged: Vec<usize>,
    /// Whether every block comes too early for its clock.
    is_behind: bool,
    started_at_ms: u64,
}

struct Flight {
    at_ms: u64,
    order: u64,
    from: usize,
    to: usize,
    message: Message,
}

type SignedKey = (PublicKey, u64, u32, &'static str);

pub(super) struct Network {
    nodes: Vec<Node>,
    validators: ValidatorSet,
    pub(super) timing: Timing,
    flights: Vec<Flight>,
    now_ms: u64,
    random: u64,
    order: u64,
    plan: Plan,
    fault: Option<Fault>,
    twin: bool,
    pub(super) evidence: usize,
    pub(super) highest_round: u32,
    pub(super) limits_asked: BTreeMap<(u64, u32), usize>,
    pub(super) trace: Vec<u64>,
    /// Everything that ever left a machine, by what it signs.
    left: BTreeMap<SignedKey, BTreeSet<Option<BlockId>>>,
}

const NETWORK: NetworkId = NetworkId([9; 32]);

impl Network {
    pub(super) fn new(validators: usize, seed: u64, plan: Plan) -> Self {
        Self::build(validators, 0, seed, plan)
    }

    /// Four validators, the last of which runs twice with one key: the classic false validator.
    pub(super) fn with_twin(seed: u64, plan: Plan) -> Self {
        let mut network = Self::build(4, 0, seed, plan);
        network.twin = true;
        network.nodes.push(Node {
            core: None,
            disk: Disk::default(),
            poison: false,
            poison_full: false,
            ballast: 0,
            judged: Vec::new(),
            is_behind: false,
            started_at_ms: 0,
        });
        network.restart(4);
        network
    }

    fn key_of(&self, at: usize) -> Key {
        key(if self.twin && at == 4 { 3 } else { at })
    }

    pub(super) fn with_follower(validators: usize, seed: u64, plan: Plan) -> Self {
        Self::build(validators, 1, seed, plan)
    }

    fn build(validators: usize, followers: usize, seed: u64, plan: Plan) -> Self {
        let set = ValidatorSet::new((0..validators).map(|at| (key(at).public_key(), 1)));
        let mut network = Self {
            nodes: Vec::new(),
            validators: set,
            timing: Timing::default(),
            flights: Vec::new(),
            now_ms: 1,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            order: 0,
            plan,
            fault: None,
            twin: false,
            evidence: 0,
            highest_round: 0,
            limits_asked: BTreeMap::new(),
            trace: Vec::new(),
            left: BTreeMap::new(),
        };
        for at in 0..validators + followers {
            network.nodes.push(Node {
                core: None,
                disk: Disk::default(),
                poison: false,
                poison_full: false,
                ballast: 0,
                judged: Vec::new(),
                is_behind: false,
                started_at_ms: 0,
            });
            network.restart(at);
        }
        network
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    pub(super) fn plant(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    pub(super) fn poison_proposals_of(&mut self, at: usize) {
        self.nodes[at].poison = true;
    }

    /// From now on nobody's block may be voted for, or everybody's.
    pub(super) fn poison_all(&mut self, poison: bool) {
        self.nodes.iter_mut().for_each(|node| node.poison = poison);
    }

    /// How much there is in each block from now on.
    pub(super) fn load_all(&mut self, ballast: usize) {
        self.nodes
            .iter_mut()
            .for_each(|node| node.ballast = ballast);
    }

    pub(super) fn judged(&self, at: usize) -> &[usize] {
        &self.nodes[at].judged
    }

    /// Block 1 fails until so many rounds are over.
    pub(super) fn fail_rounds(&mut self, rounds: u32) {
        for until in (0..=rounds).step_by(10) {
            self.run_until("a late round", |network| {
                network
                    .limits_asked
                    .keys()
                    .any(|(_, round)| *round >= until)
            });
        }
        assert!(self.heights().iter().all(|height| *height == 0));
    }

    pub(super) fn poison_full_proposals_of(&mut self, at: usize) {
        self.nodes[at].poison_full = true;
    }

    /// The clock of a node is far behind, or right again.
    pub(super) fn set_behind(&mut self, at: usize, is_behind: bool) {
        self.nodes[at].is_behind = is_behind;
    }

    /// Time passes until somebody precommits a block; that precommit and all that is under way is lost. Says who it was.
    pub(super) fn lock_one(&mut self) -> usize {
        loop {
            self.advance();
            let locked = self.left.iter().find_map(|((key, .., step), values)| {
                let is_lock = *step == "precommit" && values.iter().any(Option::is_some);
                is_lock.then_some(*key)
            });
            if let Some(key) = locked {
                self.flights.clear();
                let is_it = |at: &usize| validator_key(*at) == key;
                return (0..self.nodes.len()).find(is_it).unwrap();
            }
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    pub(super) fn heights(&self) -> Vec<u64> {
        self.nodes
            .iter()
            .map(|node| node.disk.chain.len() as u64)
            .collect()
    }

    pub(super) fn voted(&self, at: usize) -> Option<Voted> {
        self.nodes[at].core.as_ref()?.voted()
    }

    pub(super) fn chain_of(&self, at: usize) -> &[(Certificate, Bytes)] {
        &self.nodes[at].disk.chain
    }

    pub(super) fn signatures_of(&self, at: usize) -> Vec<SignedKey> {
        let key = key(at).public_key();
        self.left
            .keys()
            .filter(|signed| signed.0 == key)
            .copied()
            .collect()
    }

    /// Gives a core anything at all.
    pub(super) fn throw(&mut self, at: usize, message: Message) {
        self.step(at, Event::Message(Peer([9; 32]), message));
    }

    /// What a validator would say that finds no block.
    pub(super) fn prevote_of(&self, by: usize, height: u64) -> Message {
        let (key, kind) = (key(by), VoteKind::Prevote);
        let bytes = vote_bytes(&NETWORK, kind, height, 0, None);
        Message::Vote(SignedVote {
            kind,
            height,
            round: 0,
            value: None,
            validator: key.public_key(),
            signature: key.sign(&bytes),
        })
    }

    pub(super) fn offer(&mut self, at: usize) {
        self.step(at, Event::TransactionsAvailable);
    }

    pub(super) fn offer_all(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.offer(at));
    }

    /// The machine stops; what was not synced is lost, from a random frame on.
    pub(super) fn crash(&mut self, at: usize) {
        if self.nodes[at].core.take().is_none() {
            return;
        }
        let unsynced = self.nodes[at].disk.log.len() - self.nodes[at].disk.synced;
        let kept = usize::try_from(self.draw(unsynced as u64 + 1)).unwrap();
        let keep = self.nodes[at].disk.synced + kept;
        self.nodes[at].disk.log.truncate(keep);
        self.nodes[at].disk.synced = keep;
        self.trace.push(1_000_000 + at as u64);
    }

    pub(super) fn restart(&mut self, at: usize) {
        if self.nodes[at].core.is_some() {
            return;
        }
        let forgets = self.fault == Some(Fault::ForgetLog);
        let loses = self.fault == Some(Fault::LoseLogQuarantined(at));
        if forgets || loses {
            self.nodes[at].disk.log.clear();
            self.nodes[at].disk.synced = 0;
        }
        self.redo_decisions(at);
        let config = Config {
            network: NETWORK,
            timing: self.timing,
            block_bytes_max: 1_000_000,
        };
        let start = Start {
            height: self.nodes[at].disk.chain.len() as u64,
            validators: self.validators.clone(),
            guard: SignGuard::default(),
            records: self.nodes[at].disk.log.concat(),
            is_waiting: false,
            is_quarantined: loses,
        };
        self.nodes[at].started_at_ms = self.now_ms;
        self.nodes[at].core = Some(Core::new(config, self.key_of(at), start));
        self.step(at, Event::Tick);
    }

    /// What a driver does first: decisions in the log that the store does not have yet.
    fn redo_decisions(&mut self, at: usize) {
        let disk = &mut self.nodes[at].disk;
        let mut bytes_of = BTreeMap::new();
        for record in disk.log.concat() {
            match record {
                Record::Value { block, bytes, .. } => {
                    bytes_of.insert(block, Bytes::from(bytes));
                }
                Record::Decided(certificate)
                    if certificate.height == disk.chain.len() as u64 + 1 =>
                {
                    let bytes = bytes_of[&certificate.block].clone();
                    disk.chain.push((certificate, bytes));
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, at: usize, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now_ms = self.now_ms;
            let Some(core) = self.nodes[at].core.as_mut() else {
                return;
            };
            let actions = core.step(now_ms, event);
            for action in actions {
                // A crash may fall between any two actions.
                if self.draw(1_000) < self.plan.crash_per_mille {
                    self.crash(at);
                    return;
                }
                events.extend(self.act(at, action));
            }
        }
    }

    fn act(&mut self, at: usize, action: Action) -> Option<Event> {
        match action {
            Action::Append(records) => {
                self.nodes[at].disk.log.push(records);
                None
            }
            Action::Sync => {
                if self.fault != Some(Fault::SkipSync) {
                    self.nodes[at].disk.synced = self.nodes[at].disk.log.len();
                }
                None
            }
            Action::Broadcast(message) => {
                self.note(&message);
                for to in (0..self.nodes.len()).filter(|to| *to != at) {
                    self.fly(at, to, message.clone());
                }
                None
            }
            Action::Send(peer, message) => {
                self.fly(at, usize::from(peer.0[0]), message);
                None
            }
            Action::Serve(peer, from) => {
                let from = usize::try_from(from).unwrap().saturating_sub(1);
                let chain = &self.nodes[at].disk.chain;
                let blocks = chain.iter().skip(from).take(8);
                let blocks = blocks.map(|(certificate, block)| DecidedBlock {
                    certificate: certificate.clone(),
                    block: block.to_vec(),
                });
                let answer = Message::SyncResponse(blocks.collect());
                self.fly(at, usize::from(peer.0[0]), answer);
                None
            }
            Action::Commit {
                certificate, bytes, ..
            } => Some(self.commit(at, certificate, bytes)),
            Action::Build {
                height,
                round,
                bytes_max,
                is_empty,
            } => {
                self.limits_asked.insert((height, round), bytes_max);
                Some(self.build_block(at, height, round, is_empty))
            }
            Action::Check {
                block,
                bytes,
                standing,
                ..
            } => {
                self.nodes[at].judged.push(bytes.len());
                Some(Event::Checked {
                    block,
                    standing,
                    verdict: self.check(at, block, &bytes, standing),
                })
            }
            Action::Evidence(evidence) => {
                assert!(self.twin, "no one is false here: {evidence:?}");
                assert_is_proof(&evidence.report(NodeId([0; 32])));
                self.evidence += 1;
                None
            }
            Action::Alarm(alarm) => panic!("node {at}: {alarm}"),
        }
    }

    fn commit(&mut self, at: usize, certificate: Certificate, bytes: Bytes) -> Event {
        certificate
            .verify_votes(&NETWORK, &self.validators)
            .unwrap();
        assert_eq!(certificate.block, id_of(&bytes));
        let node = &mut self.nodes[at];
        assert_eq!(certificate.height, node.disk.chain.len() as u64 + 1);
        self.trace.push(certificate.height * 100 + at as u64);
        self.highest_round = self.highest_round.max(certificate.round);
        let block_time = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
        node.disk.chain.push((certificate, bytes));
        Event::Committed {
            validators: self.validators.clone(),
            has_transactions: false,
            wake_in_ms: None,
            is_recent: block_time > node.started_at_ms,
        }
    }

    fn build_block(&mut self, at: usize, height: u64, round: u32, is_empty: bool) -> Event {
        let mut bytes = self.parent(at).0.to_vec();
        bytes.extend(self.now_ms.to_le_bytes());
        let node = &self.nodes[at];
        if node.poison || node.poison_full && !is_empty {
            bytes.extend(POISON);
        }
        let ballast = node.ballast;
        bytes.extend(self.draw(u64::MAX).to_le_bytes());
        bytes.resize(bytes.len() + ballast, 0);
        let bytes = Bytes::from(bytes);
        Event::Built {
            height,
            round,
            block: id_of(&bytes),
            bytes,
        }
    }

    fn check(&self, at: usize, block: BlockId, bytes: &Bytes, standing: Standing) -> Verdict {
        if id_of(bytes) != block {
            Verdict::Foreign
        } else if self.nodes[at].is_behind && standing == Standing::Proposed
            || is_poisoned(bytes)
            || bytes[..32] != self.parent(at).0
        {
            Verdict::Invalid
        } else {
            Verdict::Valid
        }
    }

    fn parent(&self, at: usize) -> BlockId {
        let chain = &self.nodes[at].disk.chain;
        chain
            .last()
            .map_or(BlockId([0; 32]), |(certificate, _)| certificate.block)
    }

    fn note(&mut self, message: &Message) {
        let (key, value) = match message {
            Message::Vote(vote) => {
                let step = match vote.kind {
                    allod_state::certificate::VoteKind::Prevote => "prevote",
                    allod_state::certificate::VoteKind::Precommit => "precommit",
                };
                ((vote.validator, vote.height, vote.round, step), vote.value)
            }
            Message::Proposal(proposal, _) => {
                let (height, round) = (proposal.height, proposal.round);
                (
                    (proposal.proposer, height, round, "proposal"),
                    Some(proposal.value),
                )
            }
            _ => return,
        };
        self.left.entry(key).or_default().insert(value);
    }

    fn fly(&mut self, from: usize, to: usize, message: Message) {
        if to >= self.nodes.len() || self.draw(100) < self.plan.lost_percent {
            return;
        }
        let bytes = message.encode();
        let message = Message::decode(&bytes).unwrap();
        let is_late = self.draw(100) < self.plan.late_percent;
        let delay_ms = 1 + self.draw(5) + if is_late { self.draw(3_000) } else { 0 };
        self.order += 1;
        let (at_ms, order) = (self.now_ms + delay_ms, self.order);
        self.flights.push(Flight {
            at_ms,
            order,
            from,
            to,
            message,
        });
    }

    /// Lets the next thing happen: a message arrives or a timer fires.
    fn advance(&mut self) {
        let flight = self.flights.iter().map(|flight| flight.at_ms).min();
        let timers = self.nodes.iter().filter_map(|node| node.core.as_ref());
        let timer = timers.map(Core::deadline_ms).min();
        let at_ms = [flight, timer]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.now_ms + 1_000);
        self.now_ms = self.now_ms.max(at_ms);
        let due = |flight: &Flight| flight.at_ms <= self.now_ms;
        let next = (0..self.flights.len()).filter(|at| due(&self.flights[*at]));
        match next.min_by_key(|at| (self.flights[*at].at_ms, self.flights[*at].order)) {
            Some(index) => {
                let Flight {
                    from, to, message, ..
                } = self.flights.swap_remove(index);
                let mut peer = [0; 32];
                peer[0] = u8::try_from(from).unwrap();
                self.step(to, Event::Message(Peer(peer), message));
            }
            None => {
                let now_ms = self.now_ms;
                for at in 0..self.nodes.len() {
                    let core = self.nodes[at].core.as_ref();
                    if core.is_some_and(|core| core.deadline_ms() <= now_ms) {
                        self.step(at, Event::Tick);
                    }
                }
            }
        }
    }

    pub(super) fn run_for_ms(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            self.advance();
        }
    }

    pub(super) fn run_until(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let end_ms = self.now_ms + 300_000;
        while !is_done(self) {
            self.advance();
            assert!(
                self.now_ms < end_ms,
                "{what} did not come; heights {:?}",
                self.heights()
            );
        }
    }

    /// A rough time: work is offered, machines come back after a while.
    pub(super) fn storm(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.offer_all();
            self.run_for_ms(500);
            for at in 0..self.nodes.len() {
                if self.nodes[at].core.is_none() && self.draw(2) == 0 {
                    self.restart(at);
                }
            }
        }
    }

    /// After the storm everyone is up and connected, and the chain goes on.
    pub(super) fn heal_and_progress(&mut self) {
        self.plan = Plan::CALM;
        (0..self.nodes.len()).for_each(|at| self.restart(at));
        let target = self.heights().into_iter().max().unwrap() + 2;
        let end_ms = self.now_ms + 120_000;
        while self.heights().iter().any(|height| *height < target) {
            self.offer_all();
            self.run_for_ms(100);
            assert!(
                self.now_ms < end_ms,
                "no progress after healing: {:?}",
                self.heights()
            );
        }
    }

    pub(super) fn assert_agreement(&self) {
        let mut by_height: BTreeMap<u64, BlockId> = BTreeMap::new();
        for node in &self.nodes {
            for (certificate, _) in &node.disk.chain {
                let block = *by_height
                    .entry(certificate.height)
                    .or_insert(certificate.block);
                assert_eq!(
                    block, certificate.block,
                    "two blocks at height {}",
                    certificate.height
                );
            }
        }
    }

    pub(super) fn assert_single_signatures(&self) {
        for (signed, values) in &self.left {
            assert_eq!(values.len(), 1, "signed twice: {signed:?} {values:?}");
        }
    }
}

fn id_of(bytes: &[u8]) -> BlockId {
    BlockId(codec::hash_parts("test block", &[bytes]))
}

/// That the law finds both signed.
fn assert_is_proof(report: &ReportConflict) {
    let (height, round) = (report.height, report.round);
    for (said, signature) in [&report.one, &report.other] {
        let bytes = match said {
            Said::Vote(kind, block) => vote_bytes(&NETWORK, *kind, height, round, block.as_ref()),
            Said::Proposal(polka, block) => proposal_bytes(&NETWORK, height, round, *polka, block),
        };
        report.validator.verify(&bytes, signature).unwrap();
    }
    assert_ne!(report.one.0, report.other.0);
}
