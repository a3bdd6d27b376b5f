//! What others have seen of a machine, and where a replica goes that asks for it.

use allod_state::app::{Delete, Deploy};
use allod_state::lease::Lease;
use allod_state::lease::witness::ReportBack;
use allod_state::node::{Counting, Day, Uptime};
use allod_state::place::Failing;
use allod_state::{NodeId, Rejection};

use crate::pool::Pool;
use crate::world::web;

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

#[test]
fn time_counts_while_others_watch_and_no_longer() {
    let mut pool = Pool::of_owners(3);
    let (_, lease) = pool.app("a");
    assert_eq!(pool.world.state.reputation_ppm(&NodeId([1; 32])), HALF);
    let (before, _) = sums(&pool, lease.node);
    pool.world.wait(DAY_MS);
    assert_eq!(sums(&pool, lease.node), (before + DAY_MS, before + DAY_MS));
    assert!((750_000..751_000).contains(&reputation(&pool, &lease)));
    ends(&mut pool, "a");
    let (watched, up) = sums(&pool, lease.node);
    assert_eq!(watched, up);
    pool.world.wait(DAY_MS);
    assert_eq!(sums(&pool, lease.node), (watched, up), "nobody watched it");
    assert!(
        pool.world.state.nodes().count() > 1,
        "others are there whom nobody watched"
    );
    for (node, _) in pool.world.state.nodes() {
        let is_it = *node == lease.node;
        assert_eq!(pool.world.state.uptime(node).is_some(), is_it);
    }
}

#[test]
fn ones_own_machines_are_no_others() {
    let mut pool = Pool::of_owners(0);
    let (_, lease) = pool.app("a");
    pool.world.wait(DAY_MS);
    assert_eq!(pool.world.state.uptime(&lease.node), None);
    assert_eq!(reputation(&pool, &lease), HALF);
}

#[test]
fn whoever_was_given_up_is_gone_until_it_is_back_and_one_witness_says_nothing() {
    let mut pool = Pool::of_owners(3);
    let (id, lease) = pool.app("a");
    pool.world.wait(DAY_MS);
    let one = pool.witnesses(&lease)[0];
    pool.gives_up(one, &[(id, lease.epoch)]).unwrap();
    let (watched, up) = sums(&pool, lease.node);
    assert_eq!(watched, up, "one alone");
    pool.lose(id, &lease);
    let (watched, up) = sums(&pool, lease.node);
    pool.world.wait(DAY_MS);
    let (later, still) = sums(&pool, lease.node);
    assert_eq!((later - watched, still - up), (DAY_MS, 0));
    assert!((HALF - 1_000..=HALF + 1_000).contains(&reputation(&pool, &lease)));
    let number = pool.number_of(lease.node);
    pool.says(number, ReportBack { node: lease.node }).unwrap();
    let (watched, up) = sums(&pool, lease.node);
    pool.world.wait(DAY_MS);
    assert_eq!(sums(&pool, lease.node), (watched, up), "it runs nothing");
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
    pool.world.wait(DAY_MS);
    // The law looks at the time of the block before.
    pool.world.wait(1);
    pool.world.run(vec![refused.into()]);
    assert_eq!(pool.world.active("b")[0].1.node, lease.node);
    let all = picky(&pool, "c", 1_000_001);
    let told = pool.world.try_run(vec![all.into()]).unwrap_err();
    assert!(told.to_string().contains("ask for less"), "{told}");
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
