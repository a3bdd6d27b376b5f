//! Golden vectors: the bytes and hashes that must never change by accident.
//!
//! Every line of `golden.txt` is a name and the hex of what this version writes. Whoever changes a line on purpose
//! changes the protocol: a commit of its own, with the reason. Each run leaves what the code gives now in [`NOW`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use allod_state::app::{Delete, Rollback};
use allod_state::block::Header;
use allod_state::certificate::{Certificate, VoteKind, vote_bytes};
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::genesis::{Founder, Genesis};
use allod_state::lease::Report;
use allod_state::place::{Failing, Refusal, WhyNot};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::validator::ValidatorSet;
use allod_state::{
    AccountId, Action, AppId, BlockId, Credits, Digest, LeaseId, NetworkId, NodeId, Rejection,
    Root, State, Transaction, codec,
};

use crate::samples::{label, one_of_each};
use crate::world::{GIB, Person, World, credits, web};

const NOW: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/golden.txt");

type Vectors = Vec<(String, Vec<u8>)>;

fn body(actions: Vec<Action>) -> Body {
    let person = Person::new(1);
    Body {
        version: PROTOCOL_VERSION,
        network: NetworkId([2; 32]),
        account: person.account,
        key: person.key,
        nonce: 7,
        expires_ms: 1_800_000_060_000,
        work_limit: 1_000,
        actions,
    }
}

fn header() -> Header {
    Header {
        version: PROTOCOL_VERSION,
        network: NetworkId([2; 32]),
        height: 9,
        time_ms: 1_800_000_000_123,
        parent: BlockId([3; 32]),
        proposer: Person::new(2).key,
        transactions_hash: [4; 32],
        receipts_hash: [5; 32],
        root: Root([6; 32]),
        validators_hash: [7; 32],
        next_validators_hash: [8; 32],
        supply: credits("1000000.000001"),
    }
}

fn envelopes(vectors: &mut Vectors) {
    for action in one_of_each() {
        let name = action.name();
        let body = body(vec![action]);
        let signature = Person::new(1).sign(&body.sign_bytes());
        vectors.push((format!("transaction-id {name}"), body.id().0.to_vec()));
        let transaction = Transaction { body, signature };
        vectors.push((format!("transaction {name}"), transaction.to_bytes()));
    }
    let several = body(one_of_each()[..2].to_vec());
    vectors.push(("sign-bytes".to_owned(), several.sign_bytes()));
}

fn votes(vectors: &mut Vectors) {
    let (network, block) = (NetworkId([2; 32]), BlockId([3; 32]));
    let prevote = vote_bytes(&network, VoteKind::Prevote, 9, 1, None);
    let precommit = vote_bytes(&network, VoteKind::Precommit, 9, 1, Some(&block));
    let voter = Person::new(2);
    let certificate = Certificate {
        height: 9,
        round: 1,
        block,
        signatures: vec![(voter.key, voter.sign(&precommit))],
    };
    let set = ValidatorSet::new([(voter.key, 1), (Person::new(1).key, 2)]);
    vectors.push(("vote prevote-nil".to_owned(), prevote));
    vectors.push(("vote precommit".to_owned(), precommit));
    vectors.push(("certificate".to_owned(), codec::encode(&certificate)));
    vectors.push(("validators".to_owned(), codec::encode(&set)));
    vectors.push(("validators-hash".to_owned(), set.hash().to_vec()));
    vectors.push(("header".to_owned(), codec::encode(&header())));
    vectors.push(("block-id".to_owned(), header().id().0.to_vec()));
}

fn genesis() -> Genesis {
    let founder = Founder {
        balance: credits("100"),
        line: credits("5"),
    };
    Genesis {
        version: PROTOCOL_VERSION,
        time_ms: 1_800_000_000_000,
        salt: [9; 32],
        founders: BTreeMap::from([(Person::new(1).key, founder)]),
        validators: BTreeMap::from([(Person::new(2).key, 1)]),
        fee_per_work: Credits::from_micro(1),
    }
}

fn names(vectors: &mut Vectors) {
    let key = Person::new(1).key;
    let app = AppId::of(&AccountId([1; 32]), 3);
    let lease = LeaseId::of(&(app, label("web"), 2), 5);
    let genesis = genesis();
    vectors.push(("genesis".to_owned(), codec::encode(&genesis)));
    vectors.push(("network-id".to_owned(), genesis.network().0.to_vec()));
    vectors.push((
        "genesis-root".to_owned(),
        genesis.state().0.root().0.to_vec(),
    ));
    let account = AccountId::of_first_key(&key);
    vectors.push(("account-id".to_owned(), account.0.to_vec()));
    vectors.push(("node-id".to_owned(), NodeId::of_first_key(&key).0.to_vec()));
    vectors.push(("app-id".to_owned(), app.0.to_vec()));
    vectors.push(("lease-id".to_owned(), lease.0.to_vec()));
    vectors.push(("label".to_owned(), label("web").0.to_vec()));
    vectors.push(("digest".to_owned(), Digest::of(b"bytes").0.to_vec()));
    for text in [account.to_string(), key.to_string(), app.to_string()] {
        let name = text.split('_').next().unwrap_or_default();
        vectors.push((format!("text {name}"), text.into_bytes()));
    }
}

