//! Who is named to newcomers, and whose relays are on the roster.

use std::net::SocketAddr;

use allod_ledger::bft::Signer;
use allod_state::node::{PublishReach, RegisterNode};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, NodeId, Proposal, Transaction, execute};

use super::*;
use crate::agent::Scene;
use crate::carrier::tests::{genesis, owner, validator};
use crate::ledger::tests::restored;

#[test]
fn validators_are_named_before_whoever_has_drawn_a_small_key() {
    let keys = (0..8).map(|at| (NodeId::of_first_key(&validator(at).public_key()), at));
    let mut keys: Vec<(NodeId, u8)> = keys.collect();
    keys.sort_unstable();
    let (_, last) = *keys.last().unwrap();
    let mut genesis = genesis(0);
    genesis.validators = [(validator(last).public_key(), 1)].into();
    let operator = AccountId::of_first_key(&owner().public_key());
    let sealing_key = [9; 32];
    let consent = RegisterNode::consent_bytes(&operator, &sealing_key);
    let actions = keys.iter().flat_map(|(node, at)| {
        let register = RegisterNode {
            key: validator(*at).public_key(),
            consent: validator(*at).sign(&consent),
            sealing_key,
            name: format!("machine-{at}").parse().unwrap(),
        };
        let reach = Reach {
            addresses: [([127, 0, 0, 1], 7_000).into()].into(),
            ..Reach::default()
        };
        let node = *node;
        [register.into(), PublishReach { node, reach }.into()]
    });
    let actions: Vec<Action> = actions.collect();
    let body = Body {
        version: PROTOCOL_VERSION,
        network: genesis.network(),
        account: operator,
        key: owner().public_key(),
        nonce: 0,
        expires_ms: genesis.time_ms + 60_000,
        work_limit: actions.iter().map(Action::work).sum(),
        actions,
    };
    let signature = owner().sign(&body.sign_bytes());
    let proposal = Proposal {
        time_ms: genesis.time_ms + 1,
        proposer: validator(last).public_key(),
        transactions: &[Transaction { body, signature }.verify().unwrap()],
    };
    let executed = execute(&genesis.state().0, &proposal).unwrap();
    assert_eq!(executed.receipts[0].outcome, Ok(()));

    let (_, own) = keys[1];
    let entrance = entrance(&executed.state, &validator(own).public_key());
    let named = entrance.members.iter().map(|member| PeerKey(member.key));
    let named: Vec<PeerKey> = named.take(2).collect();
    let expected = [own, last].map(|at| peer_key(&validator(at).public_key()));
    assert_eq!(named, expected);
}

/// As the law stores them.
const NODE: u8 = 3;
const REACH: u8 = 12;

#[tokio::test]
async fn a_relay_is_known_with_whose_it_is_and_whether_its_machine_is_given_up() {
    let scene = Scene::listed().await;
    let state = scene.node.state();
    let (_, row) = state.nodes().next().unwrap();
    let mut rows = Vec::new();
    let mut put = |tag: u8, node: NodeId, value: Vec<u8>| {
        let key = borsh::to_vec(&node).unwrap();
        rows.push(([vec![tag], key].concat(), value));
    };
    let at = |number: u8| SocketAddr::from(([1, 1, 1, number], 443));
    for (number, is_unreachable) in [(1, false), (2, true)] {
        let (id, key) = (NodeId([number; 32]), PublicKey::Ed25519([number; 32]));
        let row = node::Node {
            operator: AccountId([number; 32]),
            key,
            is_unreachable,
            ..row.clone()
        };
        let relay = node::Relay {
            address: at(number),
            pin: [number; 32],
            discovery_port: 1,
        };
        let reach = Reach {
            addresses: [].into(),
            relay: Some(relay),
            relayed_by: [].into(),
        };
        put(NODE, id, borsh::to_vec(&row).unwrap());
        put(REACH, id, borsh::to_vec(&reach).unwrap());
    }
    let roster = roster(&restored(rows), &[], 1);
    assert_eq!(roster.relays.len(), 2);
    let operators = [(at(1), [Operator([1; 32])].into())];
    assert_eq!(roster.operators, operators.into());
    assert_eq!(roster.given_up, [at(2)].into());
    scene.node.stop().await;
}
