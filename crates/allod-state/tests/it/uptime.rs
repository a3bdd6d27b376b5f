//! What others have seen of a machine, and where a replica goes that asks for it.

use allod_state::app::{Delete, Deploy};
use allod_state::lease::Lease;
use allod_state::limits::STANDSTILL_MS;
use allod_state::node::{Counting, Day, Uptime, WithdrawOffer};
use allod_state::place::Failing;
use allod_state::{NodeId, Rejection};

use crate::pool::{Pool, list};
use crate::world::{Person, web};

const DAY_MS: u64 = 86_400_000;
const HALF: u32 = 500_000;

/// All that was watched, and all of it in which the machine was there.
fn sums(pool: &Pool, node: NodeId) -> (u64, u64) {
    let now_ms = pool.world.now_ms();
    let uptime = pool.world.state.uptime(&node).unwrap_or_default();
    let days = uptime.until(now_ms).days.into_values();
    days.fold((0, 0), |(watched, up), day| {
        (
            watched + u64::from(day.watched_ms),
            up + u64::from(day.up_ms),
        )
    })
}

fn ends(pool: &mut Pool, name: &str) {
    let delete = Delete {
        app: pool.world.app(name),
        drops_volumes: false,
    };
    pool.world.run(vec![delete.into()]);
}

fn picky(pool: &Pool, name: &str, least: u32) -> Deploy {
    let mut demand = web(1);
    demand.constraints.reputation_ppm_min = Some(least);
    pool.world.deploy(name, &[("web", demand)], 1)
}

fn reputation(pool: &Pool, lease: &Lease) -> u32 {
    pool.world.state.reputation_ppm(&lease.node)
}

fn withdraw(pool: &mut Pool, node: NodeId) {
    let owner = pool.machines[pool.number_of(node)].1.clone();
    let actions = vec![WithdrawOffer { node }.into()];
    pool.world.try_as(&owner, owner.account, actions).unwrap();
}

#[test]
fn time_counts_while_others_watch_whether_a_machine_holds_something_or_not() {
    let mut pool = Pool::of_owners(3);
    let (_, lease) = pool.app("a");
    assert_eq!(pool.world.state.reputation_ppm(&NodeId([1; 32])), HALF);
    let nodes: Vec<NodeId> = (0..4).map(|number| pool.node(number)).collect();
    let before: Vec<_> = nodes.iter().map(|node| sums(&pool, *node)).collect();
    pool.pass(DAY_MS);
    for (node, (watched, up)) in nodes.iter().zip(before) {
        assert_eq!(watched, up);
        assert_eq!(sums(&pool, *node), (watched + DAY_MS, watched + DAY_MS));
        let reputation = pool.world.state.reputation_ppm(node);
        assert!((750_000..751_000).contains(&reputation));
    }
    // What offers nothing more counts as long as it holds something.
    withdraw(&mut pool, lease.node);
    let (before, _) = sums(&pool, lease.node);
    pool.pass(1_000);
    assert_eq!(sums(&pool, lease.node), (before + 1_000, before + 1_000));
    ends(&mut pool, "a");
    let (watched, up) = sums(&pool, lease.node);
    assert_eq!(watched, up);
    pool.pass(DAY_MS);
    assert_eq!(sums(&pool, lease.node), (watched, up), "nobody asks for it");
}

#[test]
fn ones_own_machines_are_no_others() {
    let mut pool = Pool::of_owners(0);
    let owner = pool.world.owner.clone();
    list(&mut pool.world, &Person::new(190), &owner);
    let (_, lease) = pool.app("a");
    pool.pass(DAY_MS);
    assert_eq!(pool.world.state.uptime(&lease.node), None);
    assert_eq!(reputation(&pool, &lease), HALF);
}

/// The first machine of another operator begins it for all, and the last one that goes ends it.
#[test]
fn time_counts_from_when_somebody_else_comes_until_nobody_else_is_left() {
    let mut pool = Pool::of_owners(1);
    let (first, other) = (pool.node(0), pool.node(1));
    let (watched, _) = sums(&pool, first);
    pool.pass(1_000);
    assert_eq!(sums(&pool, first), (watched + 1_000, watched + 1_000));
    pool.give_up(other);
    let before = sums(&pool, first);
    let (gone_watched, gone_up) = sums(&pool, other);
    pool.pass(1_000);
    assert_eq!(sums(&pool, first), before, "nobody else watches it");
    let gone = (gone_watched + 1_000, gone_up);
    assert_eq!(sums(&pool, other), gone, "and that one is gone");
    pool.returns(other);
    pool.pass(1_000);
    let (watched, up) = before;
    assert_eq!(sums(&pool, first), (watched + 1_000, up + 1_000));
}

