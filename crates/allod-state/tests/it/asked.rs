//! Placement asks few nodes and answers as if it had asked all: held against asking every node every rule, one by one,
//! in a network of hundreds of machines that differ in everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use allod_state::app::{App, Constraints, Demand, Wrap};
use allod_state::codec;
use allod_state::genesis::{Founder, Genesis};
use allod_state::node::{
    CordonNode, Isolation, Offer, Prices, PublishOffer, RegisterNode, Resources,
};
use allod_state::place::{Found, Refusal, Verdict, Wanted, WhyNot, find, verdicts};
use allod_state::{Action, Credits, Digest, Label, NodeId, State};
use proptest::prelude::*;

use crate::audit::Audit;
use crate::dice::Dice;
use crate::world::{GIB, Person, World, credits, web};

const OPERATORS: u8 = 6;
const MACHINES_EACH: u64 = 50;
const LISTED: usize = 16;
const SCORED: usize = 16;
const REGIONS: [&str; 4] = ["eu", "eu-west", "asia", "us"];
const TAGS: [&str; 3] = ["ssd", "gpu", "quiet"];
const CLASSES: [Isolation; 2] = [Isolation::Container, Isolation::Vm];

/// Three hundred machines, some cordoned and some without an offer, and apps that take parts of them.
static FAIR: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new();
    let people: Vec<Person> = (0..OPERATORS).map(|at| Person::new(40 + at)).collect();
    let mut genesis = Genesis::of_one(world.owner.key, world.machine.key, 1_000_000, [9; 32]);
    let founder = Founder {
        balance: credits("100000"),
        line: Credits::ZERO,
    };
    genesis.founders = people.iter().map(|one| (one.key, founder)).collect();
    genesis.founders.insert(world.owner.key, founder);
    let (state, writes) = genesis.state();
    (world.state, world.writes) = (state, writes);
    for (at, person) in (0..).zip(&people) {
        for number in 0..MACHINES_EACH {
            let machine = Person::numbered(at * MACHINES_EACH + number);
            let bytes = codec::hash("machine", &(at, number));
            let actions = listed(person, &machine, &mut Dice::new(&bytes));
            let done = world.try_as(person, person.account, actions);
            done.expect("an operator may list machines");
        }
    }
    world.owner = people[0].clone();
    let mut tiny = web(70);
    tiny.resources.cpu_milli = 100;
    let mut data = web(1);
    data.volumes = BTreeMap::from([(volume(0), GIB)]);
    let services = [("a", web(60)), ("b", tiny), ("c", data)];
    world.run(vec![world.deploy("shop", &services, 1).into()]);
    // The same again, and few nodes can read it.
    let mut sealed = world.deploy("shop", &services, 1);
    let some = world.state.nodes().step_by(20).map(|(id, _)| id.0);
    let wrap = |holder| Wrap {
        holder,
        key: vec![1],
    };
    sealed.manifest.wraps = some.chain([[9; 32]]).map(wrap).collect();
    world.run(vec![sealed.into()]);
    world
});

fn volume(number: u8) -> Label {
    Label([number; 32])
}

fn listed(operator: &Person, machine: &Person, dice: &mut Dice<'_>) -> Vec<Action> {
    let consent = RegisterNode::consent_bytes(&operator.account, &[3; 32]);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "host".parse().unwrap(),
    };
    let node = NodeId::of_first_key(&machine.key);
    let mut actions: Vec<Action> = vec![register.into()];
    if !dice.once_in(16) {
        let offer = Offer {
            capacity: Resources {
                cpu_milli: dice.pick(&[250, 1_000, 4_000]),
                memory_bytes: dice.pick(&[GIB / 4, 2 * GIB, 8 * GIB]),
                storage_bytes: dice.pick(&[GIB / 2, 100 * GIB]),
            },
            prices: Prices {
                cpu_core_hour: dice.pick(&["0.01", "0.02", "0.03"]).parse().unwrap(),
                memory_gib_hour: credits("0.005"),
                storage_gib_hour: credits("0.0001"),
            },
            isolation: dice.some(&CLASSES).into_iter().collect(),
            region: dice.pick(&REGIONS).parse().unwrap(),
            tags: dice
                .some(&TAGS)
                .iter()
                .map(|tag| tag.parse().unwrap())
                .collect(),
        };
        actions.push(PublishOffer { node, offer }.into());
    }
    let is_cordoned = dice.once_in(12);
    if is_cordoned {
        actions.push(CordonNode { node, is_cordoned }.into());
    }
    actions
}

