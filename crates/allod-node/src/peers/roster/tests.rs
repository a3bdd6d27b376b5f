//! Who is named to newcomers.

use allod_ledger::bft::Signer;
use allod_state::node::{PublishReach, RegisterNode};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, NodeId, Proposal, Transaction, execute};

use super::*;
use crate::carrier::tests::{genesis, owner, validator};

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
