//! Transfers.

use allod_state::credit::Transfer;
use allod_state::{AccountId, Rejection};

use crate::world::{Person, World, credits};

fn transfer(to: AccountId, amount: &str) -> Transfer {
    Transfer {
        to,
        amount: credits(amount),
        memo: "for eggs".into(),
    }
}

#[test]
fn a_transfer_opens_the_receiver_who_can_then_spend() {
    let mut world = World::new();
    let (owner, other) = (world.owner.account, Person::new(7));
    world.run(vec![transfer(other.account, "2.5").into()]);
    assert_eq!(
        world.state.account(&other.account).unwrap().balance,
        credits("2.5")
    );
    assert_eq!(
        world.state.account(&owner).unwrap().balance,
        credits("-2.5")
    );
    world
        .try_as(&other, other.account, vec![transfer(owner, "1").into()])
        .unwrap();
    assert_eq!(
        world.state.account(&other.account).unwrap().balance,
        credits("1.5")
    );
}

#[test]
fn a_newcomer_has_no_line() {
    let mut world = World::new();
    let (owner, other) = (world.owner.account, Person::new(7));
    world.run(vec![transfer(other.account, "1").into()]);
    let refused = world.try_as(
        &other,
        other.account,
        vec![transfer(owner, "1.000001").into()],
    );
    let expected = Rejection::InsufficientCredit {
        needed: credits("1.000001"),
        available: credits("1"),
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn amounts_of_nothing_less_or_too_much_are_refused() {
    let mut world = World::new();
    let other = Person::new(7).account;
    for amount in ["0", "-1", "1000000000000001"] {
        assert_eq!(
            world.try_run(vec![transfer(other, amount).into()]),
            Err(Rejection::BadAmount),
            "{amount}"
        );
    }
}

#[test]
fn sending_to_oneself_is_refused_and_mints_nothing() {
    let mut world = World::new();
    let owner = world.owner.account;
    assert!(matches!(
        world.try_run(vec![transfer(owner, "1").into()]),
        Err(Rejection::BadField { .. })
    ));
    assert_eq!(world.state.account(&owner).unwrap().balance, credits("0"));
}

#[test]
fn actions_succeed_together_or_not_at_all() {
    let mut world = World::new();
    let (owner, other) = (world.owner.account, Person::new(7).account);
    let too_much = transfer(other, "999999999");
    let refused = world.try_run(vec![transfer(other, "1").into(), too_much.into()]);
    assert!(matches!(refused, Err(Rejection::InsufficientCredit { .. })));
    assert_eq!(world.state.account(&other), None);
    assert_eq!(world.state.account(&owner).unwrap().balance, credits("0"));
    assert!(world.last.unwrap().receipts[0].events.is_empty());
}
