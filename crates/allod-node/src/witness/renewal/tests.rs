//! What is confirmed at any time is told, and nothing counts as told before it is.

use super::*;

const ID: WorkloadId = WorkloadId {
    lease: [7; 32],
    epoch: 1,
};

fn until(ms: u64) -> Until {
    [(ID, ms)].into()
}

#[test]
fn what_is_confirmed_while_the_runtime_is_told_is_told_after_that() {
    let (mut renewal, mut told) = (Renewal::default(), Until::new());
    assert_eq!(renewal.next(&told, until(1_000)), Some(until(1_000)));
    assert_eq!(renewal.next(&told, until(1_500)), None, "one at a time");
    let is_other = renewal.ended(&mut told, Some(until(1_000)));
    assert!(is_other, "it may run");
    assert_eq!(renewal.next(&told, until(1_500)), Some(until(1_500)));
    let is_other = renewal.ended(&mut told, Some(until(1_500)));
    assert!(!is_other, "it may run already");
    assert_eq!(renewal.next(&told, until(1_500)), None, "it knows");
}

#[test]
fn what_the_runtime_did_not_take_is_told_again() {
    let (mut renewal, mut told) = (Renewal::default(), Until::new());
    for _ in 0..2 {
        assert_eq!(renewal.next(&told, until(1_000)), Some(until(1_000)));
        assert!(!renewal.ended(&mut told, None), "nothing may run");
    }
}

#[test]
fn what_is_over_or_held_no_more_lets_nothing_run() {
    let mut told = until(1_000);
    assert!(!forget(&mut told, &until(2_000), 999));
    assert!(forget(&mut told, &until(2_000), 1_000), "2000 was not told");
    let mut told = until(1_000);
    assert!(forget(&mut told, &Until::new(), 1));
    assert_eq!(told, Until::new());
}
