//! Hostile work: blocks whose transactions are cheap by their size and dear by what they make the law look at. What is
//! bounded here is counted, not timed: `examples/law hostile` times it.

use std::collections::BTreeMap;

use allod_state::app::{Delete, Demand, Scale, Waiting};
use allod_state::lease::{EndCause, Report, ReportLease};
use allod_state::limits::{
    EFFORT_MAX, EFFORT_PER_NODE, EFFORT_PER_REFUSAL, EFFORT_PER_WORK, PLACEMENT_EFFORT_MAX,
};
use allod_state::node::{CordonNode, PublishOffer, RegisterNode};
use allod_state::place::{Wanted, find};
use allod_state::transaction::Verified;
use allod_state::{
    Action, Executed, InvalidBlock, Label, NodeId, Proposal, Transaction, build, execute,
};

use crate::world::{Person, World, web};

/// The world with so many machines more, which offer what its own does.
fn crowded(machines: u8) -> World {
    let mut world = World::new();
    let owner = world.owner.account;
    let own = world.state.node(&world.node).and_then(|node| node.offer);
    for seed in 0..machines {
        let machine = Person::new(100 + seed);
        let consent = RegisterNode::consent_bytes(&owner, &[3; 32]);
        let register = RegisterNode {
            key: machine.key,
            consent: machine.sign(&consent),
            sealing_key: [3; 32],
            name: "more".parse().unwrap(),
        };
        let node = NodeId::of_first_key(&machine.key);
        let offer = own.clone().unwrap();
        world.run(vec![register.into(), PublishOffer { node, offer }.into()]);
    }
    world
}

/// A demand with the longest lists, which every node refuses by a rule that has to be asked of each.
fn refused_by_each() -> Demand {
    let mut demand = picky();
    let owner = Person::new(1).account;
    demand.constraints.replicas_per_node_max = None;
    demand.constraints.operators_allowed.remove(&owner);
    demand
}

/// A demand with the longest lists, which takes no node.
fn picky() -> Demand {
    let mut demand = web(1);
    let words = (0..63).map(|at| format!("a{at}").parse().unwrap());
    demand.constraints.regions = words.collect();
    demand.constraints.regions.insert("local".parse().unwrap());
    demand.constraints.replicas_per_node_max = Some(0);
    let people = (0..64).map(|at| Person::new(at).account);
    demand.constraints.operators_allowed = people.collect();
    demand
}

/// Transactions of the owner's, one action each, with the nonces that follow one another.
fn queue(world: &World, actions: impl IntoIterator<Item = Action>) -> Vec<Verified> {
    let owner = world.owner.clone();
    let mut transactions: Vec<Transaction> = actions
        .into_iter()
        .map(|action| world.signed(&owner, owner.account, vec![action]))
        .collect();
    for (at, transaction) in transactions.iter_mut().enumerate() {
        transaction.body.nonce += u64::try_from(at).unwrap();
        transaction.signature = owner.sign(&transaction.body.sign_bytes());
    }
    Verified::batch(transactions).unwrap()
}

fn proposal<'a>(world: &World, transactions: &'a [Verified]) -> Proposal<'a> {
    Proposal {
        time_ms: world.now_ms() + 1,
        proposer: world.machine.key,
        transactions,
    }
}

fn built(world: &World, transactions: &[Verified]) -> Executed {
    let (executed, left_out) = build(&world.state, &proposal(world, transactions)).unwrap();
    assert!(
        left_out.is_empty(),
        "what finds no room waits: {left_out:?}"
    );
    assert!(executed.effort[0] <= EFFORT_MAX);
    executed
}

#[test]
fn examining_nodes_fills_a_block_however_small_its_transactions_are() {
    let world = crowded(59);
    let label = |at: u64| Label::of(&[1; 32], &at.to_string());
    // Most of the block is filled by what is refused unseen and still counted by its size.
    let mut unseen = web(490);
    unseen.resources.cpu_milli = 0;
    let names: Vec<String> = (0..10).map(|at| at.to_string()).collect();
    let services: Vec<(&str, Demand)> = names
        .iter()
        .map(|name| (name.as_str(), unseen.clone()))
        .collect();
    let unseen = (0..9).map(|_| world.deploy("unseen", &services, 1).into());
    let deploys = (0..400).map(|at| {
        let mut deploy = world.deploy("x", &[("web", refused_by_each())], 1);
        deploy.label = label(at);
        deploy.into()
    });
    let transactions = queue(&world, unseen.chain(deploys));
    let executed = built(&world, &transactions);
    let count = executed.receipts.len();
    assert!(count < transactions.len(), "{count} found room");
    let by_size: u64 = executed.receipts.iter().map(|one| one.work).sum();
    let examined = executed.effort[0] - by_size * EFFORT_PER_WORK;
    let refused = u64::try_from(count - 9).unwrap();
    assert!(examined > refused * 60 * 50, "{examined} for {refused}");
    assert!(executed.effort[0] > EFFORT_MAX - 6_000, "full");
    // One more than fits is no valid block, and exactly what fits is.
    let too_large = execute(&world.state, &proposal(&world, &transactions[..=count]));
    assert_eq!(too_large.unwrap_err(), InvalidBlock::TooLarge);
    let exact = execute(&world.state, &proposal(&world, &transactions[..count])).unwrap();
    assert_eq!(exact.block.header, executed.block.header);
    // What found no room left no trace.
    let key = executed.state.key(&world.owner.account, &world.owner.key);
    let nonce = transactions[0].transaction().body.nonce;
    assert_eq!(key.unwrap().nonce, nonce + u64::try_from(count).unwrap());
}