fn rejections(vectors: &mut Vectors) {
    let refusal = Refusal {
        node: NodeId([1; 32]),
        failing: vec![Failing::NoOffer, Failing::Cpu { needed: 2, free: 1 }],
    };
    let why = WhyNot {
        nodes: 1,
        refusals: vec![refusal],
    };
    let some = [
        Rejection::WrongNonce {
            expected: 1,
            found: 2,
        },
        Rejection::InsufficientCredit {
            needed: credits("2"),
            available: credits("-1"),
        },
        Rejection::NoPlacement { why },
        Rejection::PlanChanged,
    ];
    for rejection in some {
        let name = format!("rejection {} {}", rejection.code(), rejection.name());
        vectors.push((name, codec::encode(&rejection)));
    }
}

/// A short history: after each block its id, its root and the hash of the rows it wrote.
fn chain(vectors: &mut Vectors) {
    let mut world = World::new();
    let mut note = |world: &World, what: &str| {
        let last = world.last.as_ref().unwrap();
        let header = &last.block.header;
        let mut bytes = header.id().0.to_vec();
        bytes.extend_from_slice(&header.root.0);
        bytes.extend_from_slice(&codec::hash("golden writes", &last.writes));
        vectors.push((format!("chain {} {what}", header.height), bytes));
    };
    note(&world, "register and offer");
    let mut db = web(1);
    db.volumes = BTreeMap::from([(label("data"), GIB)]);
    let services = [("web", web(2)), ("db", db)];
    world.run(vec![world.deploy("shop", &services, 1).into()]);
    note(&world, "deploy");
    for (lease, _) in world.active("shop") {
        world.report_lease(lease, Report::Ready);
    }
    note(&world, "ready");
    world.wait(30_000);
    let (lease, row) = world.active("shop").remove(0);
    let item = Item {
        lease,
        epoch: row.epoch,
        from_ms: row.meter.until_ms,
        until_ms: row.meter.until_ms + 30_000,
        ready_ms: 29_000,
        usage: Usage::default(),
    };
    let (node, items) = (world.node, vec![item]);
    world.report(SubmitEvidence { node, items }).unwrap();
    note(&world, "evidence");
    let to = Person::new(7).account;
    let (amount, memo) = (credits("3"), String::new());
    world.run(vec![Transfer { to, amount, memo }.into()]);
    note(&world, "transfer");
    world.run(vec![world.deploy("shop", &[("web", web(1))], 2).into()]);
    note(&world, "second revision");
    let app = world.app("shop");
    world.run(vec![Rollback { app, to: None }.into()]);
    note(&world, "rollback");
    let drops_volumes = false;
    world.run(vec![Delete { app, drops_volumes }.into()]);
    note(&world, "delete");
    proofs(&world, vectors);
}

fn proofs(world: &World, vectors: &mut Vectors) {
    let there = State::account_key(&world.owner.account);
    let (value, proof) = world.state.prove(&there);
    vectors.push(("stored-key account".to_owned(), there));
    vectors.push(("stored-value account".to_owned(), value.unwrap()));
    vectors.push(("proof of presence".to_owned(), codec::encode(&proof)));
    let (_, proof) = world.state.prove(&State::lease_key(&LeaseId([1; 32])));
    vectors.push(("proof of absence".to_owned(), codec::encode(&proof)));
}

fn all() -> String {
    let mut vectors = Vectors::new();
    names(&mut vectors);
    envelopes(&mut vectors);
    votes(&mut vectors);
    rejections(&mut vectors);
    chain(&mut vectors);
    let mut text = String::new();
    for (name, bytes) in vectors {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{name}: {hex}").unwrap();
    }
    text
}

#[test]
fn what_is_written_never_changes_by_accident() {
    let now = all();
    std::fs::write(NOW, &now).unwrap();
    let frozen = include_str!("golden.txt");
    for (frozen, now) in frozen.lines().zip(now.lines()) {
        assert_eq!(
            frozen, now,
            "a frozen encoding or hash has changed; see {NOW}"
        );
    }
    assert_eq!(frozen.lines().count(), now.lines().count());
}

#[test]
fn every_kind_of_action_has_a_vector_and_its_own_tag() {
    let actions = one_of_each();
    for (tag, action) in (0u8..).zip(&actions) {
        assert_eq!(
            codec::encode(action).first(),
            Some(&tag),
            "{}",
            action.name()
        );
    }
    let names: Vec<&str> = actions.iter().map(Action::name).collect();
    assert_eq!(names, Action::NAMES, "a new kind needs a vector");
}
