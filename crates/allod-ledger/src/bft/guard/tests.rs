//! The guard refuses every second, different signature.

use super::*;

fn signed(height: u64, round: u32, step: SignStep, value: Option<u8>) -> Signed {
    let value = value.map(|byte| BlockId([byte; 32]));
    Signed {
        height,
        round,
        step,
        pol_round: None,
        value,
    }
}

#[test]
fn the_same_again_is_allowed_and_another_is_not() {
    for step in [SignStep::Propose, SignStep::Prevote, SignStep::Precommit] {
        let mut guard = SignGuard::default();
        let first = signed(3, 1, step, Some(1));
        assert_eq!(guard.admit(&first), Ok(true));
        assert_eq!(guard.admit(&first), Ok(false));
        let other = Conflict::Different {
            height: 3,
            round: 1,
            step,
        };
        assert_eq!(
            guard.admit(&signed(3, 1, step, Some(2))),
            Err(other.clone())
        );
        assert_eq!(guard.admit(&signed(3, 1, step, None)), Err(other));
        assert_eq!(guard.admit(&signed(3, 2, step, Some(2))), Ok(true));
    }
}

#[test]
fn a_proposal_resting_on_another_round_is_another_proposal() {
    let mut guard = SignGuard::default();
    let first = signed(1, 4, SignStep::Propose, Some(1));
    guard.admit(&first).unwrap();
    let other = Signed {
        pol_round: Some(2),
        ..first
    };
    assert!(matches!(
        guard.admit(&other),
        Err(Conflict::Different { .. })
    ));
}

#[test]
fn what_was_remembered_binds_like_what_was_admitted() {
    let mut guard = SignGuard::from_floor(2);
    guard.remember(&signed(2, 0, SignStep::Prevote, Some(7)));
    assert!(
        guard
            .admit(&signed(2, 0, SignStep::Prevote, Some(8)))
            .is_err()
    );
    assert_eq!(
        guard.admit(&signed(2, 0, SignStep::Prevote, Some(7))),
        Ok(false)
    );
    assert_eq!(guard.highest(), 2);
}

#[test]
fn nothing_below_the_floor_is_signed() {
    let mut guard = SignGuard::from_floor(5);
    let past = guard.admit(&signed(4, 0, SignStep::Prevote, None));
    assert_eq!(
        past,
        Err(Conflict::Past {
            height: 4,
            floor: 5
        })
    );
    guard.admit(&signed(5, 0, SignStep::Prevote, None)).unwrap();
    guard.raise_floor(6);
    assert!(guard.admit(&signed(5, 0, SignStep::Prevote, None)).is_err());
    assert_eq!(guard.highest(), 6);
}
