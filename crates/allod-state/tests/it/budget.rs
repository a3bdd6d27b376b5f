//! A key's limits hold whichever way it goes about: by rotating itself, through somebody else's app, by listing machines.

use std::collections::BTreeSet;

use allod_state::account::grant::{Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RotateKey};
use allod_state::app::{Delete, RestartPolicy, Scale, Waiting};
use allod_state::lease::{EndCause, Report};
use allod_state::node::{PublishOffer, RegisterNode, Resources};
use allod_state::place::Failing;
use allod_state::{Action, Credits, Label, NodeId, Rejection, State};

use crate::audit::Audit;
use crate::world::{GIB, Person, World, credits, web};

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

/// Ends every replica of an app as its machine would.
fn fail_all(world: &mut World, name: &str) {
    for (id, _) in world.active(name) {
        world.report_lease(id, Report::Ended(EndCause::OutOfMemory));
    }
}

#[test]
fn a_budget_bears_replicas_that_wait_out_a_failure() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy, Verb::Delete]);
    let one = deploy(&world, "one");
    world.try_as(&agent, owner, one).unwrap();
    fail_all(&mut world, "one");
    assert!(world.active("one").is_empty(), "it waits");
    let two = deploy(&world, "two");
    let refused = world.try_as(&agent, owner, two.clone());
    assert!(is_over_budget(&refused), "{refused:?}");
    // A network that starts again counts the same.
    let header = &world.last.as_ref().unwrap().block.header;
    for is_reversed in [false, true] {
        let mut rows = Audit::of(world.writes.clone()).rows();
        if is_reversed {
            rows.reverse();
        }
        let mut again = World {
            state: State::restore(header, rows).unwrap(),
            ..world.clone()
        };
        let refused = again.try_as(&agent, owner, two.clone());
        assert!(is_over_budget(&refused), "{refused:?}");
    }
    // It is counted once when it runs again, and no more when it is gone.
    world.wait(2_000);
    assert_eq!(world.active("one").len(), 1);
    fail_all(&mut world, "one");
    let app = world.app("one");
    let delete = Delete {
        app,
        drops_volumes: true,
    };
    world.try_as(&agent, owner, vec![delete.into()]).unwrap();
    world.try_as(&agent, owner, two).unwrap();
}

#[test]
fn a_budget_bears_a_replica_once_when_it_runs_again() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy]);
    let one = deploy(&world, "one");
    world.try_as(&agent, owner, one).unwrap();
    let mut waited_ms = 2_000;
    for _ in 0..3 {
        fail_all(&mut world, "one");
        assert!(world.active("one").is_empty(), "it waits");
        world.wait(waited_ms);
        assert_eq!(world.active("one").len(), 1, "it runs again");
        waited_ms *= 2;
    }
    // Beside it the budget has room for a tenth of its like, and for no second one.
    let mut small = web(1);
    small.resources = Resources {
        cpu_milli: 10,
        memory_bytes: GIB / 64,
        storage_bytes: 0,
    };
    let small = vec![world.deploy("small", &[("web", small)], 1).into()];
    world.try_as(&agent, owner, small).unwrap();
    let two = deploy(&world, "two");
    let refused = world.try_as(&agent, owner, two);
    assert!(is_over_budget(&refused), "{refused:?}");
}

#[test]
fn a_replica_that_has_ended_for_good_is_in_no_budget() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy]);
    let mut job = web(1);
    job.restart = RestartPolicy::Never;
    let one = vec![world.deploy("one", &[("job", job)], 1).into()];
    world.try_as(&agent, owner, one).unwrap();
    let (id, _) = world.active("one")[0];
    world.report_lease(id, Report::Ended(EndCause::Exited { code: 0 }));
    let two = deploy(&world, "two");
    world.try_as(&agent, owner, two).unwrap();
}

/// The machine's offer, dearer by so much.
fn ask(world: &mut World, times: i128) {
    let mut offer = world.state.node(&world.node).unwrap().offer.unwrap();
    let micro = offer.prices.cpu_core_hour.micro() * times;
    offer.prices.cpu_core_hour = Credits::from_micro(micro);
    let node = world.node;
    world.run(vec![PublishOffer { node, offer }.into()]);
}

#[test]
fn a_replica_comes_back_where_its_budget_bears_it() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy]);
    let one = deploy(&world, "one");
    world.try_as(&agent, owner, one).unwrap();
    ask(&mut world, 100);
    fail_all(&mut world, "one");
    world.wait(2_000);
    assert!(world.active("one").is_empty(), "too dear");
    let slot = world.state.slots_of(&world.app("one"))[0];
    let waiting = world.state.slot(&slot).unwrap().waiting;
    let Some(Waiting::NoPlacement(why)) = waiting else {
        panic!("{waiting:?}");
    };
    let failing = &why.refusals[0].failing;
    assert!(
        matches!(failing[..], [Failing::Price { .. }]),
        "{failing:?}"
    );
    // What the owner deploys is in no budget.
    let dear = deploy(&world, "dear");
    world.run(dear);
    let node = world.node;
    let mut offer = world.state.node(&node).unwrap().offer.unwrap();
    offer.prices.cpu_core_hour = credits("0.01");
    world.run(vec![PublishOffer { node, offer }.into()]);
    world.wait(6_000);
    assert_eq!(world.active("one").len(), 1);
}

#[test]
fn a_revision_that_costs_more_than_the_budget_bears_is_refused() {
    let mut world = World::new();
    let owner = world.owner.account;
    let agent = limited_agent(&mut world, &[Verb::Deploy]);
    let one = deploy(&world, "one");
    world.try_as(&agent, owner, one).unwrap();
    let mut dearer = web(1);
    dearer.resources.cpu_milli = 2_000;
    let revise = world.deploy("one", &[("web", dearer)], 2);
    let refused = world.try_as(&agent, owner, vec![revise.into()]);
    assert!(is_over_budget(&refused), "{refused:?}");
    // One that costs the same rolls, although both run for a moment.
    let revise = world.deploy("one", &[("web", web(1))], 2);
    world.try_as(&agent, owner, vec![revise.into()]).unwrap();
    world.wait(1);
    assert_eq!(world.active("one").len(), 2);
}
