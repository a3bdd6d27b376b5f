//! What becomes of machines that are gone, whether they hold anything or not: most of those that watch them say so.

use std::collections::BTreeSet;

use allod_state::limits::ABSENCE_STANDS_MS;
use allod_state::node::{Life, ReportGone, WithdrawOffer};
use allod_state::place::Failing;
use allod_state::{NodeId, Rejection};

use crate::pool::{Pool, list};
use crate::world::{Person, web};

/// A machine that holds nothing, in its first life.
fn idle(pool: &Pool) -> Life {
    let mut nodes = pool.world.state.nodes();
    let holds_nothing = |node: &NodeId| pool.world.state.active_leases_on(node).is_empty();
    let (id, _) = nodes.find(|(id, _)| holds_nothing(id)).unwrap();
    (*id, 0)
}

#[test]
fn a_machine_is_watched_by_those_that_would_witness_a_lease_of_it_and_they_know_it() {
    for others in [0, 1, 2, 3, 5, 40] {
        let mut pool = Pool::of_owners(others);
        let (_, lease) = pool.app("a");
        let watchers = pool.world.state.watchers_of(&lease.node);
        if others == 0 {
            assert!(watchers.is_empty(), "nobody watches itself");
        } else {
            assert_eq!(watchers, lease.witnesses);
        }
        let count = usize::from(others) + 1;
        assert_eq!(all_know(&pool), count * usize::from(others.min(3)));
    }
    // Most have to look far for somebody else, and those that look too far are watched by their own.
    let mut pool = Pool::of_owners(1);
    let owner = pool.world.owner.clone();
    for number in 0..60 {
        list(&mut pool.world, &Person::numbered(number), &owner);
    }
    assert!(all_know(&pool) > 62);
}

/// Everybody who is to watch a machine is told so, and nobody else; how many pairs there are.
fn all_know(pool: &Pool) -> usize {
    let state = &pool.world.state;
    let (mut told, mut expected) = (BTreeSet::new(), BTreeSet::new());
    for (node, _) in state.nodes() {
        let watched = state.machines_watched_by(node).into_iter();
        told.extend(watched.map(|(of, _)| (*node, of)));
        let watchers = state.watchers_of(node).into_iter();
        expected.extend(watchers.map(|by| (by, *node)));
    }
    assert_eq!(told, expected);
    expected.len()
}

#[test]
fn most_of_those_that_watch_an_idle_machine_give_it_up_together() {
    let mut pool = Pool::of_owners(5);
    let life = idle(&pool);
    let [first, second, third] = pool.watchers(life.0)[..] else {
        panic!("three watch it");
    };
    for _ in 0..3 {
        pool.misses(first, &[life]).unwrap();
        assert!(!pool.is_gone(life.0), "one alone moves nothing");
    }
    let open = pool.world.state.machines_watched_by(&pool.node(first));
    assert!(!open.contains(&life), "it has said so");
    pool.misses(second, &[life]).unwrap();
    assert!(pool.is_gone(life.0));
    // Who is late says nothing new.
    let late = pool.misses(third, &[life]);
    assert_eq!(late, Ok(()));
    for (node, _) in pool.world.state.nodes() {
        let watchers = pool.world.state.watchers_of(node);
        assert!(!watchers.contains(&life.0), "who is gone sees nothing");
        let watched = pool.world.state.machines_watched_by(node);
        assert!(!watched.contains(&life), "nobody has to miss it any more");
    }
    for round in 0..8 {
        let (_, lease) = pool.app(&format!("b{round}"));
        assert_ne!(lease.node, life.0);
        assert!(!lease.witnesses.contains(&life.0));
    }
    assert!(is_refused_for_that(&mut pool, life.0));
    pool.returns(life.0);
    assert!(!is_refused_for_that(&mut pool, life.0));
}

/// Whether a machine refuses because it is gone what is too large for all of them.
fn is_refused_for_that(pool: &mut Pool, node: NodeId) -> bool {
    let mut large = web(1);
    large.resources.cpu_milli = 4_001;
    let deploy = pool.world.deploy("large", &[("web", large)], 1);
    let Err(Rejection::NoPlacement { why }) = pool.world.try_run(vec![deploy.into()]) else {
        panic!("nobody has room");
    };
    let of_it = why.refusals.iter().find(|refusal| refusal.node == node);
    of_it.unwrap().failing.contains(&Failing::Unreachable)
}

#[test]
fn what_was_said_of_a_former_life_says_nothing_of_this_one() {
    let mut pool = Pool::of_owners(5);
    let life = idle(&pool);
    let (node, _) = life;
    pool.give_up(node);
    pool.returns(node);
    assert!(!pool.is_gone(node));
    let row = pool.world.state.node(&node).unwrap();
    assert_eq!((row.life, row.given_up_by), (1, [].into()));
    let [first, second, _] = pool.watchers(node)[..] else {
        panic!("three watch it");
    };
    let refused = Err(Rejection::NotWatching { node });
    assert_eq!(pool.misses(first, &[life]), refused, "an old word");
    assert_eq!(pool.misses(first, &[(node, 2)]), refused, "a life to come");
    pool.misses(second, &[(node, 1)]).unwrap();
    assert!(!pool.is_gone(node), "one alone");
    // Whoever says that it is back though nobody has given it up begins no other life.
    pool.returns(node);
    assert_eq!(pool.world.state.node(&node).unwrap().life, 1);
}

