//! Where a replica may be: with nodes that can read its manifest, and together with its app's other services.

use std::collections::BTreeSet;

use allod_state::app::{Delete, Deploy, Wrap};
use allod_state::lease::{EndCause, Lease, Phase, Report, ReportLease};
use allod_state::node::{CordonNode, DrainNode, PublishOffer, WithdrawOffer};
use allod_state::place::Failing;
use allod_state::{AccountId, LeaseId, NodeId, Rejection};

use crate::pool::{Pool, list};
use crate::world::{Person, World, web, with_volume};

/// A network of two equal machines of one owner.
fn of_two() -> (World, [NodeId; 2]) {
    let mut world = World::new();
    let machine = Person::new(3);
    let owner = world.owner.clone();
    list(&mut world, &machine, &owner);
    let second = NodeId::of_first_key(&machine.key);
    let nodes = [world.node, second];
    (world, nodes)
}

fn sealed_for(mut deploy: Deploy, holders: &[[u8; 32]]) -> Deploy {
    let wrap = |holder: &[u8; 32]| Wrap {
        holder: *holder,
        key: vec![1],
    };
    deploy.manifest.wraps = holders.iter().map(wrap).collect();
    deploy
}

fn nodes_of(world: &World, app: &str) -> Vec<NodeId> {
    let leases = world.active(app);
    leases.iter().map(|(_, lease)| lease.node).collect()
}

fn failing(outcome: Result<(), Rejection>) -> Vec<(NodeId, Vec<Failing>)> {
    let Err(Rejection::NoPlacement { why }) = outcome else {
        panic!("it is placed: {outcome:?}");
    };
    let refusals = why.refusals.into_iter();
    refusals
        .map(|refusal| (refusal.node, refusal.failing))
        .collect()
}

#[test]
fn a_replica_goes_to_nodes_alone_that_can_read_its_manifest() {
    let (mut world, nodes) = of_two();
    let owner = world.owner.account.0;
    for (name, node) in [("a", nodes[0]), ("b", nodes[1])] {
        let deploy = world.deploy(name, &[("web", web(3))], 1);
        world.run(vec![sealed_for(deploy, &[owner, node.0]).into()]);
        assert_eq!(nodes_of(&world, name), [node; 3]);
    }
    // Sealed for accounts alone, it is handed over in some other way.
    let deploy = world.deploy("c", &[("web", web(2))], 1);
    world.run(vec![sealed_for(deploy, &[owner]).into()]);
    assert_eq!(world.active("c").len(), 2);
}

#[test]
fn a_replica_whose_readers_have_no_room_is_told_so_and_goes_nowhere_else() {
    let (mut world, nodes) = of_two();
    let mut large = web(1);
    large.resources.cpu_milli = 3_000;
    for name in ["a", "b"] {
        let deploy = world.deploy(name, &[("web", large.clone())], 1);
        let outcome = world.try_run(vec![sealed_for(deploy, &[nodes[1].0]).into()]);
        if name == "a" {
            outcome.unwrap();
            continue;
        }
        let mut refusals = failing(outcome);
        refusals.sort_by_key(|(node, _)| *node != nodes[0]);
        assert_eq!(refusals[0], (nodes[0], vec![Failing::NotSealed]));
        assert!(matches!(refusals[1].1[..], [Failing::Cpu { .. }]));
    }
    // After a failure, too.
    let (lease, row) = world.active("a")[0].clone();
    assert_eq!(row.node, nodes[1]);
    let cordon = CordonNode {
        node: nodes[1],
        is_cordoned: true,
    };
    world.run(vec![cordon.into()]);
    let machine = Person::new(3);
    let report = ReportLease {
        lease,
        epoch: row.epoch,
        report: Report::Ended(EndCause::Exited { code: 1 }),
    };
    let account = world.owner.account;
    world
        .try_as(&machine, account, vec![report.into()])
        .unwrap();
    for _ in 0..3 {
        world.wait(600_000);
        assert_eq!(nodes_of(&world, "a"), []);
    }
    let cordon = CordonNode {
        node: nodes[1],
        is_cordoned: false,
    };
    world.run(vec![cordon.into()]);
    world.wait(600_000);
    assert_eq!(nodes_of(&world, "a"), [nodes[1]]);
}

