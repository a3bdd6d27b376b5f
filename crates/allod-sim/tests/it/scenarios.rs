//! What stopped others does not stop us; and where the same mistake can be made here, the scenario notices it.

use allod_sim::SCENARIOS;

fn played(name: &str) {
    let scenario = SCENARIOS.iter().find(|one| one.name == name);
    let scenario = scenario.unwrap();
    assert_eq!(scenario.play(false), Ok(()), "allod-sim --scenario {name}");
    if let Some(mistake) = scenario.planted {
        assert!(
            scenario.play(true).is_err(),
            "allod-sim --scenario {name} --planted: {mistake}, and nothing was noticed"
        );
    }
}

macro_rules! scenarios {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            played($name);
        })+

        #[test]
        fn every_scenario_has_its_test() {
            let tested = [$($name),+];
            let all: Vec<&str> = SCENARIOS.iter().map(|one| one.name).collect();
            assert_eq!(tested.as_slice(), all);
        }
    };
}

scenarios! {
    akash_closures: "akash-closures",
    akash_lost_contact: "akash-lost-contact",
    babylon_epoch_edge: "babylon-epoch-edge",
    clock_ten_minutes: "clock-ten-minutes",
    cometbft_height_lie: "cometbft-height-lie",
    cometbft_stalled_sync: "cometbft-stalled-sync",
    cosmos_arithmetic: "cosmos-arithmetic",
    etcd_acked_write: "etcd-acked-write",
    etcd_index: "etcd-index",
    fdb_unknown_result: "fdb-unknown-result",
    fly_expired_key: "fly-expired-key",
    gossipsub_overflow: "gossipsub-overflow",
    juno_nondeterminism: "juno-nondeterminism",
    lost_disk_wrong_clock: "lost-disk-wrong-clock",
    nats_power_cut: "nats-power-cut",
    one_of_four: "one-of-four",
    persistence_sign_state: "persistence-sign-state",
    postgres_fsync: "postgres-fsync",
    prysm_old_votes: "prysm-old-votes",
    solana_nonce: "solana-nonce",
    strangelove_full_disk: "strangelove-full-disk",
    tendermint_recovery: "tendermint-recovery",
    tigerbeetle_disk_loss: "tigerbeetle-disk-loss",
}