#[test]
fn whoever_was_given_up_is_gone_until_it_is_back_and_one_witness_says_nothing() {
    let mut pool = Pool::of_owners(3);
    let (id, lease) = pool.app("a");
    pool.pass(DAY_MS);
    let one = pool.witnesses(&lease)[0];
    pool.gives_up(one, &[(id, lease.epoch)]).unwrap();
    let idle = (0..4).map(|number| pool.node(number));
    let idle = idle.into_iter().find(|node| *node != lease.node).unwrap();
    let watchers = pool.watchers(idle);
    pool.misses(watchers[0], &[(idle, 0)]).unwrap();
    for node in [lease.node, idle] {
        let (watched, up) = sums(&pool, node);
        assert_eq!(watched, up, "one alone");
    }
    pool.lose(id, &lease);
    pool.give_up(idle);
    for node in [lease.node, idle] {
        assert!(pool.is_gone(node));
    }
    let before = [lease.node, idle].map(|node| (node, sums(&pool, node)));
    pool.pass(DAY_MS);
    for (node, (watched, up)) in before {
        let (later, still) = sums(&pool, node);
        assert_eq!((later - watched, still - up), (DAY_MS, 0));
        let reputation = pool.world.state.reputation_ppm(&node);
        assert!((HALF - 1_000..=HALF + 1_000).contains(&reputation));
    }
    for node in [lease.node, idle] {
        pool.returns(node);
        let (watched, up) = sums(&pool, node);
        pool.pass(1_000);
        assert_eq!(sums(&pool, node), (watched + 1_000, up + 1_000));
    }
}

#[test]
fn a_ledger_that_stood_still_saw_nobody_there_and_nobody_gone() {
    let mut pool = Pool::of_owners(3);
    let (there, gone) = (pool.node(0), pool.node(1));
    pool.give_up(gone);
    pool.pass(STANDSTILL_MS);
    let before = [there, gone].map(|node| (node, sums(&pool, node)));
    assert!(
        before
            .iter()
            .all(|(_, (watched, _))| *watched >= STANDSTILL_MS)
    );
    pool.world.wait(STANDSTILL_MS + 1);
    for (node, sums_before) in before {
        assert_eq!(sums(&pool, node), sums_before, "nobody knows");
    }
    // Nor does it count what the first transaction afterwards changes.
    pool.world.wait(3 * DAY_MS);
    pool.returns(gone);
    let (_, (watched, up)) = before[1];
    pool.pass(STANDSTILL_MS);
    let later = sums(&pool, gone);
    assert_eq!(later, (watched + STANDSTILL_MS + 1, up + STANDSTILL_MS));
}

/// Another machine than the lease's is gone for a day, and comes back.
fn gone_for_a_day(pool: &mut Pool, lease: &Lease) -> NodeId {
    let others = (0..4).map(|number| pool.node(number));
    let gone = others.into_iter().find(|node| *node != lease.node).unwrap();
    pool.give_up(gone);
    pool.pass(DAY_MS);
    pool.returns(gone);
    // The law looks at the time of the block before.
    pool.world.wait(1);
    gone
}

