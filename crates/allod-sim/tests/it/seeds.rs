//! Honest runs: no violation, and the same seed gives the same trace.

use allod_sim::{Counts, Plan, run, run_twice};

/// Runs the seeds; fails with how to run the first bad one again.
fn keep_every_promise(seeds: std::ops::RangeInclusive<u64>, validators: usize) -> Counts {
    let mut counts = Counts::default();
    for seed in seeds {
        let outcome = run(&Plan::new(seed, validators));
        assert!(
            outcome.violations.is_empty(),
            "allod-sim --seed {seed} --validators {validators}: {:?}",
            outcome.violations
        );
        counts.add(&outcome.counts);
    }
    counts
}

macro_rules! runs {
    ($($name:ident: $seeds:expr, $validators:literal),+ $(,)?) => {$(
        #[test]
        fn $name() {
            let counts = keep_every_promise($seeds, $validators);
            assert!(counts.crashes > 10 && counts.attacks > 50, "{counts:?}");
            assert!(counts.succeeded > 500, "{counts:?}");
        }
    )+};
}

// `make test` runs many more of each, twice.
runs! {
    one_validator_keeps_every_promise: 1..=20, 1,
    four_validators_keep_every_promise: 1..=6, 4,
    seven_validators_keep_every_promise: 1..=6, 7,
}

/// Every kind of change comes about in a few seeds, and newcomers begin in both ways.
#[test]
fn validators_come_and_go() {
    let counts = keep_every_promise(7..=12, 4);
    let kinds: Vec<&str> = counts.changes.keys().copied().collect();
    assert_eq!(kinds, ["joined", "left", "replaced"], "{counts:?}");
    assert!(counts.set_changes > 20, "{counts:?}");
    assert!(counts.deaths > 0 && counts.disks_lost > 0, "{counts:?}");
    assert!(counts.founded > 0 && counts.visits > 0, "{counts:?}");
}

/// One validator elects the others, under the same faults, and decides alone until there are four.
#[test]
fn one_becomes_four_and_seven() {
    for (seed, validators) in [(3, 4), (7, 4), (11, 4), (3, 7)] {
        let counts = keep_every_promise(seed..=seed, validators);
        assert_eq!(counts.grown, 1, "seed {seed}: {counts:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for validators in [1, 4, 7] {
        for seed in 1..=3 {
            let outcome = run_twice(&Plan::new(seed, validators));
            assert_eq!(outcome.violations, [], "seed {seed}, {validators}");
            assert!(outcome.events > 50, "{}", outcome.events);
        }
    }
    let trace = |seed| run(&Plan::new(seed, 1)).trace;
    assert_ne!(trace(1), trace(2), "another seed is another run");
}

/// What clients do must reach every corner of the law, or the checks above say little.
#[test]
fn every_kind_of_transaction_succeeds_somewhere() {
    let mut counts = keep_every_promise(1..=60, 1);
    counts.add(&keep_every_promise(1..=6, 4));
    // Whether two votes of a false one meet is another test's: `liars::an_equivocator_is_barred`.
    counts.actions.remove("validator.conflict");
    let kinds: Vec<&str> = counts.actions.keys().copied().collect();
    let expected = [
        "app.delete",
        "app.deploy",
        "app.restart",
        "app.rollback",
        "app.scale",
        "credit.transfer",
        "evidence.submit",
        "key.add",
        "key.revoke",
        "key.rotate",
        "lease.give-up",
        "lease.report",
        "node.back",
        "node.cordon",
        "node.drain",
        "node.give-up",
        "node.offer",
        "node.register",
        "node.withdraw",
        "validator.leave",
        "validator.loss",
        "validator.stand",
        "validator.vote",
        "volume.drop",
        "volume.report",
    ];
    assert_eq!(kinds, expected);
    assert!(counts.rejections.len() >= 12, "{:?}", counts.rejections);
    assert!(counts.ends.len() >= 5, "{:?}", counts.ends);
}
