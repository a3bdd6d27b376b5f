//! The law is total: whatever bytes come, it answers, and what must hold holds.
//!
//! Each function here is a fuzz target (`fuzz/`, `make fuzz`). The tests run the same functions over the committed
//! corpus and over random bytes, without a fuzzer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use allod_state::app::Demand;
use allod_state::block::{Block, Header};
use allod_state::certificate::{Certificate, VoteKind, vote_bytes};
use allod_state::codec;
use allod_state::limits::{BLOCK_BYTES_MAX, TRANSACTION_BYTES_MAX};
use allod_state::node::Node;
use allod_state::proof::Proof;
use allod_state::transaction::Verified;
use allod_state::validator::ValidatorSet;
use allod_state::{
    Action, BlockId, Executed, InvalidBlock, Label, LeaseId, NetworkId, Proposal, Rejection, State,
    Transaction, build, execute,
};

use crate::audit::Audit;
use crate::city::{City, deploy_of};
use crate::dice::Dice;
use crate::samples::one_of_each;
use crate::world::Person;

/// The city, the rows it is stored as, and the block that led to it.
struct Founded {
    city: City,
    audit: Audit,
    last: Executed,
}

fn founded() -> &'static Founded {
    static FOUNDED: OnceLock<Founded> = OnceLock::new();
    FOUNDED.get_or_init(|| {
        let mut city = City::new();
        city.world.wait(10);
        let last = city.world.last.clone().unwrap();
        let audit = Audit::of(city.world.writes.clone());
        Founded { city, audit, last }
    })
}

/// Bytes as a transaction: read canonically or refused, and executed without harm whoever signs.
pub(crate) fn transaction(bytes: &[u8]) {
    if let Ok(read) = Transaction::from_bytes(bytes) {
        assert_eq!(read.to_bytes(), bytes);
        assert!(bytes.len() <= TRANSACTION_BYTES_MAX);
        let _ = read.verify();
    }
    // The same bytes as actions that a member signs, so that they reach the law.
    let Some((who, actions)) = bytes.split_first() else {
        return;
    };
    let read = codec::decode::<Vec<Action>>("actions", TRANSACTION_BYTES_MAX, actions);
    let Some(actions) = read.ok().or_else(|| nearly_good(actions)) else {
        return;
    };
    let Founded { city, audit, .. } = founded();
    let person = &city.people[usize::from(*who) % city.people.len()];
    let owner = city.people[0].account;
    let state = city.state();
    let account = if state.account(&person.account).is_some() {
        person.account
    } else {
        owner
    };
    let signed = city.world.signed(person, account, actions);
    let is_long = signed.to_bytes().len() > TRANSACTION_BYTES_MAX;
    assert!(is_long || Transaction::from_bytes(&signed.to_bytes()).as_ref() == Ok(&signed));
    let mut audit = audit.clone();
    one_block(city, state, &[signed], 1, &mut audit);
}

/// One action of each kind is nearly good bytes, once a few of them are changed.
fn nearly_good(bytes: &[u8]) -> Option<Vec<Action>> {
    let mut dice = Dice::new(bytes);
    let mut encoded = codec::encode(&vec![dice.pick(&one_of_each())]);
    while !dice.is_empty() {
        let at = usize::from(dice.byte()) * 256 + usize::from(dice.byte());
        let length = encoded.len();
        encoded[at % length] = dice.byte();
    }
    codec::decode("actions", TRANSACTION_BYTES_MAX, &encoded).ok()
}

/// Bytes as a block, then as dice for a whole chain of blocks with transactions of everybody, right and wrong.
pub(crate) fn block(bytes: &[u8]) {
    if let Ok(read) = Block::from_bytes(bytes) {
        assert_eq!(read.to_bytes(), bytes);
        assert!(bytes.len() <= BLOCK_BYTES_MAX);
    }
    let Founded { city, audit, .. } = founded();
    let mut audit = audit.clone();
    let mut state = city.state().clone();
    let mut dice = Dice::new(bytes);
    let mut last = None;
    for _ in 0..12 {
        if dice.is_empty() {
            break;
        }
        let gap = dice.pick(&[1, 1_000, 6_000, 65_000, 3_600_000, 9_000_000_000]);
        let count = dice.byte() % 4;
        let transactions: Vec<_> = (0..count)
            .map(|_| city.transaction(&state, &mut dice))
            .collect();
        let executed = one_block(city, &state, &transactions, gap, &mut audit);
        state = executed.state.clone();
        last = Some(executed);
    }
    if let Some(last) = last {
        audit.restores(&last);
    }
}