/// Any demand, often one that some nodes can meet.
fn demand(dice: &mut Dice<'_>) -> Demand {
    let words = |words: Vec<&str>| words.iter().map(|word| word.parse().unwrap()).collect();
    let mut constraints = Constraints::default();
    if dice.once_in(2) {
        constraints.regions = words(dice.some(&REGIONS));
    }
    if dice.once_in(2) {
        constraints.tags = words(dice.some(&TAGS));
    }
    if dice.once_in(3) {
        let price = dice.pick(&["0.000001", "0.008", "0.02"]);
        constraints.price_per_hour_max = Some(price.parse().unwrap());
    }
    if dice.once_in(3) {
        constraints.replicas_per_node_max = Some(dice.pick(&[0, 1, 2]));
    }
    if dice.once_in(6) {
        constraints.replicas_per_operator_max = Some(dice.pick(&[0, 1, 10, 100]));
    }
    if dice.once_in(6) {
        constraints.replicas_per_region_max = Some(dice.pick(&[0, 1, 20, 200]));
    }
    if dice.once_in(6) {
        constraints.reputation_ppm_min = Some(dice.pick(&[0, 500_000, 500_001]));
    }
    if dice.once_in(6) {
        constraints.attested_ms_min = Some(dice.pick(&[0, 1, 1_000]));
    }
    constraints.is_together = dice.once_in(4);
    let operators: Vec<_> = (0..OPERATORS)
        .map(|at| Person::new(40 + at).account)
        .collect();
    if dice.once_in(4) {
        constraints.operators_allowed = dice.some(&operators).into_iter().collect();
    }
    if dice.once_in(4) {
        constraints.operators_denied = dice.some(&operators).into_iter().collect();
    }
    let mut volumes = BTreeMap::new();
    if dice.once_in(6) {
        volumes = BTreeMap::from([(volume(dice.pick(&[0, 1])), GIB)]);
    }
    Demand {
        resources: Resources {
            cpu_milli: dice.pick(&[100, 500, 3_000, 5_000]),
            memory_bytes: dice.pick(&[GIB / 8, GIB, 9 * GIB]),
            storage_bytes: dice.pick(&[1, GIB, 200 * GIB]),
        },
        isolation: dice.pick(&CLASSES),
        volumes,
        constraints,
        content: Digest([0; 32]),
        ..web(1)
    }
}

/// What every node says, from the point on that the replica's hash chooses.
fn ring(state: &State, wanted: &Wanted<'_>) -> Vec<Verdict> {
    let start = NodeId(codec::hash(
        "allod placement v1",
        &(wanted.slot, wanted.epoch),
    ));
    let mut all = verdicts(state, wanted, None, usize::MAX);
    all.sort_by_key(|verdict| (verdict.node < start, verdict.node));
    all
}

