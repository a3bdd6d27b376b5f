//! What a transaction must be before its actions are looked at, and what a key may do.

use std::collections::BTreeSet;

use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RevokeKey, RotateKey};
use allod_state::credit::Transfer;
use allod_state::node::RegisterNode;
use allod_state::transaction::Body;
use allod_state::{InvalidBlock, NetworkId, Rejection, Transaction, acting_key};

use crate::world::{Person, World, credits, web};

fn send(amount: &str) -> Transfer {
    Transfer {
        to: Person::new(7).account,
        amount: credits(amount),
        memo: String::new(),
    }
}

fn inadmissible(world: &mut World, transaction: Transaction) -> Rejection {
    match world.block(vec![transaction], 1) {
        Err(InvalidBlock::Inadmissible { rejection, .. }) => rejection,
        other => panic!("the block was not refused: {other:?}"),
    }
}

#[test]
fn a_transaction_enters_no_block_twice() {
    let mut world = World::new();
    let owner = world.owner.clone();
    let transaction = world.signed(&owner, owner.account, vec![send("1").into()]);
    world.block(vec![transaction.clone()], 1).unwrap();
    let nonce = transaction.body.nonce;
    let expected = Rejection::WrongNonce {
        expected: nonce + 1,
        found: nonce,
    };
    assert_eq!(inadmissible(&mut world, transaction.clone()), expected);
    let twice = world.block(vec![transaction.clone(), transaction], 1);
    assert!(matches!(twice, Err(InvalidBlock::Inadmissible { .. })));
}

#[test]
fn another_network_version_or_time_is_refused() {
    let mut world = World::new();
    let owner = world.owner.clone();
    let good = world
        .signed(&owner, owner.account, vec![send("1").into()])
        .body;
    type Change = Box<dyn Fn(&mut Body)>;
    let cases: [(&str, Change); 5] = [
        (
            "wrong-network",
            Box::new(|body| body.network = NetworkId([8; 32])),
        ),
        ("wrong-version", Box::new(|body| body.version = 2)),
        ("expired", Box::new(|body| body.expires_ms = 1_000_001)),
        (
            "expiry-too-far",
            Box::new(|body| body.expires_ms += 3_600_000),
        ),
        ("work-limit", Box::new(|body| body.work_limit = 1)),
    ];
    for (name, change) in cases {
        let mut body = good.clone();
        change(&mut body);
        let signature = owner.sign(&body.sign_bytes());
        assert_eq!(
            inadmissible(&mut world, Transaction { body, signature }).name(),
            name
        );
    }
}

#[test]
fn a_changed_body_has_no_signature() {
    let world = World::new();
    let owner = world.owner.clone();
    let mut transaction = world.signed(&owner, owner.account, vec![send("1").into()]);
    transaction.body.actions = vec![send("2").into()];
    assert!(transaction.verify().is_err());
}

#[test]
fn a_strangers_key_does_nothing() {
    let mut world = World::new();
    let (stranger, owner) = (Person::new(8), world.owner.account);
    let transaction = world.signed(&stranger, owner, vec![send("1").into()]);
    assert_eq!(inadmissible(&mut world, transaction), Rejection::UnknownKey);
}

fn limited(verbs: &[Verb]) -> Grant {
    Grant {
        verbs: verbs.iter().copied().collect(),
        ..Grant::full()
    }
}

#[test]
fn a_key_does_what_its_grant_says_and_no_more() {
    let mut world = World::new();
    let (owner, agent) = (world.owner.account, Person::new(9));
    let apps = AppSelector::Only(BTreeSet::from([world.app_label("shop")]));
    let grant = Grant {
        apps,
        ..limited(&[Verb::Deploy])
    };
    world.run(vec![
        AddKey {
            key: agent.key,
            grant,
        }
        .into(),
    ]);
    let allowed = world.deploy("shop", &[("web", web(1))], 1);
    world.try_as(&agent, owner, vec![allowed.into()]).unwrap();
    let other = world.deploy("bank", &[("web", web(1))], 1);
    assert_eq!(
        world.try_as(&agent, owner, vec![other.into()]),
        Err(Rejection::ResourceNotGranted)
    );
    let sent = world.try_as(&agent, owner, vec![send("1").into()]);
    assert_eq!(
        sent,
        Err(Rejection::VerbNotGranted {
            verb: "transfer".into()
        })
    );
}

#[test]
fn a_budget_holds_over_its_period_and_renews() {
    let mut world = World::new();
    let (owner, agent) = (world.owner.account, Person::new(9));
    let budget = Some(Budget {
        amount: credits("5"),
        period_ms: 1_000,
    });
    world.run(vec![
        AddKey {
            key: agent.key,
            grant: Grant {
                budget,
                ..limited(&[Verb::Transfer])
            },
        }
        .into(),
    ]);
    world.try_as(&agent, owner, vec![send("3").into()]).unwrap();
    let over = world.try_as(&agent, owner, vec![send("3").into()]);
    assert_eq!(
        over,
        Err(Rejection::BudgetExceeded {
            needed: credits("6"),
            allowed: credits("5")
        })
    );
    world.wait(1_000);
    world.try_as(&agent, owner, vec![send("3").into()]).unwrap();
}

