//! Jepsen, NATS 2.12.1: syncs every two minutes, so that a power cut of all machines lost 14.1 % of what had been
//! acknowledged.
//!
//! Here all four lose power at one moment, at one change of their disks after the other. Whatever anybody was told is
//! there.

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "nats-power-cut",
    happened: "a power cut of all machines lost 14.1 % of the acknowledged writes (NATS 2.12.1, Jepsen)",
    holds: "all four lose power at once, and nothing that was acknowledged is lost",
    planted: Some("syncs do nothing"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    if is_planted {
        for at in 0..4 {
            stage.machine(at).disk().ignore_syncs();
        }
    }
    for pause_ms in 0..30 {
        stage.pay_times(0, 1)?;
        let _ = stage.pay(1, 1)?;
        stage.run_for(pause_ms * 4);
        for at in 0..4 {
            stage.kill(at);
        }
        for at in 0..4 {
            stage.start(at);
        }
        stage.well()?;
    }
    stage.pay_times(0, 2)?;
    stage.run_for(20_000);
    stage.end()
}
