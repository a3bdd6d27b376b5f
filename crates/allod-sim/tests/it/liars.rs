//! Each kind of false validator by itself: one of four, whatever it says, is neither seen by clients nor stops anybody.

use allod_sim::{Counts, Plan, run};

fn changes_nothing(kind: &'static str, lies_min: u64) -> Counts {
    let mut counts = Counts::default();
    for seed in 1..=6 {
        let plan = Plan {
            liars: Some(kind),
            ..Plan::new(seed, 4)
        };
        let outcome = run(&plan);
        assert_eq!(outcome.violations, [], "seed {seed}");
        let lies = outcome.counts.lies.get(kind).copied().unwrap_or(0);
        assert!(lies >= lies_min, "seed {seed}: {lies}");
        counts.add(&outcome.counts);
    }
    counts
}

/// Whoever says two things is barred, once somebody has seen both.
#[test]
fn an_equivocator_is_barred() {
    let counts = changes_nothing("equivocator", 10);
    assert!(counts.barred > 0, "{counts:?}");
}

#[test]
fn an_amnesiac_changes_nothing() {
    changes_nothing("amnesiac", 10);
}

/// Nobody begins with what a counterfeiter gives.
#[test]
fn a_counterfeiter_is_refused() {
    let counts = changes_nothing("counterfeiter", 0);
    assert!(counts.refused > 10, "{counts:?}");
}

#[test]
fn a_deceiver_changes_nothing() {
    changes_nothing("deceiver", 10);
}

#[test]
fn a_fabricator_changes_nothing() {
    changes_nothing("fabricator", 10);
}

#[test]
fn a_flooder_changes_nothing() {
    changes_nothing("flooder", 10);
}

#[test]
fn a_forger_changes_nothing() {
    changes_nothing("forger", 10);
}

#[test]
fn a_laggard_changes_nothing() {
    changes_nothing("laggard", 10);
}

#[test]
fn a_withholder_changes_nothing() {
    changes_nothing("withholder", 10);
}
