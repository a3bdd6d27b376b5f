//! Every check is seen to fail: each planted bug is caught, by the check that is there for it, within a few seeds.

use allod_sim::{Mutation, Plan, run, run_twice};

/// The first seed in which the bug is caught by its check.
fn caught(mutation: Mutation, seeds: u64) {
    let mut others = Vec::new();
    for seed in 1..=seeds {
        let plan = Plan {
            mutation: Some(mutation),
            ..Plan::new(seed, mutation.validators())
        };
        let outcome = if mutation == Mutation::OutsideChance {
            run_twice(&plan)
        } else {
            run(&plan)
        };
        let found = outcome.violations.into_iter();
        let (by_its_check, by_another): (Vec<_>, Vec<_>) =
            found.partition(|violation| violation.check == mutation.caught_by());
        if !by_its_check.is_empty() {
            return;
        }
        others.extend(by_another);
    }
    panic!(
        "{} did not catch {mutation:?} in {seeds} seeds; others said {others:?}",
        mutation.caught_by()
    );
}

macro_rules! planted {
    ($($name:ident: $mutation:ident in $seeds:literal),+ $(,)?) => {
        $(#[test]
        fn $name() {
            caught(Mutation::$mutation, $seeds);
        })+

        #[test]
        fn every_planted_bug_has_its_test() {
            let tested = [$(Mutation::$mutation),+];
            assert_eq!(tested.as_slice(), Mutation::ALL);
        }
    };
}

planted! {
    syncs_that_do_nothing_are_caught: SyncsDoNothing in 10,
    a_forgotten_log_is_caught: LogForgotten in 5,
    one_key_on_two_machines_is_caught: OneKeyTwice in 5,
    an_early_answer_is_caught: AnsweredEarly in 20,
    a_network_that_never_heals_is_caught: NeverHeals in 5,
    outside_chance_is_caught: OutsideChance in 2,
    a_minted_credit_is_caught: CreditMinted in 1,
    a_raised_supply_is_caught: SupplyRaised in 1,
    a_credit_that_moves_in_silence_is_caught: CreditMoved in 1,
    a_falling_epoch_is_caught: EpochFalls in 5,
    a_second_lease_is_caught: SecondLease in 5,
    a_second_writer_is_caught: SecondWriter in 20,
    a_raised_bill_is_caught: BillRaised in 5,
    a_forgetful_meter_is_caught: MeterForgets in 20,
    a_falling_nonce_is_caught: NonceFalls in 1,
    a_transaction_applied_twice_is_caught: AppliedTwice in 1,
    an_altered_receipt_is_caught: ReceiptAltered in 1,
    a_misstated_supply_is_caught: SupplyMisstated in 1,
    a_replica_that_differs_is_caught: OneDiffers in 5,
    a_forgotten_row_is_caught: RowForgotten in 1,
    an_end_that_is_not_told_is_caught: EndsUntold in 5,
    a_machine_that_nobody_gave_up_is_caught: GoneUntold in 5,
    one_false_validator_too_many_is_caught: TooManyFalse in 5,
    a_row_that_is_gone_and_counted_is_caught: GoneCounted in 5,
    an_attack_that_succeeds_is_caught: AttackSucceeds in 10,
    a_validator_that_nobody_elected_is_caught: SeatUnasked in 1,
    validators_that_stay_the_same_are_caught: NobodyElected in 1,
    a_set_that_decides_a_block_early_is_caught: SetEarly in 5,
    a_quorum_of_the_set_before_is_caught: OldQuorum in 5,
    one_dead_validator_too_many_is_caught: TooManyGone in 5,
    a_counterfeit_that_is_believed_is_caught: CounterfeitTaken in 5,
}
