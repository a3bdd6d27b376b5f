//! Newcomers: an invite opens one account and is gone.

use allod_state::account::grant::{Grant, Verb};
use allod_state::account::{AddKey, OpenAccount};
use allod_state::credit::Transfer;
use allod_state::node::{PublishReach, Reach};
use allod_state::{AccountId, NodeId, Rejection};

use crate::samples::reach;
use crate::world::{Person, World, credits};

/// A world with an invite, which expires a minute from now.
fn invited() -> (World, Person) {
    let mut world = World::new();
    let invite = Person::new(50);
    let grant = Grant::of_invite(world.now_ms() + 60_000);
    let key = invite.key;
    world.run(vec![AddKey { key, grant }.into()]);
    (world, invite)
}

fn open(world: &mut World, invite: &Person, newcomer: &Person) -> Result<(), Rejection> {
    let key = newcomer.key;
    let inviter = world.owner.account;
    world.try_as(invite, inviter, vec![OpenAccount { key }.into()])
}

/// Whether the envelope alone refuses a transaction of this key for the owner's account.
fn is_turned_away(world: &mut World, who: &Person) -> bool {
    let key = Person::new(99).key;
    let account = world.owner.account;
    let transaction = world.signed(who, account, vec![OpenAccount { key }.into()]);
    world.block(vec![transaction], 1).is_err()
}

#[test]
fn an_invite_opens_one_account_whose_owner_may_do_everything() {
    let (mut world, invite) = invited();
    let newcomer = Person::new(51);
    assert_eq!(
        world.state.invites(world.now_ms()).collect::<Vec<_>>(),
        [invite.key]
    );
    open(&mut world, &invite, &newcomer).unwrap();
    let account = world.state.account(&newcomer.account).unwrap();
    assert_eq!(
        (account.keys, account.balance, account.line),
        (1, credits("0"), credits("0"))
    );
    let record = world.state.key(&newcomer.account, &newcomer.key).unwrap();
    assert_eq!(*record.grant, Grant::full());
    assert!(is_turned_away(&mut world, &invite), "it is used up");
    assert_eq!(world.state.invites(world.now_ms()).count(), 0);
    let friend = Person::new(52);
    let grant = Grant::of_invite(world.now_ms() + 60_000);
    let add = AddKey {
        key: friend.key,
        grant,
    };
    world
        .try_as(&newcomer, newcomer.account, vec![add.into()])
        .unwrap();
}

#[test]
fn an_invite_is_good_for_nothing_else_and_not_for_ever() {
    let (mut world, invite) = invited();
    let (to, amount, memo) = (invite.account, credits("1"), String::new());
    let theft = Transfer { to, amount, memo };
    let account = world.owner.account;
    let refused = world.try_as(&invite, account, vec![theft.into()]);
    assert!(
        matches!(refused, Err(Rejection::VerbNotGranted { .. })),
        "{refused:?}"
    );
    world.wait(60_000);
    assert!(is_turned_away(&mut world, &invite), "it has expired");
    assert_eq!(world.state.invites(world.now_ms()).count(), 0);
}

#[test]
fn whoever_is_there_is_not_opened_again() {
    let (mut world, invite) = invited();
    let owner = world.owner.clone();
    let refused = open(&mut world, &invite, &owner);
    assert_eq!(refused, Err(Rejection::KeyExists));
    open(&mut world, &invite, &Person::new(51)).expect("a refusal does not use it up");
}

#[test]
fn what_was_sent_before_the_invite_stays_the_newcomers() {
    let (mut world, invite) = invited();
    let newcomer = Person::new(51);
    let (to, amount, memo) = (newcomer.account, credits("3"), String::new());
    world.run(vec![Transfer { to, amount, memo }.into()]);
    open(&mut world, &invite, &newcomer).unwrap();
    let account = world.state.account(&newcomer.account).unwrap();
    assert_eq!((account.keys, account.balance), (1, credits("3")));
}

#[test]
fn an_owner_opens_accounts_and_keeps_the_key() {
    let mut world = World::new();
    for seed in [60, 61] {
        let key = Person::new(seed).key;
        world.run(vec![OpenAccount { key }.into()]);
        assert!(
            world
                .state
                .account(&AccountId::of_first_key(&key))
                .is_some()
        );
    }
    assert!(Grant::full().verbs.contains(&Verb::Invite));
}

#[test]
fn a_machine_says_where_it_is_and_nobody_else_does() {
    let mut world = World::new();
    let node = world.node;
    let there = reach().reach;
    let said = |reach: &Reach| PublishReach {
        node,
        reach: reach.clone(),
    };
    world.report(said(&there)).unwrap();
    assert_eq!(world.state.reach(&node), Some(there.clone()));
    world.report(said(&Reach::default())).unwrap();
    assert_eq!(world.state.reach(&node), Some(Reach::default()));
    let stranger = Person::new(50);
    let key = stranger.key;
    world.run(vec![OpenAccount { key }.into()]);
    let refused = world.try_as(&stranger, stranger.account, vec![said(&there).into()]);
    assert_eq!(refused, Err(Rejection::NotYourNode { node }));
    let many = (1..=9).map(|port| ([192, 0, 2, 1], port).into());
    let many = Reach {
        addresses: many.collect(),
        ..Reach::default()
    };
    assert!(matches!(
        world.report(said(&many)),
        Err(Rejection::TooMany { .. })
    ));
    let many = (1..=5).map(|number| NodeId([number; 32]));
    let many = Reach {
        relayed_by: many.collect(),
        ..Reach::default()
    };
    assert!(matches!(
        world.report(said(&many)),
        Err(Rejection::TooMany { .. })
    ));
}
