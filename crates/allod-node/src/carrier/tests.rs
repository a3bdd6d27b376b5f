//! Four real ledgers, on real folders, that know each other by real endpoints on loopback alone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use allod_ledger::LocalSigner;
use allod_ledger::bft::{Message, Peer, SignedVote, Signer};
use allod_ledger::chain::{Committed, Config, Threads};
use allod_ledger::replica::Settings;
use allod_net::limits::PeerLimits;
use allod_net::peer::{Member, PeersConfig, Roster};
use allod_state::certificate::{VoteKind, vote_bytes};
use allod_state::credit::Transfer;
use allod_state::genesis::{Founder, Genesis};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, BlockId, Credits, NodeId, Root, Transaction};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::time::now_ms;

const LONG: Duration = Duration::from_secs(60);

pub(crate) fn owner() -> LocalSigner {
    LocalSigner::from_seed(&[100; 32])
}

pub(crate) fn validator(at: u8) -> LocalSigner {
    LocalSigner::from_seed(&[at + 1; 32])
}

pub(crate) fn genesis(validators: u8) -> Genesis {
    let founder = Founder {
        balance: Credits::from_micro(1_000_000_000),
        line: Credits::ZERO,
    };
    Genesis {
        version: PROTOCOL_VERSION,
        time_ms: now_ms() - 1_000,
        salt: [5; 32],
        founders: [(owner().public_key(), founder)].into(),
        validators: (0..validators)
            .map(|at| (validator(at).public_key(), 1))
            .collect(),
        fee_per_work: Credits::ZERO,
    }
}

struct Validator {
    chain: Chain,
    threads: Threads,
    peers: Peers,
    carrier: Carrier,
}

impl Validator {
    async fn start(at: u8, folder: &Path, genesis: &Genesis, is_new_key: bool) -> Self {
        let config = Config {
            folder: folder.to_path_buf(),
            settings: Settings::new(genesis.clone(), is_new_key, [at; 32]),
            verify_threads: 1,
            aborts_on_failure: false,
        };
        let (chain, said, threads) = Chain::start(config, validator(at)).unwrap();
        let config = PeersConfig {
            // As a machine does, which votes with its own key.
            secret: [at + 1; 32],
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            external: Vec::new(),
            network: *genesis.network().as_bytes(),
            is_relayed_only: false,
            limits: PeerLimits::default(),
        };
        let (peers, heard) = Peers::open(config).await.unwrap();
        let carrier = Carrier::start(&chain, said, &peers, heard);
        Self {
            chain,
            threads,
            peers,
            carrier,
        }
    }

    async fn stop(self) {
        drop(self.carrier);
        self.peers.close().await;
        drop(self.chain);
        spawn_blocking(move || self.threads.join()).await.unwrap();
    }

    async fn commit(&self, transaction: Transaction) -> Committed {
        let answer = timeout(LONG, self.chain.submit(transaction)).await;
        answer.expect("no quorum").unwrap().unwrap()
    }

    /// Waits until it has the height, and tells the root there.
    async fn root_at(&self, height: u64) -> Root {
        let mut views = self.chain.views();
        let reached = views.wait_for(|view| {
            view.tip
                .as_ref()
                .is_some_and(|tip| tip.header.height >= height)
        });
        timeout(LONG, reached)
            .await
            .expect("it lags behind")
            .unwrap();
        let chain = self.chain.clone();
        let read = spawn_blocking(move || chain.block(height)).await.unwrap();
        read.unwrap().unwrap().block.header.root
    }
}

async fn acquaint(validators: &[&Validator]) {
    let member = |validator: &&Validator| {
        let addresses = validator.peers.listening();
        (
            validator.peers.key(),
            Member {
                addresses,
                relays: Vec::new(),
            },
        )
    };
    let roster = Roster {
        members: validators.iter().map(member).collect(),
        ..Roster::default()
    };
    for validator in validators {
        validator.peers.admit(roster.clone()).await;
    }
}

/// Four validators that know one another, on folders that go with them.
async fn four(genesis: &Genesis) -> (Vec<TempDir>, Vec<Validator>) {
    some(4, genesis).await
}

/// So many machines that know one another.
async fn some(count: u8, genesis: &Genesis) -> (Vec<TempDir>, Vec<Validator>) {
    let folders: Vec<TempDir> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut running = Vec::new();
    for (at, folder) in (0..).zip(&folders) {
        running.push(Validator::start(at, folder.path(), genesis, true).await);
    }
    acquaint(&running.iter().collect::<Vec<_>>()).await;
    (folders, running)
}

