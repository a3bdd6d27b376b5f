//! Each kind of false validator by itself: one of four, whatever it says, is neither seen by clients nor stops anybody.

use allod_sim::{Plan, run};

fn changes_nothing(kind: &'static str) {
    for seed in 1..=6 {
        let plan = Plan {
            liars: Some(kind),
            ..Plan::new(seed, 4)
        };
        let outcome = run(&plan);
        assert_eq!(outcome.violations, [], "seed {seed}");
        let lies = outcome.counts.lies.get(kind).copied();
        assert!(lies.is_some_and(|lies| lies > 10), "seed {seed}: {lies:?}");
    }
}

macro_rules! liars {
    ($($name:ident: $kind:literal),+ $(,)?) => {$(
        #[test]
        fn $name() {
            changes_nothing($kind);
        }
    )+};
}

liars! {
    an_amnesiac_changes_nothing: "amnesiac",
    a_deceiver_changes_nothing: "deceiver",
    an_equivocator_changes_nothing: "equivocator",
    a_fabricator_changes_nothing: "fabricator",
    a_flooder_changes_nothing: "flooder",
    a_forger_changes_nothing: "forger",
    a_laggard_changes_nothing: "laggard",
    a_withholder_changes_nothing: "withholder",
}