#[test]
fn a_budget_bounds_what_a_key_deploys() {
    let mut world = World::new();
    let (owner, agent) = (world.owner.account, Person::new(9));
    let budget = Some(Budget {
        amount: credits("0.2"),
        period_ms: 24 * 3_600_000,
    });
    world.run(vec![
        AddKey {
            key: agent.key,
            grant: Grant {
                budget,
                ..limited(&[Verb::Deploy])
            },
        }
        .into(),
    ]);
    let one = world.deploy("one", &[("web", web(1))], 1);
    world.try_as(&agent, owner, vec![one.into()]).unwrap();
    let two = world.deploy("two", &[("web", web(1))], 1);
    let refused = world.try_as(&agent, owner, vec![two.into()]);
    assert!(
        matches!(refused, Err(Rejection::BudgetExceeded { .. })),
        "{refused:?}"
    );
    assert_eq!(
        world.state.app_by_label(&owner, &world.app_label("two")),
        None
    );
}

#[test]
fn an_expired_key_is_refused() {
    let mut world = World::new();
    let (owner, agent) = (world.owner.account, Person::new(9));
    let expires_ms = Some(world.now_ms() + 100);
    let grant = Grant {
        expires_ms,
        ..limited(&[Verb::Transfer])
    };
    world.run(vec![
        AddKey {
            key: agent.key,
            grant,
        }
        .into(),
    ]);
    world.try_as(&agent, owner, vec![send("1").into()]).unwrap();
    world.wait(100);
    let late = world.signed(&agent, owner, vec![send("1").into()]);
    assert!(matches!(
        inadmissible(&mut world, late),
        Rejection::ExpiredKey { .. }
    ));
}

#[test]
fn a_key_hands_on_no_more_than_it_has() {
    let mut world = World::new();
    let (owner, agent, third) = (world.owner.account, Person::new(9), Person::new(10));
    world.run(vec![
        AddKey {
            key: agent.key,
            grant: limited(&[Verb::Keys, Verb::Deploy]),
        }
        .into(),
    ]);
    let more = AddKey {
        key: third.key,
        grant: limited(&[Verb::Transfer]),
    };
    assert_eq!(
        world.try_as(&agent, owner, vec![more.into()]),
        Err(Rejection::ResourceNotGranted)
    );
    let less = AddKey {
        key: third.key,
        grant: limited(&[Verb::Deploy]),
    };
    world.try_as(&agent, owner, vec![less.into()]).unwrap();
}

#[test]
fn rotation_keeps_the_account_and_ends_the_old_key() {
    let mut world = World::new();
    let (old, new) = (world.owner.clone(), Person::new(11));
    world.run(vec![RotateKey { new: new.key }.into()]);
    world
        .try_as(&new, old.account, vec![send("1").into()])
        .unwrap();
    let late = world.signed(&old, old.account, vec![send("1").into()]);
    assert_eq!(inadmissible(&mut world, late), Rejection::UnknownKey);
}

#[test]
fn the_last_key_that_manages_keys_stays() {
    let mut world = World::new();
    let key = world.owner.key;
    assert_eq!(
        world.try_run(vec![RevokeKey { key }.into()]),
        Err(Rejection::LastKey)
    );
}

#[test]
fn a_key_that_can_hand_nothing_on_is_not_the_last_one() {
    let day = Budget {
        amount: credits("1"),
        period_ms: 86_400_000,
    };
    let limited = Grant {
        budget: Some(day),
        ..Grant::full()
    };
    let narrow = Grant {
        verbs: [Verb::Keys].into(),
        ..Grant::full()
    };
    for (grant, may_go) in [(limited, false), (narrow, false), (Grant::full(), true)] {
        let mut world = World::new();
        let (key, other) = (world.owner.key, Person::new(9).key);
        world.run(vec![AddKey { key: other, grant }.into()]);
        let gone = world.try_run(vec![RevokeKey { key }.into()]);
        let expected = if may_go {
            Ok(())
        } else {
            Err(Rejection::LastKey)
        };
        assert_eq!(gone, expected);
    }
}

#[test]
fn a_key_for_some_nodes_lists_no_others() {
    let mut world = World::new();
    let (owner, agent, machine) = (world.owner.account, Person::new(9), Person::new(11));
    let grant = Grant {
        nodes: NodeSelector::Only([world.node].into()),
        ..limited(&[Verb::Nodes])
    };
    world.run(vec![
        AddKey {
            key: agent.key,
            grant,
        }
        .into(),
    ]);
    let consent = machine.sign(&RegisterNode::consent_bytes(&owner, &[3; 32]));
    let register = RegisterNode {
        key: machine.key,
        consent,
        sealing_key: [3; 32],
        name: "other".parse().unwrap(),
    };
    let refused = world.try_as(&agent, owner, vec![register.into()]);
    assert_eq!(refused, Err(Rejection::ResourceNotGranted));
}

#[test]
fn the_accounts_of_a_key_are_found() {
    let mut world = World::new();
    let (owner, shared) = (world.owner.clone(), Person::new(9));
    let grant = limited(&[Verb::Read]);
    world.run(vec![
        AddKey {
            key: shared.key,
            grant,
        }
        .into(),
    ]);
    assert_eq!(world.state.accounts_of_key(&shared.key, 2), [owner.account]);
    let next = Person::new(12);
    world.run(vec![RotateKey { new: next.key }.into()]);
    assert_eq!(world.state.accounts_of_key(&next.key, 2), [owner.account]);
    assert!(world.state.accounts_of_key(&owner.key, 2).is_empty());
    assert!(acting_key(&world.state, &owner.account, &owner.key, 0).is_err());
}