#[test]
fn services_that_are_to_be_together_are_or_it_is_told_why_not() {
    let (mut world, nodes) = of_two();
    let mut small = web(1);
    small.resources.cpu_milli = 100;
    small.constraints.is_together = true;
    let services = ["cache", "web", "work"].map(|name| (name, small.clone()));
    for at in 0..9 {
        let name = format!("app{at}");
        let deploy = world.deploy(&name, &services, 1);
        world.run(vec![deploy.into()]);
        let on = nodes_of(&world, &name);
        assert!(on.iter().all(|node| *node == on[0]), "{on:?}");
    }
    // What is left of both machines would do for one of two services, and on neither for both.
    let mut half = small.clone();
    let offer = world.state.node(&nodes[0]).unwrap().offer.unwrap();
    half.resources.memory_bytes = offer.capacity.memory_bytes / 4;
    let deploy = world.deploy("halves", &[("a", half.clone()), ("b", half)], 1);
    for (_, failing) in failing(world.try_run(vec![deploy.into()])) {
        assert!(
            matches!(failing[..], [Failing::Memory { .. }]),
            "{failing:?}"
        );
    }
}

#[test]
fn services_that_are_to_be_together_follow_the_data_of_one_of_them() {
    let (mut world, nodes) = of_two();
    let mut small = web(1);
    small.constraints.is_together = true;
    let mut data = small.clone();
    data.volumes = [(allod_state::Label([1; 32]), 1)].into();
    let services = [("web", small), ("data", data)];
    for at in 0..6 {
        let name = format!("app{at}");
        let deploy = world.deploy(&name, &services, 1);
        world.run(vec![deploy.clone().into()]);
        let home = nodes_of(&world, &name)[0];
        let (app, drops_volumes) = (world.app(&name), false);
        world.run(vec![Delete { app, drops_volumes }.into()]);
        // The other machine would be the cheaper one now.
        let node = home;
        let mut offer = world.state.node(&home).unwrap().offer.unwrap();
        offer.prices.cpu_core_hour = crate::world::credits("9");
        world.run(vec![PublishOffer { node, offer }.into(), deploy.into()]);
        assert_eq!(nodes_of(&world, &name), [home, home]);
        let (app, drops_volumes) = (world.app(&name), true);
        world.run(vec![Delete { app, drops_volumes }.into()]);
        let offer = world
            .state
            .node(&nodes[usize::from(home == nodes[0])])
            .unwrap()
            .offer
            .unwrap();
        world.run(vec![PublishOffer { node, offer }.into()]);
    }
}

/// Has every lease that is not ready told as ready, by the machine that has it, and lets placement go on; until all are.
fn settle(world: &mut World, app: &str) {
    loop {
        world.wait(1);
        let leases = world.active(app).into_iter();
        let mut placed = leases.filter(|(_, lease)| lease.phase == Phase::Placed);
        let Some((lease, row)) = placed.next() else {
            return;
        };
        tell_ready(world, lease, &row);
    }
}

/// The machine that has a lease tells that it is ready.
fn tell_ready(world: &mut World, lease: LeaseId, row: &Lease) {
    let machine = Person::new(if row.node == world.node { 2 } else { 3 });
    let (epoch, report) = (row.epoch, Report::Ready);
    let report = ReportLease {
        lease,
        epoch,
        report,
    };
    let account = world.owner.account;
    world
        .try_as(&machine, account, vec![report.into()])
        .unwrap();
}

