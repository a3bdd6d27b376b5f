//! A key's limits hold whichever way it goes about: by rotating itself, through somebody else's app, by listing machines.

use std::collections::BTreeSet;

use allod_state::account::grant::{Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RotateKey};
use allod_state::app::Scale;
use allod_state::node::RegisterNode;
use allod_state::{Action, Label, NodeId, Rejection};

use crate::world::{Person, World, credits, web};

/// A key of the owner's that may do this much and spend 0.2 credits a day.
fn limited_agent(world: &mut World, verbs: &[Verb]) -> Person {
    let agent = Person::new(9);
    let grant = Grant {
        verbs: verbs.iter().copied().collect(),
        budget: Some(Budget {
            amount: credits("0.2"),
            period_ms: 24 * 3_600_000,
        }),
        ..Grant::full()
    };
    let key = agent.key;
    world.run(vec![AddKey { key, grant }.into()]);
    agent
}

fn deploy(world: &World, name: &str) -> Vec<Action> {
    vec![world.deploy(name, &[("web", web(1))], 1).into()]
}

fn is_over_budget(outcome: &Result<(), Rejection>) -> bool {
    matches!(outcome, Err(Rejection::BudgetExceeded { .. }))
}

#[test]
fn a_rotated_key_keeps_what_it_has_spent() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy, Verb::Keys]);
    let one = deploy(&world, "one");
    world.try_as(&agent, owner, one).unwrap();
    let rotated = Person::new(10);
    let rotate = RotateKey { new: rotated.key };
    world.try_as(&agent, owner, vec![rotate.into()]).unwrap();
    let two = deploy(&world, "two");
    let refused = world.try_as(&rotated, owner, two);
    assert!(is_over_budget(&refused), "{refused:?}");
}

#[test]
fn a_budget_bears_what_its_key_scales() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Scale]);
    let mine = deploy(&world, "shop");
    world.run(mine);
    let service = Label::of(world.app_label("shop").as_bytes(), "web");
    let scale = |replicas| Scale {
        app: world.app("shop"),
        service,
        replicas,
    };
    let (two, one) = (scale(5), scale(1));
    let refused = world.try_as(&agent, owner, vec![two.into()]);
    assert!(is_over_budget(&refused), "{refused:?}");
    world.try_as(&agent, owner, vec![one.into()]).unwrap();
}

#[test]
fn a_budget_ends_with_what_it_bore() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy]);
    let one = deploy(&world, "one");
    world.try_as(&agent, owner, one).unwrap();
    let app = world.app("one");
    world.run(vec![
        allod_state::app::Delete {
            app,
            drops_volumes: true,
        }
        .into(),
    ]);
    let two = deploy(&world, "two");
    world.try_as(&agent, owner, two).unwrap();
    // The owner's own revision of it is in nobody's budget.
    let taken_over = deploy(&world, "two");
    world.run(taken_over);
    let three = deploy(&world, "three");
    world.try_as(&agent, owner, three).unwrap();
}

#[test]
fn a_key_for_some_nodes_lists_no_others() {
    let mut world = World::new();
    let (owner, agent, machine) = (world.owner.account, Person::new(9), Person::new(12));
    let grant = Grant {
        verbs: BTreeSet::from([Verb::Nodes]),
        nodes: NodeSelector::Only(BTreeSet::from([world.node])),
        ..Grant::full()
    };
    let key = agent.key;
    world.run(vec![AddKey { key, grant }.into()]);
    let consent = RegisterNode::consent_bytes(&owner, &[3; 32]);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "mine".parse().unwrap(),
    };
    let refused = world.try_as(&agent, owner, vec![register.into()]);
    assert_eq!(refused, Err(Rejection::ResourceNotGranted));
    let id = NodeId::of_first_key(&machine.key);
    assert!(world.state.node(&id).is_none());
}