/// The answer that follows from asking everybody.
fn the_long_way(state: &State, wanted: &Wanted<'_>) -> Result<Found, WhyNot> {
    let all = ring(state, wanted);
    let memory_left = |node: &NodeId| {
        let offer = state.node(node).unwrap().offer.unwrap();
        let mut used = state.used_on(node);
        if let Some((_, freed)) = wanted.freed.filter(|(on, _)| on == node) {
            used = used.minus(freed);
        }
        offer.capacity.minus(used).memory_bytes
    };
    let (app, service, _) = wanted.slot;
    let passing = all.iter().filter(|verdict| verdict.failing.is_empty());
    let best = passing.take(SCORED).min_by_key(|verdict| {
        (
            state.replicas_on(&verdict.node, app, service),
            verdict.price_per_hour,
            memory_left(&verdict.node),
        )
    });
    if let Some(verdict) = best {
        return Ok(Found {
            node: verdict.node,
            price_per_hour: verdict.price_per_hour.unwrap(),
        });
    }
    let nodes = u32::try_from(all.len()).unwrap();
    let mut refusals: Vec<Refusal> = all
        .into_iter()
        .map(|verdict| Refusal {
            node: verdict.node,
            failing: verdict.failing,
        })
        .collect();
    refusals.sort_by_key(|refusal| refusal.failing.len());
    refusals.truncate(LISTED);
    Err(WhyNot { nodes, refusals })
}

fn app_of(state: &State) -> (allod_state::AppId, App) {
    let (id, app) = state.apps().next().expect("one was deployed");
    (*id, app.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_answer_is_that_of_asking_every_node_every_rule(bytes: [u8; 48]) {
        let state = &FAIR.state;
        let mut dice = Dice::new(&bytes);
        let demand = demand(&mut dice);
        let (id, app) = app_of(state);
        let service = Label::of(app.label.as_bytes(), dice.pick(&["a", "b", "c", "new"]));
        let slot = (id, service, u32::from(dice.byte()));
        let freed = dice.once_in(3).then(|| {
            let nodes: Vec<NodeId> = state.nodes().map(|(id, _)| *id).collect();
            (dice.pick(&nodes), web(1).resources)
        });
        let revision = dice.pick(&[1, 2]);
        let epoch = dice.number();
        let strangers_max = dice.once_in(4).then(|| credits(dice.pick(&["0", "0.008", "0.02"])));
        let wanted = Wanted { slot: &slot, epoch, app: &app, revision, demand: &demand, freed, strangers_max };
        let (mut effort, mut again) = (0, 0);
        let found = find(state, &wanted, &mut effort);
        prop_assert_eq!(&found, &the_long_way(state, &wanted));
        // A state that was built again from its rows in another order looks at exactly as much.
        prop_assert_eq!(&find(&RESTORED, &wanted, &mut again), &found);
        prop_assert_eq!(effort, again);
    }
}

static RESTORED: LazyLock<State> = LazyLock::new(|| {
    let header = &FAIR.last.as_ref().unwrap().block.header;
    let mut rows = Audit::of(FAIR.writes.clone()).rows();
    rows.sort_by_key(|(key, _)| codec::hash("shuffled", key));
    State::restore(header, rows).expect("the rows have the root")
});

/// Where everybody refuses by terms alone, a search asks each of the terms and few nodes.
#[test]
fn a_refusal_by_terms_does_not_go_over_the_nodes() {
    let mut demand = web(1);
    demand.constraints.tags = BTreeSet::from(["nowhere".parse().unwrap()]);
    let (id, app) = app_of(&FAIR.state);
    let slot = (id, Label([1; 32]), 0);
    let wanted = Wanted {
        slot: &slot,
        epoch: 1,
        app: &app,
        revision: 1,
        demand: &demand,
        freed: None,
        strangers_max: None,
    };
    let mut uniform = World::new();
    let one_more = |number: u64| {
        let machine = Person::numbered(number);
        let mut actions = listed(&uniform.owner, &machine, &mut Dice::new(&[0; 9]));
        if let Some(Action::PublishOffer(publish)) = actions.last_mut() {
            publish.offer.isolation = BTreeSet::from([Isolation::Container]);
        }
        actions
    };
    let lists: Vec<_> = (0..60).map(one_more).collect();
    for actions in lists {
        uniform.run(actions);
    }
    let mut effort = 0;
    let why = find(&uniform.state, &wanted, &mut effort).unwrap_err();
    assert_eq!((why.nodes, why.refusals.len()), (61, LISTED));
    let listing = 16 * allod_state::limits::EFFORT_PER_REFUSAL;
    assert!(effort - listing < 100, "{effort}");
}
