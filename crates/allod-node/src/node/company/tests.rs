//! Who is missing for a quorum, with four validators of equal weight.

use allod_state::PublicKey;
use allod_state::validator::ValidatorSet;

use super::missing;

const KEYS: [PublicKey; 4] = [
    PublicKey::Ed25519([1; 32]),
    PublicKey::Ed25519([2; 32]),
    PublicKey::Ed25519([3; 32]),
    PublicKey::Ed25519([4; 32]),
];

fn said(unreached: &[PublicKey], silent: &[PublicKey]) -> Option<String> {
    missing(
        &ValidatorSet::new(KEYS.map(|key| (key, 1))),
        unreached,
        silent,
    )
}

#[test]
fn three_of_four_decide_without_the_fourth() {
    assert_eq!(said(&[], &[]), None);
    assert_eq!(said(&KEYS[..1], &[]), None);
    assert_eq!(said(&[], &KEYS[..1]), None);
}

#[test]
fn who_is_reached_and_does_not_vote_is_missing_as_well() {
    assert_eq!(
        said(&KEYS[..2], &[]).unwrap(),
        "no quorum: 2 of 4 validators are reached"
    );
    assert_eq!(
        said(&KEYS[..1], &KEYS[1..2]).unwrap(),
        "no quorum: 3 of 4 validators are reached, and 2 vote"
    );
    assert_eq!(
        said(&[], &KEYS[2..]).unwrap(),
        "no quorum: 4 of 4 validators are reached, and 2 vote"
    );
}