#[test]
fn a_drained_node_gives_its_replicas_away_one_after_the_other_the_new_one_first() {
    let (mut world, nodes) = of_two();
    let mut small = web(3);
    small.resources.cpu_milli = 100;
    small.resources.memory_bytes = 1 << 26;
    let mut pair = small.clone();
    pair.replicas = 1;
    pair.constraints.is_together = true;
    let mut data = pair.clone();
    data.constraints.is_together = false;
    data.volumes = [(allod_state::Label([1; 32]), 1)].into();
    world.run(vec![
        world.deploy("web", &[("web", small)], 1).into(),
        world
            .deploy("pair", &[("a", pair.clone()), ("b", pair)], 1)
            .into(),
        world.deploy("data", &[("data", data)], 1).into(),
    ]);
    for app in ["web", "pair", "data"] {
        settle(&mut world, app);
    }
    for drained in [nodes[0], nodes[1], nodes[0]] {
        let other = nodes[usize::from(drained == nodes[0])];
        let before = nodes_of(&world, "data");
        world.run(vec![DrainNode { node: drained }.into()]);
        for step in 0.. {
            assert!(step < 100, "it is never empty");
            world.wait(1);
            let serving = world.active("web").into_iter();
            let ready = serving.filter(|(_, lease)| matches!(lease.phase, Phase::Ready { .. }));
            assert!(ready.count() >= 3, "one is gone before the next is there");
            assert!(world.active("web").len() <= 4, "more than one at a time");
            let all: Vec<NodeId> = ["web", "pair"]
                .iter()
                .flat_map(|app| nodes_of(&world, app))
                .collect();
            if all.iter().all(|node| *node == other) {
                break;
            }
            for app in ["web", "pair"] {
                let lease = world
                    .active(app)
                    .into_iter()
                    .find(|(_, lease)| lease.phase == Phase::Placed);
                if let Some((lease, row)) = lease {
                    tell_ready(&mut world, lease, &row);
                }
            }
        }
        assert_eq!(
            nodes_of(&world, "data"),
            before,
            "its data are where they are"
        );
        let (node, is_cordoned) = (drained, false);
        world.run(vec![CordonNode { node, is_cordoned }.into()]);
        world.wait(600_000);
        assert_eq!(
            nodes_of(&world, "web"),
            [other; 3],
            "nothing moves back by itself"
        );
    }
}

#[test]
fn where_nothing_else_fits_a_drained_node_keeps_what_it_has() {
    let (mut world, nodes) = of_two();
    let node = nodes[1];
    world.run(vec![WithdrawOffer { node }.into()]);
    let deploy = world.deploy("web", &[("web", web(2))], 1);
    world.run(vec![deploy.into()]);
    settle(&mut world, "web");
    world.run(vec![DrainNode { node: nodes[0] }.into()]);
    for _ in 0..4 {
        world.wait(600_000);
        assert_eq!(nodes_of(&world, "web"), [nodes[0]; 2]);
    }
    let refusals = failing(world.try_run(vec![world.deploy("b", &[("web", web(1))], 1).into()]));
    let is_told = |of: NodeId, why: Failing| {
        let mut refusals = refusals.iter();
        refusals.any(|(node, failing)| *node == of && failing.contains(&why))
    };
    assert!(is_told(node, Failing::NoOffer));
    assert!(is_told(nodes[0], Failing::Cordoned));
}

#[test]
fn replicas_are_spread_over_operators_and_over_regions() {
    let mut pool = Pool::of_owners(4);
    let mut apart = web(5);
    apart.constraints.replicas_per_operator_max = Some(1);
    let deploy = pool.world.deploy("a", &[("web", apart.clone())], 1);
    pool.world.run(vec![deploy.into()]);
    let operators = |pool: &Pool, app| -> BTreeSet<AccountId> {
        let nodes = nodes_of(&pool.world, app).into_iter();
        nodes
            .map(|node| pool.world.state.node(&node).unwrap().operator)
            .collect()
    };
    assert_eq!(operators(&pool, "a").len(), 5, "one with each");
    // A sixth has nowhere to go, and each operator is a reason.
    apart.replicas = 6;
    let deploy = pool.world.deploy("b", &[("web", apart)], 1);
    for (node, rules) in failing(pool.world.try_run(vec![deploy.into()])) {
        let operator = pool.world.state.node(&node).unwrap().operator;
        let (count, max) = (1, 1);
        let told = Failing::SpreadOperator {
            operator,
            count,
            max,
        };
        assert_eq!(rules, [told]);
    }

    // Two regions, of two and three machines.
    for (number, (machine, owner)) in pool.machines.clone().iter().enumerate() {
        let node = NodeId::of_first_key(&machine.key);
        let mut offer = pool.world.state.node(&node).unwrap().offer.unwrap();
        offer.region = if number < 2 { "eu" } else { "us" }.parse().unwrap();
        let offer = PublishOffer { node, offer };
        pool.world
            .try_as(owner, owner.account, vec![offer.into()])
            .unwrap();
    }
    let mut apart = web(4);
    apart.constraints.replicas_per_region_max = Some(2);
    let deploy = pool.world.deploy("c", &[("web", apart.clone())], 1);
    pool.world.run(vec![deploy.into()]);
    let regions: Vec<String> = nodes_of(&pool.world, "c")
        .into_iter()
        .map(|node| {
            pool.world
                .state
                .node(&node)
                .unwrap()
                .offer
                .unwrap()
                .region
                .to_string()
        })
        .collect();
    assert_eq!(regions.iter().filter(|region| *region == "eu").count(), 2);
    apart.replicas = 5;
    let deploy = pool.world.deploy("d", &[("web", apart)], 1);
    for (_, rules) in failing(pool.world.try_run(vec![deploy.into()])) {
        assert!(
            matches!(
                rules[..],
                [Failing::SpreadRegion {
                    count: 2,
                    max: 2,
                    ..
                }]
            ),
            "{rules:?}"
        );
    }
}

