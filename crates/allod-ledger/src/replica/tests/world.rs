//! A seeded network of whole replicas on disks that do their worst.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use allod_state::certificate::VoteKind;
use allod_state::credit::Transfer;
use allod_state::genesis::{Founder, Genesis};
use allod_state::transaction::{Body, PROTOCOL_VERSION, Verified};
use allod_state::validator::ReportLoss;
use allod_state::{
    AccountId, Action, BlockId, Credits, NodeId, PublicKey, Root, Signature, Transaction,
    TransactionId,
};

use crate::bft::{Message, Peer, Signer, Timing};
use crate::disk::MemoryDisk;
use crate::replica::{Clock, Input, Output, Replica, Settings, To};

pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// So few that a storm meets checkpoints.
pub(crate) const CHECKPOINT_BLOCKS: u64 = 64;

#[derive(Clone)]
pub(crate) struct Key(ed25519_zebra::SigningKey);

impl Key {
    pub(crate) fn new(kind: u8, at: usize) -> Self {
        let mut seed = [kind; 32];
        seed[0] = u8::try_from(at).unwrap();
        Self(ed25519_zebra::SigningKey::from(seed))
    }
}

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

pub(crate) fn validator(at: usize) -> Key {
    Key::new(1, at)
}

pub(crate) fn owner(at: usize) -> Key {
    Key::new(2, at)
}

pub(crate) fn account(key: &Key) -> AccountId {
    AccountId::of_first_key(&key.public_key())
}

pub(crate) fn genesis(validators: usize, fee: i128) -> Genesis {
    let founder = Founder {
        balance: Credits::from_micro(1_000_000_000),
        line: Credits::ZERO,
    };
    Genesis {
        version: PROTOCOL_VERSION,
        time_ms: START_MS,
        salt: [3; 32],
        founders: (0..8).map(|at| (owner(at).public_key(), founder)).collect(),
        validators: (0..validators)
            .map(|at| (validator(at).public_key(), 1))
            .collect(),
        fee_per_work: Credits::from_micro(fee),
    }
}

pub(crate) fn settings(genesis: Genesis) -> Settings {
    Settings {
        genesis,
        timing: Timing::default(),
        block_bytes_max: 1_000_000,
        retention_ms: 1_000_000_000,
        is_new_key: true,
        challenge: [0; 32],
        wal_prepared_bytes: 0,
        checkpoint_blocks: CHECKPOINT_BLOCKS,
        space_low_bytes: 0,
    }
}

pub(crate) fn transfer(genesis: &Genesis, from: usize, nonce: u64, amount: i128) -> Transaction {
    let key = owner(from);
    let send = Transfer {
        to: account(&owner(from + 1)),
        amount: Credits::from_micro(amount),
        memo: String::new(),
    };
    signed(genesis, &key, account(&key), nonce, send)
}

/// What a key signs for an account, be it one of its keys or not.
pub(crate) fn signed(
    genesis: &Genesis,
    key: &Key,
    account: AccountId,
    nonce: u64,
    action: impl Into<Action>,
) -> Transaction {
    let body = Body {
        version: PROTOCOL_VERSION,
        network: genesis.network(),
        account,
        key: key.public_key(),
        nonce,
        expires_ms: START_MS + 3_000_000,
        work_limit: 1_000,
        actions: vec![action.into()],
    };
    let signature = key.sign(&body.sign_bytes());
    Transaction { body, signature }
}

struct Node {
    disk: MemoryDisk,
    replica: Option<Replica<Key>>,
}

