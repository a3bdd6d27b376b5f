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

#[test]
fn every_scenario_has_its_test() {
    let source = include_str!("scenarios.rs");
    for scenario in SCENARIOS {
        let call = format!("played(\"{}\")", scenario.name);
        assert!(source.contains(&call), "{}", scenario.name);
    }
}

#[test]
fn akash_closures() {
    played("akash-closures");
}

#[test]
fn akash_lost_contact() {
    played("akash-lost-contact");
}

#[test]
fn babylon_epoch_edge() {
    played("babylon-epoch-edge");
}

#[test]
fn clock_ten_minutes() {
    played("clock-ten-minutes");
}

#[test]
fn cometbft_height_lie() {
    played("cometbft-height-lie");
}

#[test]
fn cometbft_stalled_sync() {
    played("cometbft-stalled-sync");
}

#[test]
fn cosmos_arithmetic() {
    played("cosmos-arithmetic");
}

#[test]
fn etcd_acked_write() {
    played("etcd-acked-write");
}

#[test]
fn etcd_index() {
    played("etcd-index");
}

#[test]
fn fdb_unknown_result() {
    played("fdb-unknown-result");
}

#[test]
fn fly_expired_key() {
    played("fly-expired-key");
}

#[test]
fn gossipsub_overflow() {
    played("gossipsub-overflow");
}

#[test]
fn juno_nondeterminism() {
    played("juno-nondeterminism");
}

#[test]
fn long_range() {
    played("long-range");
}

#[test]
fn lost_before_deciding() {
    played("lost-before-deciding");
}

#[test]
fn lost_disk_wrong_clock() {
    played("lost-disk-wrong-clock");
}

#[test]
fn nats_power_cut() {
    played("nats-power-cut");
}

#[test]
fn one_of_four() {
    played("one-of-four");
}

#[test]
fn persistence_sign_state() {
    played("persistence-sign-state");
}

#[test]
fn postgres_fsync() {
    played("postgres-fsync");
}

#[test]
fn prysm_old_votes() {
    played("prysm-old-votes");
}

#[test]
fn solana_nonce() {
    played("solana-nonce");
}

#[test]
fn strangelove_full_disk() {
    played("strangelove-full-disk");
}

#[test]
fn tendermint_recovery() {
    played("tendermint-recovery");
}

#[test]
fn tigerbeetle_disk_loss() {
    played("tigerbeetle-disk-loss");
}
