//! Whose relays become whose homes.

use super::*;
use crate::peer::Relay;

const NOBODY: PeerKey = PeerKey([0; 32]);

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// The operators of those that say that each is theirs; of nobody's, it is not known.
fn roster(relays: &[(SocketAddr, &[u8])]) -> Roster {
    let mut roster = Roster::default();
    let relay = Relay {
        pin: [0; 32],
        discovery_port: 1,
    };
    for (address, operators) in relays {
        roster.add_relay(*address, relay.clone());
        for operator in *operators {
            let operator = Some(Operator([*operator; 32]));
            roster.add_relay_of(*address, relay.clone(), operator);
        }
    }
    roster
}

fn tried(own: u8, roster: &Roster, count: usize) -> BTreeSet<SocketAddr> {
    let all = in_order(&PeerKey([own; 32]), roster, |_| false);
    all.into_iter().take(count).collect()
}

#[test]
fn whoever_has_a_hundred_relays_has_one_that_is_tried_before_others() {
    let many: Vec<_> = (0..100).map(|it| at(&format!("9.0.0.{it}:443"))).collect();
    let (one, other) = (at("1.1.1.1:443"), at("2.2.2.2:443"));
    let mut relays: Vec<(_, &[u8])> = many.iter().map(|it| (*it, &[9][..])).collect();
    // Of one of the others it says that it has that as well.
    relays.extend([(one, &[1, 9][..]), (other, &[2][..])]);
    let roster = roster(&relays);
    for own in 0..50 {
        let tried = tried(own, &roster, 3);
        assert!(tried.contains(&one) && tried.contains(&other));
        let homes = chosen(&roster, vec![many[0], many[1], other]);
        assert_eq!(homes, [many[0], other].into());
    }
    assert!(!are_enough(&roster, &[many[0], many[1]].into()));
    assert!(are_enough(&roster, &[many[0], other].into()));
}

#[test]
fn where_the_operator_is_not_known_a_network_counts_as_one() {
    let (one, same, other) = (
        at("[2001:db8::1]:1"),
        at("[2001:db8::2]:1"),
        at("1.1.1.1:1"),
    );
    let roster = roster(&[(one, &[]), (same, &[]), (other, &[])]);
    for own in 0..20 {
        assert!(tried(own, &roster, 2).contains(&other));
    }
    assert_eq!(chosen(&roster, vec![one, same, other]), [one, other].into());
}

#[test]
fn where_all_are_of_one_operator_two_of_them_are_enough() {
    let (one, other) = (at("1.1.1.1:1"), at("2.2.2.2:1"));
    let roster = roster(&[(one, &[1]), (other, &[1])]);
    let homes = chosen(&roster, vec![one, other]);
    assert_eq!(homes, [one, other].into());
    assert!(are_enough(&roster, &homes));
}

#[test]
fn what_is_dead_or_given_up_comes_last() {
    let [dead, gone, alive] = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"].map(at);
    let mut roster = roster(&[(dead, &[1]), (gone, &[]), (alive, &[1])]);
    let relay = roster.relays[&gone].first().unwrap().clone();
    roster.add_relay_of(gone, relay.clone(), None);
    let order = |roster: &Roster| in_order(&NOBODY, roster, |relay| *relay == dead);
    assert_eq!(order(&roster), [alive, dead, gone]);
    assert!(are_enough(&roster, &[alive, dead].into()), "none else");
    // Another machine at that address is not gone.
    roster.add_relay_of(gone, relay, Some(Operator([2; 32])));
    assert_eq!(order(&roster)[2], dead);
}