#[test]
fn scaling_one_service_does_not_go_over_the_others() {
    let mut world = crowded(40);
    let mut tiny = web(25);
    (tiny.resources.cpu_milli, tiny.resources.storage_bytes) = (1, 1);
    tiny.resources.memory_bytes = 1;
    let names: Vec<String> = (0..10).map(|at| at.to_string()).collect();
    let services: Vec<(&str, Demand)> = names
        .iter()
        .map(|name| (name.as_str(), tiny.clone()))
        .collect();
    world.run(vec![world.deploy("big", &services, 1).into()]);
    let scale = Scale {
        app: world.app("big"),
        service: Label::of(world.app_label("big").as_bytes(), "0"),
        replicas: 25,
    };
    let work = Action::from(scale.clone()).work() * EFFORT_PER_WORK;
    let executed = built(&world, &queue(&world, [scale.into()]));
    assert!(executed.effort[0] - work < 25 * 10, "{:?}", executed.effort);
}

#[test]
fn ending_many_leases_is_counted_although_asking_for_it_is_short() {
    let mut world = crowded(40);
    let mut tiny = web(250);
    (tiny.resources.cpu_milli, tiny.resources.memory_bytes) = (1, 1);
    tiny.resources.storage_bytes = 1;
    world.run(vec![world.deploy("big", &[("web", tiny)], 1).into()]);
    let delete = Delete {
        app: world.app("big"),
        drops_volumes: true,
    };
    let executed = built(&world, &queue(&world, [delete.into()]));
    assert!(executed.effort[0] > 250 * 100, "{:?}", executed.effort);
}

#[test]
fn a_volume_is_asked_for_once_and_not_on_every_node() {
    let world = crowded(59);
    let app = {
        let mut world = world.clone();
        world.run(vec![world.deploy("shop", &[("web", web(40))], 1).into()]);
        world.state.app(&world.app("shop")).unwrap()
    };
    let mut demand = web(1);
    demand.volumes = BTreeMap::from([(Label([1; 32]), 1)]);
    demand.constraints.replicas_per_node_max = Some(0);
    let wanted = Wanted {
        slot: &(world_app(), Label([2; 32]), 0),
        epoch: 1,
        app: &app,
        revision: 1,
        demand: &demand,
        freed: None,
        strangers_max: None,
    };
    let mut effort = 0;
    let why = find(&world.state, &wanted, &mut effort).unwrap_err();
    assert_eq!(why.nodes, 60);
    let listing = 16 * (EFFORT_PER_NODE + EFFORT_PER_REFUSAL);
    let looking = effort - listing;
    assert!(looking < 60, "{effort}: to look, and to tell why");
}

fn world_app() -> allod_state::AppId {
    allod_state::AppId([3; 32])
}

#[test]
fn the_last_steps_leave_what_is_too_much_for_the_next_block() {
    let mut world = crowded(40);
    let mut tiny = picky();
    tiny.replicas = 300;
    tiny.constraints.replicas_per_node_max = None;
    (tiny.resources.cpu_milli, tiny.resources.memory_bytes) = (1, 1);
    tiny.resources.storage_bytes = 1;
    let services = [("a", tiny.clone()), ("b", tiny.clone()), ("c", tiny)];
    world.run(vec![world.deploy("big", &services, 1).into()]);
    let mut reports: BTreeMap<NodeId, Vec<Action>> = BTreeMap::new();
    for (lease, row) in world.active("big") {
        let report = ReportLease {
            lease,
            epoch: row.epoch,
            report: Report::Ended(EndCause::ProbeFailed),
        };
        reports.entry(row.node).or_default().push(report.into());
    }
    let owner = world.owner.clone();
    for actions in reports.into_values() {
        for actions in actions.chunks(60) {
            let reported = world.try_as(&owner, owner.account, actions.to_vec());
            reported.expect("the owner may report too");
        }
    }
    let nodes: Vec<NodeId> = world.state.nodes().map(|(id, _)| *id).collect();
    let is_cordoned = true;
    let cordon = |node| CordonNode { node, is_cordoned }.into();
    world.run(nodes.into_iter().map(cordon).collect());
    let told_why = |world: &World| {
        let slots = world.state.slots_of(&world.app("big")).into_iter();
        let waiting = slots.filter_map(|key| world.state.slot(&key)?.waiting);
        let told = waiting.filter(|why| matches!(why, Waiting::NoPlacement(_)));
        told.count()
    };
    world.wait(2_000);
    let first = told_why(&world);
    assert!(first > 300 && first < 900, "{first} in one block");
    let one_more = 41 * 100;
    let effort = world.last.as_ref().unwrap().effort[1];
    assert!(effort > PLACEMENT_EFFORT_MAX && effort <= PLACEMENT_EFFORT_MAX + one_more);
    world.wait(1);
    assert_eq!(told_why(&world), 900);
}