/// Builds a block as a proposer would, executes it as everybody else does, and looks at everything.
fn one_block(
    city: &City,
    state: &State,
    transactions: &[Transaction],
    gap_ms: u64,
    audit: &mut Audit,
) -> Executed {
    let verified: Vec<Verified> = transactions
        .iter()
        .map(|tx| tx.clone().verify().expect("signed just now"))
        .collect();
    let proposal = Proposal {
        time_ms: state.tip().time_ms.saturating_add(gap_ms),
        proposer: city.world.machine.key,
        transactions: &verified,
    };
    let (built, left_out) = build(state, &proposal).expect("time goes on");
    for (id, _) in &left_out {
        // What a proposer leaves out first of all makes a block invalid by itself.
        let is_first = verified.first().is_some_and(|first| first.id() == *id);
        if is_first && !built.ids.contains(id) {
            let alone = Proposal {
                transactions: &verified[..1],
                ..proposal
            };
            let refused = execute(state, &alone);
            assert!(matches!(refused, Err(InvalidBlock::Inadmissible { .. })));
        }
    }
    for transaction in &built.block.transactions {
        assert_eq!(transaction.body.network, state.network());
        assert!(transaction.body.expires_ms > proposal.time_ms);
    }
    audit.block(state, &built);
    built
}

/// Bytes as the services of an app: placed where every rule holds, or refused with a reason for every node.
pub(crate) fn spec(bytes: &[u8]) {
    let Founded { city, audit, .. } = founded();
    let mut dice = Dice::new(bytes);
    let read = codec::decode::<BTreeMap<Label, Demand>>("services", TRANSACTION_BYTES_MAX, bytes);
    let services = read.unwrap_or_else(|_| {
        let names = (0..=dice.byte() % 4).map(|at| Label([at; 32]));
        names.map(|name| (name, city.demand(&mut dice))).collect()
    });
    let owner = &city.people[0];
    let (label, state) = (Label([7; 32]), city.state());
    let deploy = deploy_of(label, services.clone(), &mut dice);
    let signed = city.world.signed(owner, owner.account, vec![deploy.into()]);
    let mut audit = audit.clone();
    let executed = one_block(city, state, &[signed], 1, &mut audit);
    match executed.receipts.first().map(|receipt| &receipt.outcome) {
        Some(Ok(())) => {
            let app = executed.state.app_by_label(&owner.account, &label).unwrap();
            for id in executed.state.active_leases_of(&app) {
                let lease = executed.state.lease(&id).unwrap();
                let node = executed.state.node(&lease.node).unwrap();
                suits(&services[&lease.service], &node);
                let capacity = node.offer.as_ref().unwrap().capacity;
                let used = executed.state.used_on(&lease.node);
                assert_eq!(capacity.minus(used).plus(used), capacity, "overbooked");
            }
            let wanted: u32 = services.values().map(|demand| demand.replicas).sum();
            let placed = executed.state.active_leases_of(&app).len();
            assert_eq!(placed, usize::try_from(wanted).unwrap(), "all or nothing");
        }
        Some(Err(Rejection::NoPlacement { why })) => {
            let nodes = u32::try_from(state.nodes().count()).unwrap();
            assert_eq!(why.nodes, nodes, "every node has its reason");
            assert!(why.refusals.iter().all(|one| !one.failing.is_empty()));
        }
        _ => {}
    }
}