struct Flight {
    at_ms: u64,
    order: u64,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

type SignedKey = (PublicKey, u64, u32, &'static str);

pub(crate) struct World {
    pub(crate) genesis: Genesis,
    nodes: Vec<Node>,
    flights: Vec<Flight>,
    pub(crate) now_ms: u64,
    random: u64,
    order: u64,
    pub(crate) lost_percent: u64,
    nonces: [u64; 8],
    pub(crate) loses_log: bool,
    /// How far a machine's wall clock is off.
    pub(crate) skew_ms: BTreeMap<usize, i64>,
    left: BTreeMap<SignedKey, BTreeSet<Option<BlockId>>>,
    /// Everything any replica ever told it had committed.
    pub(crate) acknowledged: BTreeMap<u64, (BlockId, Root, Vec<TransactionId>)>,
    /// The highest block that each replica itself told it had committed.
    told: BTreeMap<usize, u64>,
    pub(crate) crashes: u64,
    pub(crate) steps: u64,
    pub(crate) evidence: u64,
}

impl World {
    pub(crate) fn new(validators: usize, seed: u64) -> Self {
        let mut world = Self {
            genesis: genesis(validators, 0),
            nodes: Vec::new(),
            flights: Vec::new(),
            now_ms: 1,
            random: seed.wrapping_add(77).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            order: 0,
            lost_percent: 0,
            nonces: [0; 8],
            loses_log: false,
            skew_ms: BTreeMap::new(),
            left: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            told: BTreeMap::new(),
            crashes: 0,
            steps: 0,
            evidence: 0,
        };
        for at in 0..validators {
            world.nodes.push(Node {
                disk: MemoryDisk::default(),
                replica: None,
            });
            world.start(at);
        }
        world
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    pub(crate) fn disk(&self, at: usize) -> &MemoryDisk {
        &self.nodes[at].disk
    }

    pub(crate) fn replica(&self, at: usize) -> &Replica<Key> {
        self.nodes[at].replica.as_ref().unwrap()
    }

    fn clock(&self, at: usize) -> Clock {
        let skew_ms = self.skew_ms.get(&at).copied().unwrap_or(0);
        Clock {
            steady_ms: self.now_ms,
            wall_ms: (START_MS + self.now_ms).saturating_add_signed(skew_ms),
        }
    }

    /// Opens the replica; a machine that dies while starting is started again.
    pub(crate) fn start(&mut self, at: usize) {
        while self.nodes[at].replica.is_none() {
            let settings = settings(self.genesis.clone());
            let disk = Arc::new(self.nodes[at].disk.clone());
            match Replica::open(disk, validator(at), settings, self.clock(at)) {
                Ok(replica) => self.nodes[at].replica = Some(replica),
                Err(error) => self.crash_with(at, &error.to_string()),
            }
        }
        self.step(at, Input::Tick);
    }

    pub(crate) fn crash(&mut self, at: usize) {
        self.crash_with(at, "the machine has died");
    }

    fn crash_with(&mut self, at: usize, reason: &str) {
        assert!(
            reason.contains("the machine has died"),
            "node {at}: {reason}"
        );
        self.nodes[at].replica = None;
        self.crashes += 1;
        let disk = self.nodes[at].disk.clone();
        disk.crash(|below| self.draw(below));
        if self.loses_log {
            for name in crate::disk::Disk::list(&disk).unwrap() {
                if name.starts_with("wal-") || name == "sign-state" {
                    crate::disk::Disk::remove(&disk, &name).unwrap();
                }
            }
        }
    }

    pub(crate) fn step(&mut self, at: usize, input: Input) {
        self.steps += 1;
        let clock = self.clock(at);
        let Some(replica) = self.nodes[at].replica.as_mut() else {
            return;
        };
        let mut output = Output::default();
        let result = replica.step(clock, input, &mut output);
        self.take(at, output, result);
    }

    /// Offers one transfer of some owner to every replica, as gossip would.
    pub(crate) fn offer(&mut self) -> TransactionId {
        let from = usize::try_from(self.draw(4)).unwrap();
        let transaction = transfer(&self.genesis, from, self.nonces[from], 1);
        self.nonces[from] += 1;
        let verified = transaction.verify().unwrap();
        let id = verified.id();
        self.offer_to_all(&verified);
        id
    }

    /// Somebody brings a challenge into a block.
    pub(crate) fn report_loss(&mut self, challenge: [u8; 32]) {
        let key = owner(5);
        let node = NodeId([9; 32]);
        let loss = ReportLoss { node, challenge };
        let nonce = self.nonces[5];
        self.nonces[5] += 1;
        let signed = signed(&self.genesis, &key, account(&key), nonce, loss);
        self.offer_to_all(&signed.verify().unwrap());
    }

    pub(crate) fn offer_to_all(&mut self, verified: &Verified) {
        for at in 0..self.nodes.len() {
            let clock = self.clock(at);
            let Some(replica) = self.nodes[at].replica.as_mut() else {
                continue;
            };
            let mut output = Output::default();
            let input = Input::Offer(vec![verified.clone()]);
            // A replica that restarted has forgotten what waited, so nonces may be missing there.
            let result = replica.step(clock, input, &mut output);
            output.offers.clear();
            self.take(at, output, result);
        }
    }

    fn take(
        &mut self,
        at: usize,
        output: Output,
        result: Result<(), crate::replica::ReplicaError>,
    ) {
        for (to, message) in output.messages {
            self.note(&message);
            match to {
                To::One(peer) => self.fly(at, usize::from(peer.0[0]), &message),
                To::All => {
                    for to in (0..self.nodes.len()).filter(|to| *to != at) {
                        self.fly(at, to, &message);
                    }
                }
            }
        }
        for commit in output.commits {
            let entry = (
                commit.certificate.block,
                commit.header.root,
                commit.ids.clone(),
            );
            let height = commit.header.height;
            let known = self
                .acknowledged
                .entry(height)
                .or_insert_with(|| entry.clone());
            assert_eq!(*known, entry, "replicas disagree at height {height}");
            assert_eq!(commit.state.root(), commit.header.root);
            self.told.insert(at, height);
        }
        for answer in output.offers {
            answer.unwrap();
        }
        assert!(output.alarms.is_empty(), "{:?}", output.alarms);
        self.evidence += u64::try_from(output.evidence.len()).unwrap();
        if let Err(error) = result {
            self.crash_with(at, &error.to_string());
        }
    }

    fn note(&mut self, message: &Message) {
        let (key, value) = match message {
            Message::Vote(vote) => {
                let step = match vote.kind {
                    VoteKind::Prevote => "prevote",
                    VoteKind::Precommit => "precommit",
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

    fn fly(&mut self, from: usize, to: usize, message: &Message) {
        if self.draw(100) < self.lost_percent {
            return;
        }
        let delay_ms = 1 + self.draw(8);
        self.order += 1;
        let (at_ms, order) = (self.now_ms + delay_ms, self.order);
        self.flights.push(Flight {
            at_ms,
            order,
            from,
            to,
            bytes: message.encode(),
        });
    }

    fn advance(&mut self) {
        let flight = self.flights.iter().map(|flight| flight.at_ms).min();
        let replicas = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let timer = replicas.map(Replica::deadline_ms).min();
        let at_ms = [flight, timer]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.now_ms + 1_000);
        self.now_ms = self.now_ms.max(at_ms);
        let now_ms = self.now_ms;
        let due = (0..self.flights.len()).filter(|at| self.flights[*at].at_ms <= now_ms);
        match due.min_by_key(|at| (self.flights[*at].at_ms, self.flights[*at].order)) {
            Some(index) => {
                let Flight {
                    from, to, bytes, ..
                } = self.flights.swap_remove(index);
                let mut peer = [0; 32];
                peer[0] = u8::try_from(from).unwrap();
                let message = Message::decode(&bytes).unwrap();
                self.step(to, Input::Message(Peer(peer), message));
            }
            None => {
                for at in 0..self.nodes.len() {
                    let replica = self.nodes[at].replica.as_ref();
                    if replica.is_some_and(|replica| replica.deadline_ms() <= now_ms) {
                        self.step(at, Input::Tick);
                    }
                }
            }
        }
    }

    pub(crate) fn run_for_ms(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            self.advance();
        }
    }

    pub(crate) fn heights(&self) -> Vec<u64> {
        let height = |node: &Node| {
            node.replica
                .as_ref()
                .map_or(0, |replica| replica.state().tip().height)
        };
        self.nodes.iter().map(height).collect()
    }

    /// Work and crashes: in each round one disk is told to die soon.
    pub(crate) fn storm(&mut self, rounds: u64) {
        for _ in 0..rounds {
            self.offer();
            let victim = usize::try_from(self.draw(self.nodes.len() as u64)).unwrap();
            if self.draw(3) == 0 {
                let changes = self.draw(40);
                self.nodes[victim].disk.die_after(changes);
            }
            self.run_for_ms(300);
            for at in 0..self.nodes.len() {
                self.start(at);
            }
        }
    }

    /// All up and connected; waits until two more blocks have come everywhere.
    pub(crate) fn heal(&mut self) {
        self.lost_percent = 0;
        self.nodes
            .iter()
            .for_each(|node| node.disk.die_after(u64::MAX));
        (0..self.nodes.len()).for_each(|at| self.start(at));
        let target = self.heights().into_iter().max().unwrap() + 2;
        let end_ms = self.now_ms + 300_000;
        while self.heights().iter().any(|height| *height < target) {
            self.run_for_ms(100);
            assert!(
                self.now_ms < end_ms,
                "no progress after healing: {:?}",
                self.heights()
            );
        }
    }

    /// What a replica ever told as committed is in its store, as it was told; and every replica has
    /// what the others have, up to its own tip.
    pub(crate) fn assert_nothing_lost(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let store = node.replica.as_ref().unwrap().store();
            let tip = node.replica.as_ref().unwrap().state().tip().height;
            let told = self.told.get(&at).copied().unwrap_or(0);
            for (height, (block, _, ids)) in self.acknowledged.range(..=tip.max(told)) {
                let stored = store.block(*height).unwrap();
                let stored = stored.unwrap_or_else(|| panic!("node {at} lost height {height}"));
                assert_eq!(
                    stored.certificate.block, *block,
                    "node {at}, height {height}"
                );
                for id in ids {
                    let (found, _, receipt) = store.receipt(id).unwrap().unwrap();
                    assert_eq!((found, receipt.transaction), (*height, *id));
                }
            }
        }
    }

    pub(crate) fn assert_signed_once(&self) {
        for (signed, values) in &self.left {
            assert_eq!(values.len(), 1, "signed twice: {signed:?} {values:?}");
        }
    }
}