#[test]
fn a_replica_goes_only_where_the_reputation_is_as_wanted() {
    let mut pool = Pool::of_owners(3);
    let (_, lease) = pool.app("a");
    let wanted = HALF + 1;
    let refused = picky(&pool, "b", wanted);
    // At once nobody has more than a newcomer, and each is refused for that alone.
    let outcome = pool.world.try_run(vec![refused.clone().into()]);
    let Err(Rejection::NoPlacement { why }) = outcome else {
        panic!("it is placed: {outcome:?}");
    };
    assert_eq!(why.nodes, 4);
    for refusal in why.refusals {
        let [
            Failing::Reputation {
                found_ppm,
                wanted_ppm,
            },
        ] = refusal.failing[..]
        else {
            panic!("{:?}", refusal.failing);
        };
        assert_eq!((found_ppm, wanted_ppm), (HALF, wanted));
        let told = refusal.failing[0].to_string();
        assert_eq!(
            told,
            "has a reputation of 0.5, and at least 0.500001 is wanted"
        );
    }
    let gone = gone_for_a_day(&mut pool, &lease);
    pool.world.run(vec![refused.into()]);
    assert_ne!(pool.world.active("b")[0].1.node, gone);
    for round in 0..12 {
        let name = format!("b{round}");
        let deploy = picky(&pool, &name, wanted);
        pool.world.run(vec![deploy.into()]);
        assert_ne!(pool.world.active(&name)[0].1.node, gone);
    }
    let lands = (0..24).any(|round| pool.app(&format!("c{round}")).1.node == gone);
    assert!(lands, "where nothing is asked, it is as good as the others");
    let all = picky(&pool, "c", 1_000_001);
    let told = pool.world.try_run(vec![all.into()]).unwrap_err();
    assert!(told.to_string().contains("ask for less"), "{told}");
}

fn known_for(pool: &Pool, name: &str, least_ms: u64) -> Deploy {
    let mut demand = web(1);
    demand.constraints.attested_ms_min = Some(least_ms);
    pool.world.deploy(name, &[("web", demand)], 1)
}

#[test]
fn a_replica_goes_only_where_others_saw_the_machine_for_long_enough() {
    let mut pool = Pool::of_owners(3);
    let (_, lease) = pool.app("a");
    // The day in which one of them is not there counts for the others alone.
    let gone = gone_for_a_day(&mut pool, &lease);
    let attested_ms = |node: &NodeId| pool.world.state.attested_ms(node);
    assert!(attested_ms(&lease.node) >= DAY_MS);
    assert!(attested_ms(&gone) < DAY_MS);
    // Nobody was seen for a week, and each is refused for that alone.
    let refused = known_for(&pool, "c", 7 * DAY_MS);
    let Err(Rejection::NoPlacement { why }) = pool.world.try_run(vec![refused.into()]) else {
        panic!("it is placed");
    };
    assert_eq!(why.refusals.len(), 4);
    for refusal in why.refusals {
        let [failing] = &refusal.failing[..] else {
            panic!("{:?}", refusal.failing);
        };
        let found_h = pool.world.state.attested_ms(&refusal.node) / 3_600_000;
        let told = format!("was seen by others for {found_h} h, and at least 168 h are wanted");
        assert_eq!(failing.to_string(), told);
    }
    for round in 0..12 {
        let name = format!("b{round}");
        let deploy = known_for(&pool, &name, DAY_MS);
        pool.world.run(vec![deploy.into()]);
        assert_ne!(pool.world.active(&name)[0].1.node, gone);
    }
    // Of the thirtieth day there is never more than a part.
    let all = known_for(&pool, "d", 29 * DAY_MS + 1);
    let told = pool.world.try_run(vec![all.into()]).unwrap_err();
    assert!(told.to_string().contains("ask for 29d or less"), "{told}");
}

#[test]
fn days_are_kept_apart_and_forgotten_after_thirty() {
    let since_ms = 40 * DAY_MS + DAY_MS / 4;
    let is_up = true;
    let uptime = Uptime {
        counting: Some(Counting { since_ms, is_up }),
        ..Uptime::default()
    };
    let now_ms = 42 * DAY_MS + 5;
    let kept = uptime.until(now_ms);
    let day = |ms: u64| {
        let ms = u32::try_from(ms).unwrap();
        Day {
            watched_ms: ms,
            up_ms: ms,
        }
    };
    let expected = [(40, day(DAY_MS / 4 * 3)), (41, day(DAY_MS)), (42, day(5))];
    assert_eq!(kept.days, expected.into());
    assert_eq!(kept.until(now_ms), kept, "nothing counts twice");
    assert_eq!(
        uptime.reputation_ppm(now_ms),
        kept.reputation_ppm(now_ms),
        "however often it is written down"
    );
    let later = kept.until(90 * DAY_MS);
    assert_eq!(later.days.len(), 30);
    assert_eq!(later.days.keys().next(), Some(&61));
    let of_all = later.reputation_ppm(90 * DAY_MS);
    assert!((983_000..985_000).contains(&of_all), "{of_all}");
    // A clock that went back does no harm.
    assert_eq!(kept.until(since_ms).days, kept.days);
}