#[test]
fn a_replica_that_stops_first_does_not_stand_in_its_own_way() {
    let mut pool = Pool::of_owners(2);
    let mut alone = with_volume(&pool.world, "a");
    alone.constraints.replicas_per_node_max = Some(1);
    let deploy = pool.world.deploy("a", &[("db", alone.clone())], 1);
    pool.world.run(vec![deploy.into()]);
    let deploy = pool.world.deploy("a", &[("db", alone)], 2);
    pool.world.run(vec![deploy.into()]);
    let active = pool.world.active("a");
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].1.revision, 2);
}

#[test]
fn a_replica_that_is_replaced_does_not_stand_in_its_own_way() {
    let mut pool = Pool::of_owners(2);
    let mut apart = web(3);
    apart.constraints.replicas_per_operator_max = Some(1);
    let deploy = pool.world.deploy("a", &[("web", apart.clone())], 1);
    pool.world.run(vec![deploy.into()]);
    let deploy = pool.world.deploy("a", &[("web", apart)], 2);
    pool.world.run(vec![deploy.into()]);
    let revisions: Vec<u64> = pool
        .world
        .active("a")
        .iter()
        .map(|(_, lease)| lease.revision)
        .collect();
    assert!(revisions.contains(&2), "{revisions:?}");
}

#[test]
fn a_drain_that_is_called_off_leaves_no_move_half_done() {
    let (mut world, nodes) = of_two();
    let mut pair = web(1);
    pair.constraints.is_together = true;
    let both = [("a", pair.clone()), ("b", pair)];
    world.run(vec![
        world.deploy("pair", &both, 1).into(),
        world.deploy("web", &[("web", web(1))], 1).into(),
    ]);
    let here = nodes_of(&world, "pair")[0];
    let elsewhere = nodes[usize::from(nodes[0] == here)];
    if nodes_of(&world, "web") != [here] {
        world.run(vec![DrainNode { node: elsewhere }.into()]);
        world.wait(1);
    }
    for app in ["pair", "web"] {
        settle(&mut world, app);
    }
    let resume = |node| CordonNode {
        node,
        is_cordoned: false,
    };
    world.run(vec![resume(elsewhere).into()]);
    let sorted = |world: &World, app: &str| {
        let mut nodes = nodes_of(world, app);
        nodes.sort();
        nodes
    };
    world.run(vec![DrainNode { node: here }.into()]);
    world.wait(1);
    assert_eq!(world.active("pair").len() + world.active("web").len(), 6);
    world.run(vec![resume(here).into()]);
    world.wait(600_000);
    assert_eq!(sorted(&world, "pair"), [here; 2]);
    assert_eq!(sorted(&world, "web"), [here]);
    // Where one of two that are together has left, the other follows it all the same.
    world.run(vec![DrainNode { node: here }.into()]);
    world.wait(1);
    let (lease, row) = world
        .active("pair")
        .into_iter()
        .find(|(_, lease)| lease.node == elsewhere)
        .unwrap();
    tell_ready(&mut world, lease, &row);
    world.run(vec![resume(here).into()]);
    world.wait(1);
    settle(&mut world, "pair");
    assert_eq!(sorted(&world, "pair"), [elsewhere; 2]);
    // What stays can be replaced as before, and what was to be replaced meanwhile is.
    world.run(vec![DrainNode { node: here }.into()]);
    world.wait(1);
    let revised = world.deploy("web", &[("web", web(1))], 2);
    world.run(vec![revised.into(), resume(here).into()]);
    world.wait(1);
    settle(&mut world, "web");
    let all = world.active("web");
    assert_eq!((all.len(), all[0].1.revision), (1, 2));
}