/// The rules of placement, once more and apart from the law's.
fn suits(demand: &Demand, node: &Node) {
    let offer = node.offer.as_ref().expect("it offers something");
    let constraints = &demand.constraints;
    assert!(!node.is_cordoned);
    assert!(offer.isolation.contains(&demand.isolation));
    assert!(constraints.tags.is_subset(&offer.tags));
    assert!(!constraints.operators_denied.contains(&node.operator));
    let allowed = &constraints.operators_allowed;
    assert!(allowed.is_empty() || allowed.contains(&node.operator));
    let within = |region: &str| {
        let here = offer.region.as_str();
        here == region || here.starts_with(&format!("{region}-"))
    };
    let regions = &constraints.regions;
    assert!(regions.is_empty() || regions.iter().any(|region| within(region.as_str())));
    let price = offer.prices.per_hour(&demand.footprint()).unwrap();
    assert!(
        constraints
            .price_per_hour_max
            .is_none_or(|max| price <= max)
    );
}

/// Bytes as changes to a store's rows: the very rows restore the very state, and any others are refused.
pub(crate) fn snapshot(bytes: &[u8]) {
    let Founded { audit, last, .. } = founded();
    let header = &last.block.header;
    let mut rows = audit.rows();
    let mut dice = Dice::new(bytes);
    if dice.once_in(2) {
        rows.reverse();
    }
    while !dice.is_empty() {
        let at = usize::from(dice.byte()) % rows.len().max(1);
        match (dice.byte() % 6, rows.get_mut(at)) {
            (0, Some((_, value))) if !value.is_empty() => {
                let index = usize::from(dice.byte()) % value.len();
                value[index] ^= dice.byte();
            }
            (1, Some((key, _))) if !key.is_empty() => {
                let index = usize::from(dice.byte()) % key.len();
                key[index] ^= dice.byte();
            }
            (2, Some(_)) => drop(rows.remove(at)),
            (3, Some(row)) => {
                let twice = row.clone();
                rows.push(twice);
            }
            (4, Some((_, value))) => value.push(dice.byte()),
            _ => {
                let key = (0..dice.byte() % 40).map(|_| dice.byte()).collect();
                rows.push((key, vec![dice.byte(); 4]));
            }
        }
    }
    let mut sorted = rows.clone();
    sorted.sort();
    let is_whole = sorted == audit.rows();
    match State::restore(header, rows) {
        Ok(restored) => {
            assert!(is_whole, "other rows passed for these");
            assert_eq!(restored.root(), last.state.root());
            assert_eq!(restored.recount(), last.state.recount());
        }
        Err(error) => assert!(!is_whole, "{error}"),
    }
}

/// Bytes as a proof, and as changes to a true one: what it shows is so. Then the same for certificates.
pub(crate) fn proof(bytes: &[u8]) {
    let Founded { city, audit, last } = founded();
    let state = &last.state;
    let mut dice = Dice::new(bytes);
    let keys = [
        State::account_key(&city.people[0].account),
        State::account_key(&city.people[6].account),
        State::lease_key(&LeaseId([1; 32])),
    ];
    let mut keys: Vec<Vec<u8>> = keys.into();
    keys.extend(audit.rows().into_iter().map(|(key, _)| key));
    let (of, about) = (dice.pick(&keys), dice.pick(&keys));
    let (_, honest) = state.prove(&of);
    let mut encoded = codec::encode(&honest);
    while !dice.is_empty() {
        let at = usize::from(dice.byte()) * 256 + usize::from(dice.byte());
        let length = encoded.len();
        match dice.byte() % 4 {
            0 => encoded[at % length] ^= dice.byte(),
            1 => encoded.truncate(at % length + 1),
            2 => encoded.insert(at % length, dice.byte()),
            _ if length < 4_096 => encoded.extend_from_within(at % length..),
            _ => {}
        }
    }
    for candidate in [&encoded[..], bytes] {
        let Ok(proof) = codec::decode::<Proof>("proof", usize::MAX, candidate) else {
            continue;
        };
        assert_eq!(codec::encode(&proof), candidate);
        for key in [&of, &about] {
            shows_the_truth(state, &proof, key);
        }
    }
    certificate(bytes);
}