#[test]
fn nobody_else_gives_a_machine_up() {
    let mut pool = Pool::of_owners(6);
    let life = idle(&pool);
    let (node, _) = life;
    let watchers = pool.watchers(node);
    let refused = Err(Rejection::NotWatching { node });
    for number in 0..7 {
        if !watchers.contains(&number) {
            assert_eq!(pool.misses(number, &[life]), refused);
        }
    }
    // In the name of one that is another's.
    let (witness, machines) = (pool.node(watchers[0]), [life].into());
    let stolen = pool.says(watchers[1], ReportGone { witness, machines });
    assert!(matches!(stolen, Err(Rejection::NotYourNode { .. })));
    // One that is wrong takes the others with it.
    let unknown = NodeId([9; 32]);
    let half = pool.misses(watchers[0], &[life, (unknown, 0)]);
    let half_of_it = pool.misses(watchers[0], &[life, (pool.node(watchers[0]), 0)]);
    assert!(half.is_err() && half_of_it.is_err());
    let row = pool.world.state.node(&node).unwrap();
    assert!(row.given_up_by.is_empty());
    for count in [0, 201] {
        let lives: Vec<Life> = (0..count).map(|life| (node, life)).collect();
        let refused = pool.misses(watchers[0], &lives);
        assert!(
            matches!(refused, Err(Rejection::TooMany { .. })),
            "{refused:?}"
        );
    }
}

/// One of those that have said so is gone itself, and another one watches in its stead: its word does not count.
#[test]
fn the_word_of_one_that_watches_no_more_does_not_count() {
    let mut pool = Pool::of_owners(6);
    let life = idle(&pool);
    let before = pool.watchers(life.0);
    pool.misses(before[0], &[life]).unwrap();
    let gone = pool.node(before[0]);
    pool.give_up(gone);
    let now = pool.watchers(life.0);
    assert_eq!(now.len(), 3);
    assert!(!now.contains(&before[0]));
    let refused = Err(Rejection::NotWatching { node: life.0 });
    assert_eq!(pool.misses(before[0], &[life]), refused);
    pool.misses(now[0], &[life]).unwrap();
    assert!(!pool.is_gone(life.0), "one of those that watch it now");
    let row = pool.world.state.node(&life.0).unwrap();
    let said: Vec<NodeId> = row.given_up_by.into_keys().collect();
    assert_eq!(said, [pool.node(now[0])], "the other word is dropped");
    pool.misses(now[1], &[life]).unwrap();
    assert!(pool.is_gone(life.0));
}

#[test]
fn what_two_say_long_after_one_another_was_never_so() {
    let mut pool = Pool::of_owners(3);
    let life = idle(&pool);
    let watchers = pool.watchers(life.0);
    let first = pool.node(watchers[0]);
    pool.misses(watchers[0], &[life]).unwrap();
    pool.pass(ABSENCE_STANDS_MS - 1);
    let open = |pool: &Pool| pool.world.state.machines_watched_by(&first);
    assert!(!open(&pool).contains(&life));
    pool.world.wait(1);
    assert!(open(&pool).contains(&life), "it may say so again");
    pool.misses(watchers[1], &[life]).unwrap();
    assert!(!pool.is_gone(life.0));
    pool.pass(ABSENCE_STANDS_MS - 10);
    pool.misses(watchers[2], &[life]).unwrap();
    assert!(pool.is_gone(life.0));
}

#[test]
fn a_machine_that_offers_nothing_is_watched_as_well() {
    let mut pool = Pool::of_owners(3);
    let (node, _) = idle(&pool);
    let owner = pool.machines[pool.number_of(node)].1.clone();
    pool.world
        .try_as(&owner, owner.account, vec![WithdrawOffer { node }.into()])
        .unwrap();
    pool.give_up(node);
    assert!(pool.is_gone(node));
}

#[test]
fn an_operator_that_is_alone_has_its_own_machines_watch() {
    let mut pool = Pool::of_owners(0);
    let owner = pool.world.owner.clone();
    for number in 0..2 {
        let machine = Person::new(190 + number);
        list(&mut pool.world, &machine, &owner);
        pool.machines.push((machine, owner.clone()));
    }
    let life = idle(&pool);
    let watchers = pool.watchers(life.0);
    assert_eq!(watchers.len(), 2);
    pool.misses(watchers[0], &[life]).unwrap();
    assert!(!pool.is_gone(life.0));
    pool.misses(watchers[1], &[life]).unwrap();
    assert!(pool.is_gone(life.0));
    assert_eq!(pool.world.state.uptime(&life.0), None, "nobody else saw it");
}