pub(crate) fn transfer(genesis: &Genesis, nonce: u64) -> Transaction {
    let owner = owner();
    let action = Transfer {
        to: AccountId::COMMONS,
        amount: Credits::from_micro(1),
        memo: String::new(),
    };
    let body = Body {
        version: PROTOCOL_VERSION,
        network: genesis.network(),
        account: AccountId::of_first_key(&owner.public_key()),
        key: owner.public_key(),
        nonce,
        expires_ms: now_ms() + 600_000,
        work_limit: 100,
        actions: vec![Action::from(action)],
    };
    let signature = owner.sign(&body.sign_bytes());
    Transaction { body, signature }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_ledgers_agree_over_quic_and_one_that_was_away_catches_up() {
    let genesis = genesis(4);
    let (folders, mut running) = four(&genesis).await;
    for nonce in 0..8 {
        let at = usize::try_from(nonce).unwrap() % 4;
        let committed = running[at].commit(transfer(&genesis, nonce)).await;
        assert_eq!(committed.receipt.outcome, Ok(()));
    }

    // Three of four are a quorum.
    running.pop().unwrap().stop().await;
    let mut last = 0;
    for nonce in 8..12 {
        last = running[0].commit(transfer(&genesis, nonce)).await.height;
    }

    // The fourth comes back, and has what was decided without it.
    running.push(Validator::start(3, folders[3].path(), &genesis, false).await);
    acquaint(&running.iter().collect::<Vec<_>>()).await;
    let mut roots = Vec::new();
    for validator in &running {
        roots.push(validator.root_at(last).await);
    }
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");

    // Two of four are none: what is submitted now waits.
    running.pop().unwrap().stop().await;
    running.pop().unwrap().stop().await;
    let waiting = running[0].chain.submit(transfer(&genesis, 12));
    let waited = timeout(Duration::from_secs(3), waiting).await;
    assert!(waited.is_err(), "two of four decided: {waited:?}");
    for validator in running {
        validator.stop().await;
    }
}

fn said(from: PeerKey, message: &Message) -> Received {
    Received {
        from,
        protocol: protocol_of(message),
        bytes: message.encode().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_been_given_enough_is_not_answered() {
    let (_folders, mut running) = some(1, &genesis(1)).await;
    let (one, asker) = (running.remove(0), PeerKey([7; 32]));
    let question = || said(asker, &Message::SyncRequest(1));
    let mut allowances = Allowances::default();
    let answer = take(&one.chain, question(), &allowances).await.unwrap();
    assert!(answer.is_some());
    allowances.give(asker, usize::MAX, Instant::now());
    let refused = take(&one.chain, question(), &allowances).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, NotTaken::Enough), "{refused}");
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_merely_follows_has_nothing_to_say_in_agreement() {
    let genesis = genesis(1);
    let (_folders, running) = some(2, &genesis).await;
    let (chain, follower) = (&running[0].chain, running[1].peers.key());
    let none = Allowances::default();
    let vote = Message::Vote(SignedVote {
        kind: VoteKind::Prevote,
        height: 2,
        round: 0,
        value: None,
        validator: validator(0).public_key(),
        signature: validator(1).sign(b"garbage"),
    });
    let refused = take(chain, said(follower, &vote), &none).await.unwrap_err();
    assert!(matches!(refused, NotTaken::NoValidator), "{refused}");
    take(chain, said(running[0].peers.key(), &vote), &none)
        .await
        .unwrap();
    // It may ask, and say how far it is.
    let status = said(follower, &Message::Status(0));
    take(chain, status, &none).await.unwrap();
    let question = said(follower, &Message::SyncRequest(1));
    assert!(take(chain, question, &none).await.unwrap().is_some());
    for one in running {
        one.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_two_votes_that_conflict_is_told_with_the_proof() {
    let genesis = genesis(4);
    let (_folders, running) = four(&genesis).await;
    let committed = running[0].commit(transfer(&genesis, 0)).await;
    running[0].root_at(committed.height).await;
    let mut conflicts = running[0].chain.conflicts();
    let (height, round, kind) = (committed.height + 1, 0, VoteKind::Prevote);
    for block in [BlockId([8; 32]), BlockId([9; 32])] {
        let bytes = vote_bytes(&genesis.network(), kind, height, round, Some(&block));
        let vote = SignedVote {
            kind,
            height,
            round,
            value: Some(block),
            validator: validator(3).public_key(),
            signature: validator(3).sign(&bytes),
        };
        let received = running[0]
            .chain
            .receive(Peer([77; 32]), Message::Vote(vote));
        received.unwrap();
    }
    for validator in &running {
        let next = transfer(&genesis, 1);
        drop(validator.chain.submit(next));
    }
    let conflict = timeout(LONG, conflicts.recv())
        .await
        .expect("nobody tells")
        .unwrap();
    let report = conflict.report(NodeId([1; 32]));
    assert_eq!(report.validator, validator(3).public_key());
    assert_eq!((report.height, report.round), (height, round));
    for validator in running {
        validator.stop().await;
    }
}