fn shows_the_truth(state: &State, proof: &Proof, key: &[u8]) {
    let root = state.root();
    let (value, _) = state.prove(key);
    if let Ok(found) = proof.lookup(&root, key) {
        assert_eq!(found.is_some(), value.is_some(), "presence");
        let shown = value.map(|value| proof.verify_value(&root, key, &value));
        assert!(shown.is_none_or(|shown| shown.is_ok()), "another value");
    }
    let false_value = b"not what is there".to_vec();
    assert!(proof.verify_value(&root, key, &false_value).is_err());
    let other_root = allod_state::Root([1; 32]);
    assert!(proof.lookup(&other_root, key).is_err(), "another root");
}

/// Certificates put together from true votes of four validators on several things.
fn certificate(bytes: &[u8]) {
    let people: Vec<Person> = (40..45).map(Person::new).collect();
    let validators = ValidatorSet::new(people[..4].iter().map(|one| (one.key, 1)));
    let network = founded().city.state().network();
    let mut header: Header = founded().last.block.header.clone();
    header.validators_hash = validators.hash();
    let (block, other) = (header.id(), BlockId([5; 32]));
    let mut dice = Dice::new(bytes);
    let mut signatures = Vec::new();
    let mut honest = BTreeSet::new();
    for _ in 0..dice.byte() % 7 {
        let signer = dice.pick(&people);
        let kind = dice.pick(&[VoteKind::Precommit, VoteKind::Precommit, VoteKind::Prevote]);
        let height = header.height + u64::from(dice.once_in(4));
        let round = u32::from(dice.once_in(4));
        let on = dice.pick(&[Some(block), Some(block), Some(other), None]);
        let at = if dice.once_in(4) {
            NetworkId([9; 32])
        } else {
            network
        };
        let vote = vote_bytes(&at, kind, height, round, on.as_ref());
        signatures.push((signer.key, signer.sign(&vote)));
        let is_true = kind == VoteKind::Precommit && height == header.height && round == 0;
        if is_true && on == Some(block) && at == network && signer.key != people[4].key {
            honest.insert(signer.key);
        }
    }
    let certificate = Certificate {
        height: header.height,
        round: 0,
        block: dice.pick(&[block, other]),
        signatures,
    };
    let verified = certificate.verify(&network, &validators, &header);
    if verified.is_ok() {
        assert!(honest.len() >= 3, "a quorum of four is three");
        assert_eq!(certificate.block, block);
        assert_eq!(honest.len(), certificate.signatures.len());
    }
    let mut otherwise = header.clone();
    otherwise.time_ms += 1;
    let lies = certificate.verify(&network, &validators, &otherwise);
    assert!(lies.is_err(), "another header passed under these votes");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]);
    const TARGETS: [(&str, Target); 5] = [
        ("transaction", transaction),
        ("block", block),
        ("spec", spec),
        ("snapshot", snapshot),
        ("proof", proof),
    ];

    fn replay(name: &str) {
        let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/");
        let entries = std::fs::read_dir(format!("{root}{name}")).unwrap();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(paths.len() >= 20, "{} files of {name}", paths.len());
        for path in paths {
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
        }
    }

    #[test]
    fn the_corpus_of_transactions_replays() {
        replay("transaction");
    }

    #[test]
    fn the_corpus_of_blocks_replays() {
        replay("block");
    }

    #[test]
    fn the_corpus_of_specs_replays() {
        replay("spec");
    }

    #[test]
    fn the_corpus_of_snapshots_replays() {
        replay("snapshot");
    }

    #[test]
    fn the_corpus_of_proofs_replays() {
        replay("proof");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

        #[test]
        fn any_chain_of_anybodys_transactions_keeps_every_promise(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            block(&bytes);
        }

        #[test]
        fn any_transaction_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            transaction(&bytes);
        }

        #[test]
        fn any_spec_is_placed_rightly_or_refused_with_reasons(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            spec(&bytes);
        }

        #[test]
        fn any_other_rows_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            snapshot(&bytes);
        }

        #[test]
        fn no_proof_shows_a_lie(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            proof(&bytes);
        }
    }
}
