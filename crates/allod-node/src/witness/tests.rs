//! When a machine says that it is back, and what it remembers of its promises.

use allod_runtime::WorkloadId;
use allod_state::LeaseId;

use super::*;
use crate::agent::watched;

const LOOK_MS: u64 = 250;

#[test]
fn whoever_was_given_up_says_that_it_is_back_and_seldom() {
    let mut comeback = Comeback::default();
    let start = 7_000;
    let mut said = Vec::new();
    for quarter in 0..4 * 700 {
        let now = start + LOOK_MS * quarter;
        if comeback.is_due(start, now) {
            assert!(!comeback.is_due(start, now), "it is under way");
            comeback.said(now);
            said.push((now - start) / 1_000);
        }
    }
    assert_eq!(said, [2, 12, 32, 72, 152, 312, 612]);
}

#[test]
fn promises_outlive_the_process_until_their_leases_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let lease = |number: u8| (LeaseId([number; 32]), 1);
    let read = || Promises::read(dir.path()).unwrap();
    assert!(read().all().is_empty());
    let mut promises = read();
    promises.make([lease(1)].into(), |_| false).unwrap();
    promises.make([lease(2)].into(), |_| false).unwrap();
    assert_eq!(*read().all(), [lease(1), lease(2)].into());
    read()
        .make([lease(3)].into(), |it| *it == lease(1))
        .unwrap();
    assert_eq!(*read().all(), [lease(2), lease(3)].into());
    std::fs::write(dir.path().join("promises"), b"?").unwrap();
    assert!(
        Promises::read(dir.path()).is_err(),
        "nobody knows what it was"
    );
}

#[test]
fn what_an_earlier_node_was_confirmed_counts_until_it_is_over() {
    let lease = watched();
    let held: BTreeMap<Watched, Lease> = [((LeaseId([7; 32]), lease.epoch), lease.clone())].into();
    let id = workload_of(&LeaseId([7; 32]), &lease);
    let stranger = WorkloadId { epoch: 9, ..id };
    let told = BTreeMap::from([(id, 5_000), (stranger, 5_000)]);
    let mut rights = Rights::new(1);
    let until = |rights: &Rights, now_ms| may_run(&held, rights, &told, now_ms);
    assert_eq!(until(&rights, 4_999), [(id, 5_000)].into());
    assert_eq!(until(&rights, 5_000), [].into());

    // What is confirmed now counts where it is later.
    for (sent_ms, until_ms) in [(1_000, 5_000), (2_500, 2_500 + RIGHT_RUNS_MS)] {
        rights.begin(sent_ms);
        let said = rights.beat(held.keys().copied().collect());
        rights.hear(NodeId([9; 32]), &said, &said.leases);
        assert_eq!(until(&rights, 3_000), [(id, until_ms)].into());
    }
}
